//! Flags bindings to a service account `default`. CIS 5.1.5: every pod that names no account runs as it, so what is bound to it
//! goes to pods that never asked.
//! A role that allows everything is the finding of rbac.cluster-admin-broad.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use super::bound::{find, is_all_powerful, is_default_account};
use crate::catalog::{Control, Fix, Judge, Of, Relation, View};
use crate::facts::RoleBinding;

pub(super) const CONTROL: Control = Control {
    id: "rbac.default-service-account-binding",
    version: 1,
    title: "Nothing is granted to the default service account",
    severity: Severity::Medium,
    description: "Every pod of the namespace that names no service account runs as `default`: what is bound to it is \
                  granted to all of them, and to the next one that somebody forgets.",
    remediation: "Make a service account for the workload that needs the rights, bind the role to it, and name it in \
                  `serviceAccountName`.",
    on_deletion: OnDeletion::Fixes,
    methods: &[Method::LiveRead],
    reads: &[Relation::Role],
    judge: Judge::Object(&Of(judge)),
    running: None,
    fix: Some(Fix::Remove("subjects[]")),
};

fn judge(binding: &View<RoleBinding>, fails: &mut Vec<Location>) {
    if !is_all_powerful(binding) {
        find(binding, is_default_account, fails);
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::fixture::{fires, silent};

    #[test]
    fn the_account_is_found_by_either_of_its_names() {
        fires(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: b}, roleRef: {kind: ClusterRole, name: view}, subjects: [{kind: ServiceAccount, name: default, namespace: shop}, {kind: User, name: 'system:serviceaccount:shop:default'}]}",
            expect![[r#"
                ClusterRoleBinding b: subjects[0] = ServiceAccount default gets ClusterRole view
                ClusterRoleBinding b: subjects[1] = User system:serviceaccount:shop:default gets ClusterRole view
            "#]],
        );
    }

    #[test]
    fn other_accounts_and_cluster_admin_are_not_its_business() {
        silent(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: b}, roleRef: {kind: ClusterRole, name: view}, subjects: [{kind: ServiceAccount, name: web, namespace: shop}, {kind: User, name: 'default'}]}",
        );
        silent(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: b}, roleRef: {kind: ClusterRole, name: all}, subjects: [{kind: ServiceAccount, name: default, namespace: shop}]}\n---\n{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: all}, rules: [{verbs: ['*'], apiGroups: ['*'], resources: ['*']}]}",
        );
    }
}
