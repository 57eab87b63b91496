//! Flags pods that mount a token of a service account to which nothing is granted. CIS 5.1.6: tokens are mounted only where
//! they are needed; a token without rights is still a credential that a thief can show to the API server.
//! The pod's own `automountServiceAccountToken` goes before its account's; where neither speaks, it is mounted. Default
//! bindings that reach every account are no grant.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Fix, Judge, Relation, View};
use crate::facts::pod::PodSpec;

pub(super) const CONTROL: Control = Control {
    id: "rbac.automounted-token",
    version: 1,
    title: "Pods mount no token that they have no use for",
    severity: Severity::Low,
    description: "The pod mounts a token of its service account, yet nothing is granted to that account. The token still \
                  proves an identity to the API server and to whoever trusts the cluster's tokens, and is taken along \
                  with the pod.",
    remediation: "Set `automountServiceAccountToken: false` in the pod specification, or in the service account for all its pods.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead],
    reads: &[Relation::ServiceAccount, Relation::Grants],
    judge: Judge::Workload(judge),
    running: None,
    fix: Some(Fix::Set { field: "automountServiceAccountToken", to: "false" }),
};

fn judge(pod: &View<PodSpec>, fails: &mut Vec<Location>) {
    let own = pod.facts.automount_service_account_token;
    let mounts = own.or_else(|| pod.service_account().and_then(|account| account.automount)).unwrap_or(true);
    if pod.meta.namespace.is_some() && mounts && !pod.is_granted_anything() {
        fails.push(Location::field("automountServiceAccountToken", own.map_or("", |_| "true")));
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::fixture::{fires, is_fixed, silent};

    const POD: &str =
        "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: shop}, spec: {serviceAccountName: web}}";

    #[test]
    fn a_token_without_a_grant_is_found_whether_or_not_it_was_asked_for() {
        fires(
            &CONTROL,
            POD,
            expect![[r#"
                Pod shop/p: spec.automountServiceAccountToken = 
            "#]],
        );
        fires(
            &CONTROL,
            "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, namespace: shop}, spec: {template: {spec: {
               automountServiceAccountToken: true}}}}\n---\n\
             {apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: shop}, automountServiceAccountToken: false}",
            expect![[r#"
                Deployment shop/d: spec.template.spec.automountServiceAccountToken = true
            "#]],
        );
    }

    #[test]
    fn the_pods_word_and_then_the_accounts_word_count() {
        silent(
            &CONTROL,
            "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: shop}, spec: {automountServiceAccountToken: false}}",
        );
        let account = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: web, namespace: shop}, automountServiceAccountToken: false}";
        silent(&CONTROL, &format!("{POD}\n---\n{account}"));
    }

    #[test]
    fn any_grant_to_the_account_or_its_groups_is_a_use() {
        let binding = |name: &str, subject: &str| {
            format!(
                "{POD}\n---\n{{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {{name: '{name}',
                   labels: {{kubernetes.io/bootstrapping: rbac-defaults}}}},
                   roleRef: {{kind: ClusterRole, name: '{name}'}}, subjects: [{subject}]}}"
            )
        };
        silent(&CONTROL, &binding("b", "{kind: ServiceAccount, name: web, namespace: shop}"));
        silent(&CONTROL, &binding("b", "{kind: User, name: 'system:serviceaccount:shop:web'}"));
        silent(&CONTROL, &binding("b", "{kind: Group, name: 'system:serviceaccounts:shop'}"));
        fires(
            &CONTROL,
            &binding("b", "{kind: ServiceAccount, name: web, namespace: other}"),
            expect![[r#"
            Pod shop/p: spec.automountServiceAccountToken = 
        "#]],
        );
        fires(
            &CONTROL,
            &binding("system:discovery", "{kind: Group, name: 'system:authenticated'}"),
            expect![[r#"
            Pod shop/p: spec.automountServiceAccountToken = 
        "#]],
        );
    }

    #[test]
    fn its_patch_makes_it_pass() {
        is_fixed(&CONTROL, POD);
    }
}
