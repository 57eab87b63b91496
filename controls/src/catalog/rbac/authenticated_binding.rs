//! Flags bindings to the group `system:authenticated`: everyone with any credential, every service account included.
//! It ignores the default bindings (discovery, basic-user, public-info-viewer); a role that allows everything is the finding of
//! rbac.cluster-admin-broad.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use super::bound::{find, is_all_powerful, is_group};
use crate::catalog::{Control, Fix, Judge, Of, Relation, View};
use crate::facts::RoleBinding;

pub(super) const CONTROL: Control = Control {
    id: "rbac.authenticated-binding",
    version: 1,
    title: "Nothing is granted to everyone who is logged in",
    severity: Severity::High,
    description: "Every user and every service account is in the group `system:authenticated`; on some providers, so \
                  is everyone with an account there. What is bound to it belongs to all of them.",
    remediation: "Remove the subject, or bind the role to the groups that need it.",
    on_deletion: OnDeletion::Fixes,
    methods: &[Method::LiveRead],
    reads: &[Relation::Role],
    judge: Judge::Object(&Of(judge)),
    running: None,
    fix: Some(Fix::Remove("subjects[]")),
};

fn judge(binding: &View<RoleBinding>, fails: &mut Vec<Location>) {
    if !is_all_powerful(binding) {
        find(binding, |subject| is_group(subject, "system:authenticated"), fails);
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::fixture::{fires, silent};

    #[test]
    fn the_subject_is_named_with_its_role() {
        fires(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: b}, roleRef: {kind: ClusterRole, name: view}, subjects: [{kind: Group, name: 'system:authenticated'}]}",
            expect![[r#"
                ClusterRoleBinding b: subjects[0] = Group system:authenticated gets ClusterRole view
            "#]],
        );
    }

    #[test]
    fn default_bindings_and_cluster_admin_are_not_its_business() {
        silent(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: 'system:basic-user', labels: {kubernetes.io/bootstrapping: rbac-defaults}}, roleRef: {kind: ClusterRole, name: 'system:basic-user'}, subjects: [{kind: Group, name: 'system:authenticated'}]}",
        );
        silent(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: b}, roleRef: {kind: ClusterRole, name: all}, subjects: [{kind: Group, name: 'system:authenticated'}]}\n---\n{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: all}, rules: [{verbs: ['*'], apiGroups: ['*'], resources: ['*']}]}",
        );
    }
}
