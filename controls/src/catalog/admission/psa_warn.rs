//! Flags namespaces in which Pod Security admission warns of nothing. Without a warn label it warns at the enforced level; a
//! label that is no level warns at privileged: never.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use super::label;
use crate::catalog::{Control, Fix, Judge, Of, View};
use crate::facts::Namespace;

const LABEL: &str = "pod-security.kubernetes.io/warn";

pub(super) const CONTROL: Control = Control {
    id: "admission.psa-warn",
    version: 1,
    title: "Pod Security violations are warned about",
    severity: Severity::Low,
    description: "Whoever applies a violating workload to this namespace gets no warning: a violating Deployment is \
                  accepted in silence even where its pods are refused.",
    remediation: "Warn at restricted: it refuses nothing.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead],
    reads: &[],
    judge: Judge::Object(&Of(judge)),
    running: None,
    fix: Some(Fix::Label { key: LABEL, to: "restricted" }),
};

fn judge(namespace: &View<Namespace>, fails: &mut Vec<Location>) {
    let (warn, enforce) = (namespace.facts.warn.level.as_deref(), namespace.facts.enforce.level.as_deref());
    if !matches!(warn.or(enforce), Some("baseline" | "restricted")) {
        fails.push(label(namespace, LABEL, warn.unwrap_or_default()));
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::fixture::{fires, is_fixed, silent};

    #[test]
    fn no_label_and_privileged_both_fail() {
        fires(
            &CONTROL,
            "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {pod-security.kubernetes.io/audit: restricted}}}",
            expect![[r#"
                Namespace shop: metadata.labels["pod-security.kubernetes.io/warn"] = 
            "#]],
        );
        fires(
            &CONTROL,
            "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {pod-security.kubernetes.io/enforce: baseline, pod-security.kubernetes.io/warn: privileged}}}",
            expect![[r#"
                Namespace shop: metadata.labels["pod-security.kubernetes.io/warn"] = privileged
            "#]],
        );
    }

    #[test]
    fn a_level_holds_and_an_enforced_one_warns_as_well() {
        silent(
            &CONTROL,
            "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {pod-security.kubernetes.io/warn: restricted}}}",
        );
        silent(
            &CONTROL,
            "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {pod-security.kubernetes.io/enforce: baseline}}}",
        );
    }

    #[test]
    fn its_patch_makes_it_pass() {
        for labels in ["{}", "{pod-security.kubernetes.io/warn: privileged}"] {
            is_fixed(
                &CONTROL,
                &format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: shop, labels: {labels}}}}}"),
            );
        }
    }
}
