//! Flags namespaces with workloads and no policy that denies egress by default: an empty `podSelector`, egress among its types
//! (named, or by the API's default), and no rule that lets anything through. Policies add up, so narrower ones may stand beside it.
//! It does not ask whether a network plugin enforces policies.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Fix, Judge, Of, Relation, View};
use crate::facts::{Namespace, NetworkPolicy};

pub(super) const CONTROL: Control = Control {
    id: "network.default-deny-egress",
    version: 1,
    title: "Egress is denied by default",
    severity: Severity::Medium,
    description: "A pod that no policy isolates may connect to every pod of the cluster, the cloud metadata service \
                  and the internet. Without a policy that isolates all pods of this namespace, each new one starts \
                  out open.",
    remediation: "Apply a NetworkPolicy with an empty podSelector and the policy type Egress without rules, beside \
                  policies for the connections that are needed. Allow DNS first.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead],
    reads: &[Relation::NetworkPolicies, Relation::Workloads],
    judge: Judge::Object(&Of(judge)),
    running: None,
    fix: Some(Fix::Create(POLICY)),
};

/// Denies everything but the lookup of names, without which little works.
const POLICY: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: default-deny-egress
  namespace: {namespace}
spec:
  podSelector: {}
  policyTypes: [Egress]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: allow-dns
  namespace: {namespace}
spec:
  podSelector: {}
  policyTypes: [Egress]
  egress:
    - to:
        - namespaceSelector:
            matchLabels: {kubernetes.io/metadata.name: kube-system}
          podSelector:
            matchLabels: {k8s-app: kube-dns}
      ports:
        - {protocol: UDP, port: 53}
        - {protocol: TCP, port: 53}
";

fn judge(namespace: &View<Namespace>, fails: &mut Vec<Location>) {
    let denies = |policy: &NetworkPolicy| policy.selects_all() && policy.egress.as_deref() == Some(&[]);
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
            "{podSelector: {}}",
            "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}",
            "{podSelector: {}, egress: [{}]}",
            "{podSelector: {}, policyTypes: [Ingress]}",
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
        for spec in ["{podSelector: {}, policyTypes: [Egress]}", "{podSelector: {}, policyTypes: [Ingress, Egress]}"] {
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
