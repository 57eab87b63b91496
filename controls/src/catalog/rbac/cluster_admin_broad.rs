//! Flags bindings of a role that allows everything (cluster-admin, or any other with `*` on `*` of `*`) to subjects that are
//! nobody in particular: everyone who is logged in, all service accounts, or an account that pods get without asking.
//! Anonymous requests have controls of their own. A RoleBinding is flagged too: it gives away its whole namespace.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use super::bound::{find, is_account_group, is_all_powerful, is_default_account, is_group};
use crate::catalog::{Control, Fix, Judge, Of, Relation, View};
use crate::facts::RoleBinding;

pub(super) const CONTROL: Control = Control {
    id: "rbac.cluster-admin-broad",
    version: 1,
    title: "cluster-admin is granted to nobody in particular",
    severity: Severity::Critical,
    description: "The bound role allows everything, and its subject is a crowd: every logged-in user, every service \
                  account, or the account that pods run as when they name none. One of them in the wrong hands is \
                  enough.",
    remediation: "Remove the subject. Bind the role to the few people or the one service account that needs it, or a \
                  smaller role to this subject.",
    on_deletion: OnDeletion::Fixes,
    methods: &[Method::LiveRead],
    reads: &[Relation::Role],
    judge: Judge::Object(&Of(judge)),
    running: None,
    fix: Some(Fix::Remove("subjects[]")),
};

fn judge(binding: &View<RoleBinding>, fails: &mut Vec<Location>) {
    if is_all_powerful(binding) {
        let is_broad = |subject: &_| {
            is_group(subject, "system:authenticated") || is_account_group(subject) || is_default_account(subject)
        };
        find(binding, is_broad, fails);
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::fixture::{fires, silent};

    #[test]
    fn every_broad_subject_of_a_role_that_allows_everything_is_named() {
        fires(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: b}, roleRef: {kind: ClusterRole, name: all}, subjects: [{kind: Group, name: 'system:authenticated'}, {kind: User, name: 'ann'}, {kind: Group, name: 'system:serviceaccounts:shop'}, {kind: ServiceAccount, name: default, namespace: shop}]}\n---\n{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: all}, rules: [{verbs: ['*'], apiGroups: ['*'], resources: ['*']}]}",
            expect![[r#"
                ClusterRoleBinding b: subjects[0] = Group system:authenticated gets ClusterRole all
                ClusterRoleBinding b: subjects[2] = Group system:serviceaccounts:shop gets ClusterRole all
                ClusterRoleBinding b: subjects[3] = ServiceAccount default gets ClusterRole all
            "#]],
        );
    }

    #[test]
    fn a_smaller_role_a_missing_role_and_named_subjects_are_not_its_business() {
        silent(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: b}, roleRef: {kind: ClusterRole, name: all}, subjects: [{kind: User, name: 'ann'}, {kind: Group, name: 'system:masters'}, {kind: ServiceAccount, name: deployer, namespace: shop}]}\n---\n{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: all}, rules: [{verbs: ['*'], apiGroups: ['*'], resources: ['*']}]}",
        );
        silent(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: b}, roleRef: {kind: ClusterRole, name: absent}, subjects: [{kind: Group, name: 'system:authenticated'}]}\n---\n{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: all}, rules: [{verbs: ['*'], apiGroups: ['*'], resources: ['*']}]}",
        );
        silent(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: b}, roleRef: {kind: ClusterRole, name: some}, subjects: [{kind: Group, name: 'system:serviceaccounts'}]}\n---\n{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: some}, rules: [{verbs: [get], apiGroups: ['*'], resources: ['*']}]}",
        );
    }
}
