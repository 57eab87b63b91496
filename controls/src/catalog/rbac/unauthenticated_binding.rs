//! Flags bindings to the group `system:unauthenticated`: every request without a credential.
//! It ignores the default binding of system:public-info-viewer, which shows health and version.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use super::bound::{find, is_group};
use crate::catalog::{Control, Fix, Judge, Of, View};
use crate::facts::RoleBinding;

pub(super) const CONTROL: Control = Control {
    id: "rbac.unauthenticated-binding",
    version: 1,
    title: "Nothing is granted to unauthenticated requests",
    severity: Severity::Critical,
    description: "Requests without any credential are in the group `system:unauthenticated`. What is bound to it is \
                  open to everyone who reaches the API server, which often means the internet.",
    remediation: "Remove the subject, or bind the role to the users who need it.",
    on_deletion: OnDeletion::Fixes,
    methods: &[Method::LiveRead],
    reads: &[],
    judge: Judge::Object(&Of(judge)),
    running: None,
    fix: Some(Fix::Remove("subjects[]")),
};

fn judge(binding: &View<RoleBinding>, fails: &mut Vec<Location>) {
    find(binding, |subject| is_group(subject, "system:unauthenticated"), fails);
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
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: b}, roleRef: {kind: ClusterRole, name: system:discovery}, subjects: [{kind: Group, name: 'system:unauthenticated'}]}",
            expect![[r#"
                ClusterRoleBinding b: subjects[0] = Group system:unauthenticated gets ClusterRole system:discovery
            "#]],
        );
    }

    #[test]
    fn the_default_binding_is_silent_and_another_with_its_label_is_not() {
        silent(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: 'system:public-info-viewer', labels: {kubernetes.io/bootstrapping: rbac-defaults}}, roleRef: {kind: ClusterRole, name: 'system:public-info-viewer'}, subjects: [{kind: Group, name: 'system:unauthenticated'}]}",
        );
        fires(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: 'system:discovery', labels: {kubernetes.io/bootstrapping: rbac-defaults}}, roleRef: {kind: ClusterRole, name: 'system:discovery'}, subjects: [{kind: Group, name: 'system:unauthenticated'}]}",
            expect![[r#"
                ClusterRoleBinding system:discovery: subjects[0] = Group system:unauthenticated gets ClusterRole system:discovery
            "#]],
        );
        fires(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: 'system:public-info-viewer', labels: {kubernetes.io/bootstrapping: rbac-defaults}}, roleRef: {kind: ClusterRole, name: 'edit'}, subjects: [{kind: Group, name: 'system:unauthenticated'}]}",
            expect![[r#"
                ClusterRoleBinding system:public-info-viewer: subjects[0] = Group system:unauthenticated gets ClusterRole edit
            "#]],
        );
    }
}
