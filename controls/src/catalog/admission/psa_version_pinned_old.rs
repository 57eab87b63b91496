//! Flags namespaces whose enforced Pod Security level is pinned to a version that Kubernetes no longer maintained when the API
//! server's own was released: more than three minors back.
//! Pinning itself is good practice. A word that is no version is read as `latest`, and a pin above the server's version too.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use super::label;
use crate::catalog::{Control, Fix, Judge, Of, Relation, View};
use crate::facts::Namespace;

const LABEL: &str = "pod-security.kubernetes.io/enforce-version";

pub(super) const CONTROL: Control = Control {
    id: "admission.psa-version-pinned-old",
    version: 1,
    title: "The enforced Pod Security version is a maintained one",
    severity: Severity::Low,
    description: "The namespace enforces an old edition of the Pod Security Standards: what later editions added is \
                  not checked here.",
    remediation: "Raise the version to that of the cluster, or to latest; see with the warn mode first what it would \
                  refuse.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead],
    reads: &[Relation::ServerVersion],
    judge: Judge::Object(&Of(judge)),
    running: None,
    fix: Some(Fix::Label { key: LABEL, to: "latest" }),
};

/// The minors that Kubernetes maintains beside the newest, and one for the upgrade.
const MAINTAINED: u32 = 3;

fn judge(namespace: &View<Namespace>, fails: &mut Vec<Location>) {
    let enforce = &namespace.facts.enforce;
    let enforces = !matches!(enforce.level.as_deref(), None | Some("privileged"));
    let Some(version) = enforce.version.as_deref().filter(|_| enforces) else { return };
    if minor(version).is_some_and(|minor| minor + MAINTAINED < namespace.server_minor()) {
        fails.push(label(namespace, LABEL, version));
    }
}

/// The minor of `v1.N`, written as admission reads it: without leading zeros.
fn minor(version: &str) -> Option<u32> {
    let digits = version.strip_prefix("v1.")?;
    let plain = digits == "0" || !digits.starts_with(['0', '+']);
    digits.parse().ok().filter(|minor: &u32| plain && *minor < 1000)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::fixture::{fires, is_fixed, silent};

    #[test]
    fn a_pin_far_behind_the_server_fails() {
        fires(
            &CONTROL,
            "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {pod-security.kubernetes.io/enforce: baseline, pod-security.kubernetes.io/enforce-version: v1.24}}}",
            expect![[r#"
                Namespace shop: metadata.labels["pod-security.kubernetes.io/enforce-version"] = v1.24
            "#]],
        );
    }

    #[test]
    fn a_near_pin_latest_and_an_unenforced_pin_hold() {
        silent(
            &CONTROL,
            "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {pod-security.kubernetes.io/enforce: baseline, pod-security.kubernetes.io/enforce-version: v1.31}}}",
        );
        silent(
            &CONTROL,
            "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {pod-security.kubernetes.io/enforce: baseline, pod-security.kubernetes.io/enforce-version: latest}}}",
        );
        silent(
            &CONTROL,
            "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {pod-security.kubernetes.io/enforce: baseline, pod-security.kubernetes.io/enforce-version: v1.010}}}",
        );
        silent(
            &CONTROL,
            "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {pod-security.kubernetes.io/enforce: privileged, pod-security.kubernetes.io/enforce-version: v1.20}}}",
        );
    }

    #[test]
    fn the_clusters_own_version_is_the_measure() {
        let mut old = crate::catalog::fixture::cluster(
            "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {pod-security.kubernetes.io/enforce: baseline,
               pod-security.kubernetes.io/enforce-version: v1.24}}}",
        );
        old.set_server_minor(27);
        let subject = holdfast_model::Resource::cluster_scoped("", "Namespace", "shop");
        let judgement = old.evaluate(&subject).unwrap();
        let outcome = judgement.outcomes.iter().find(|outcome| outcome.control.id == CONTROL.id).unwrap();
        assert_eq!(outcome.answer, crate::evaluate::Answer::Pass);
    }

    #[test]
    fn its_patch_makes_it_pass() {
        is_fixed(
            &CONTROL,
            "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {pod-security.kubernetes.io/enforce: baseline, pod-security.kubernetes.io/enforce-version: v1.24}}}",
        );
    }
}
