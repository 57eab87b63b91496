//! Flags namespaces in which Pod Security admission records nothing. It audits workloads' templates too, which enforcing does
//! not look at, so it is asked for even where a level is enforced.
//! A label that is no level is audited as privileged: nothing.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use super::label;
use crate::catalog::{Control, Fix, Judge, Of, View};
use crate::facts::Namespace;

const LABEL: &str = "pod-security.kubernetes.io/audit";

pub(super) const CONTROL: Control = Control {
    id: "admission.psa-audit",
    version: 1,
    title: "Pod Security violations are audited",
    severity: Severity::Low,
    description: "No violation of the Pod Security Standards in this namespace reaches the audit log, so nobody \
                  learns what enforcing would refuse.",
    remediation: "Audit restricted: it refuses nothing.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead],
    reads: &[],
    judge: Judge::Object(&Of(judge)),
    running: None,
    fix: Some(Fix::Label { key: LABEL, to: "restricted" }),
};

fn judge(namespace: &View<Namespace>, fails: &mut Vec<Location>) {
    let level = namespace.facts.audit.level.as_deref();
    if !matches!(level, Some("baseline" | "restricted")) {
        fails.push(label(namespace, LABEL, level.unwrap_or_default()));
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::fixture::{fires, is_fixed, silent};

    #[test]
    fn no_label_and_a_word_that_is_no_level_both_fail() {
        fires(
            &CONTROL,
            "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {pod-security.kubernetes.io/enforce: restricted}}}",
            expect![[r#"
                Namespace shop: metadata.labels["pod-security.kubernetes.io/audit"] = 
            "#]],
        );
        fires(
            &CONTROL,
            "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {pod-security.kubernetes.io/audit: all}}}",
            expect![[r#"
                Namespace shop: metadata.labels["pod-security.kubernetes.io/audit"] = all
            "#]],
        );
    }

    #[test]
    fn any_level_that_records_something_holds() {
        silent(
            &CONTROL,
            "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {pod-security.kubernetes.io/audit: baseline}}}",
        );
    }

    #[test]
    fn its_patch_makes_it_pass() {
        for labels in ["{}", "{a: b}"] {
            is_fixed(
                &CONTROL,
                &format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: shop, labels: {labels}}}}}"),
            );
        }
    }
}
