//! Flags namespaces with workloads and no policy that denies ingress by default: an empty `podSelector`, ingress among its types
//! (named, or by the API's default), and no rule that lets anything through. Policies add up, so narrower ones may stand beside it.
//! It does not ask whether a network plugin enforces policies.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Fix, Judge, Of, Relation, View};
use crate::facts::{Namespace, NetworkPolicy};

pub(super) const CONTROL: Control = Control {
    id: "network.default-deny-ingress",
    version: 1,
    title: "Ingress is denied by default",
    severity: Severity::Medium,
    description: "A pod that no policy isolates accepts connections from every pod of the cluster. Without a policy \
                  that isolates all pods of this namespace, each new one starts out open.",
    remediation: "Apply a NetworkPolicy with an empty podSelector and the policy type Ingress without rules, beside \
                  policies for the connections that are needed.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead],
    reads: &[Relation::NetworkPolicies, Relation::Workloads],
    judge: Judge::Object(&Of(judge)),
    running: None,
    fix: Some(Fix::Create(POLICY)),
};

/// Denies everything that no other policy allows.
const POLICY: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: default-deny-ingress
  namespace: {namespace}
spec:
  podSelector: {}
  policyTypes: [Ingress]
";

fn judge(namespace: &View<Namespace>, fails: &mut Vec<Location>) {
    let denies = |policy: &NetworkPolicy| policy.selects_all() && policy.ingress.as_deref() == Some(&[]);
    let is_denied = || namespace.network_policies().any(denies);
    if namespace.has_workloads() && !is_denied() {
        fails.push(Location::field("metadata.name", namespace.meta.name.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::fixture::{fires, not_asked, silent};

    #[test]
    fn workloads_without_a_policy_fail() {
        fires(
            &CONTROL,
            "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {}}}\n---\n{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: shop}}",
            expect![[r#"
                Namespace shop: metadata.name = shop
            "#]],
        );
    }

    #[test]
    fn a_policy_that_selects_some_allows_something_or_goes_the_other_way_is_none() {
        for spec in [
            "{podSelector: {matchLabels: {app: web}}}",
            "{podSelector: {matchExpressions: [{key: a, operator: Exists}]}}",
            "{podSelector: {}, ingress: [{}]}",
            "{podSelector: {}, policyTypes: [Egress]}",
        ] {
            fires(
                &CONTROL,
                &with_policy(spec),
                expect![[r#"
                Namespace shop: metadata.name = shop
            "#]],
            );
        }
    }

    #[test]
    fn a_policy_that_isolates_every_pod_holds() {
        for spec in [
            "{podSelector: {}}",
            "{podSelector: {}, policyTypes: [Ingress, Egress]}",
            "{podSelector: {matchLabels: {}}, policyTypes: [Ingress], ingress: []}",
        ] {
            silent(&CONTROL, &with_policy(spec));
        }
    }

    #[test]
    fn a_namespace_without_workloads_holds_and_the_systems_are_not_asked() {
        silent(&CONTROL, "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {}}}");
        not_asked(&CONTROL, "{apiVersion: v1, kind: Namespace, metadata: {name: kube-system, labels: {}}}");
    }

    #[test]
    fn its_own_policy_makes_it_pass() {
        let namespace = holdfast_model::Resource::cluster_scoped("", "Namespace", "shop");
        let policy = crate::fix::manifest(&CONTROL, &namespace).unwrap();
        let cluster = "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}\n---\n\
                       {apiVersion: v1, kind: Pod, metadata: {name: p, namespace: shop}}";
        silent(&CONTROL, &format!("{cluster}\n---\n{policy}"));
    }

    fn with_policy(spec: &str) -> String {
        format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: shop}}}}\n---\n\
             {{apiVersion: v1, kind: Pod, metadata: {{name: p, namespace: shop}}}}\n---\n\
             {{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: deny, namespace: shop}}, spec: {spec}}}"
        )
    }
}
