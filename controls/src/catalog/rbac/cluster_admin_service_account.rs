//! Flags bindings of a role that allows everything to a service account of its own name. CIS 5.1.1: cluster-admin only where
//! it is required; a pod rarely does.
//! The account `default` and groups of accounts are the finding of rbac.cluster-admin-broad; users and groups are people, and
//! someone has to be the administrator.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use super::bound::{find, is_all_powerful, is_default_account};
use crate::catalog::{Control, Fix, Judge, Of, Relation, View};
use crate::facts::RoleBinding;

pub(super) const CONTROL: Control = Control {
    id: "rbac.cluster-admin-service-account",
    version: 1,
    title: "No service account is cluster-admin",
    severity: Severity::High,
    description: "The bound role allows everything, and its subject is a service account: whoever takes over one of \
                  its pods, or reads its token on a node, has it all.",
    remediation: "Bind a role with the rights that the workload uses; the audit log shows which ones they are.",
    on_deletion: OnDeletion::Fixes,
    methods: &[Method::LiveRead],
    reads: &[Relation::Role],
    judge: Judge::Object(&Of(judge)),
    running: None,
    fix: Some(Fix::Remove("subjects[]")),
};

fn judge(binding: &View<RoleBinding>, fails: &mut Vec<Location>) {
    if is_all_powerful(binding) {
        find(binding, |subject| *subject.kind == *"ServiceAccount" && !is_default_account(subject), fails);
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::fixture::{fires, silent};

    #[test]
    fn the_account_is_named() {
        fires(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: b}, roleRef: {kind: ClusterRole, name: all}, subjects: [{kind: ServiceAccount, name: deployer, namespace: ci}]}\n---\n{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: all}, rules: [{verbs: ['*'], apiGroups: ['*'], resources: ['*']}]}",
            expect![[r#"
                ClusterRoleBinding b: subjects[0] = ServiceAccount deployer gets ClusterRole all
            "#]],
        );
    }

    #[test]
    fn people_default_accounts_and_smaller_roles_are_not_its_business() {
        silent(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: b}, roleRef: {kind: ClusterRole, name: all}, subjects: [{kind: User, name: 'ann'}, {kind: ServiceAccount, name: default, namespace: ci}]}\n---\n{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: all}, rules: [{verbs: ['*'], apiGroups: ['*'], resources: ['*']}]}",
        );
        silent(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: b}, roleRef: {kind: ClusterRole, name: view}, subjects: [{kind: ServiceAccount, name: deployer, namespace: ci}]}\n---\n{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: all}, rules: [{verbs: ['*'], apiGroups: ['*'], resources: ['*']}]}",
        );
    }
}
