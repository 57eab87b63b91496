//! Flags namespaces in which Pod Security admission refuses nothing. Pod Security Admission, "Labels": without an enforce label
//! the cluster's default counts, which is privileged unless the API server is configured otherwise and cannot be read.
//! A label that is no level is enforced as restricted, and so is not flagged.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use super::label;
use crate::catalog::{Control, Fix, Judge, Of, View};
use crate::facts::Namespace;

const LABEL: &str = "pod-security.kubernetes.io/enforce";

pub(super) const CONTROL: Control = Control {
    id: "admission.psa-enforce",
    version: 1,
    title: "Pod Security is enforced",
    severity: Severity::Medium,
    description: "Nothing keeps a pod out of this namespace that takes over its node: Pod Security admission \
                  enforces no level here, or the level privileged.",
    remediation: "Enforce baseline; first see in the audit and warn modes what it would refuse. Pods that need more \
                  belong in a namespace of their own.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead],
    reads: &[],
    judge: Judge::Object(&Of(judge)),
    running: None,
    fix: Some(Fix::Label { key: LABEL, to: "baseline" }),
};

fn judge(namespace: &View<Namespace>, fails: &mut Vec<Location>) {
    let level = namespace.facts.enforce.level.as_deref();
    if matches!(level, None | Some("privileged")) {
        fails.push(label(namespace, LABEL, level.unwrap_or_default()));
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::fixture::{fires, is_fixed, not_asked, silent};

    #[test]
    fn no_label_and_privileged_both_fail() {
        fires(
            &CONTROL,
            "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {}}}",
            expect![[r#"
                Namespace shop: metadata.labels = 
            "#]],
        );
        fires(
            &CONTROL,
            "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {pod-security.kubernetes.io/enforce: privileged}}}",
            expect![[r#"
                Namespace shop: metadata.labels["pod-security.kubernetes.io/enforce"] = privileged
            "#]],
        );
    }

    #[test]
    fn a_level_holds_and_so_does_a_word_that_is_none() {
        silent(
            &CONTROL,
            "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {pod-security.kubernetes.io/enforce: baseline}}}",
        );
        silent(
            &CONTROL,
            "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {pod-security.kubernetes.io/enforce: restrictde}}}",
        );
    }

    #[test]
    fn the_systems_own_namespaces_are_not_asked() {
        not_asked(&CONTROL, "{apiVersion: v1, kind: Namespace, metadata: {name: kube-system, labels: {}}}");
    }

    #[test]
    fn its_patch_makes_it_pass() {
        for labels in ["{}", "{a: b}", "{pod-security.kubernetes.io/enforce: privileged}"] {
            is_fixed(
                &CONTROL,
                &format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: shop, labels: {labels}}}}}"),
            );
        }
    }
}
