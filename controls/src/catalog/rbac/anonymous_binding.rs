//! Flags bindings to the user `system:anonymous`: every request without a credential.
//! It ignores the binding by which kubeadm publishes the one ConfigMap cluster-info, as long as that is all it does.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use super::bound::{find, is_user};
use crate::catalog::{Control, Fix, Judge, Of, Relation, View};
use crate::facts::RoleBinding;

pub(super) const CONTROL: Control = Control {
    id: "rbac.anonymous-binding",
    version: 1,
    title: "Nothing is granted to anonymous requests",
    severity: Severity::Critical,
    description: "Requests without any credential come in as `system:anonymous`. What is bound to it is open to \
                  everyone who reaches the API server, which often means the internet.",
    remediation: "Remove the subject, or bind the role to the users who need it.",
    on_deletion: OnDeletion::Fixes,
    methods: &[Method::LiveRead],
    reads: &[Relation::Role],
    judge: Judge::Object(&Of(judge)),
    running: None,
    fix: Some(Fix::Remove("subjects[]")),
};

fn judge(binding: &View<RoleBinding>, fails: &mut Vec<Location>) {
    find(binding, |subject| is_user(subject, "system:anonymous"), fails);
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::fixture::{fires, is_fixed, silent};

    #[test]
    fn the_subject_is_named_with_its_role() {
        fires(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: b}, roleRef: {kind: ClusterRole, name: view}, subjects: [{kind: User, name: 'ann'}, {kind: User, name: 'system:anonymous'}]}",
            expect![[r#"
                ClusterRoleBinding b: subjects[1] = User system:anonymous gets ClusterRole view
            "#]],
        );
    }

    #[test]
    fn a_group_of_that_name_and_named_users_are_not_its_business() {
        silent(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: b}, roleRef: {kind: ClusterRole, name: view}, subjects: [{kind: Group, name: 'system:anonymous'}, {kind: User, name: 'ann'}]}",
        );
    }

    #[test]
    fn the_one_published_config_map_is_silent_and_a_wider_one_is_not() {
        let published = |verbs: &str| {
            format!(
                "{{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding,
                   metadata: {{name: 'kubeadm:bootstrap-signer-clusterinfo', namespace: kube-public}},
                   roleRef: {{kind: Role, name: info}}, subjects: [{{kind: User, name: 'system:anonymous'}}]}}\n---\n\
                 {{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {{name: info, namespace: kube-public}},
                   rules: [{{verbs: {verbs}, apiGroups: [''], resources: [configmaps], resourceNames: [cluster-info]}}]}}"
            )
        };
        silent(&CONTROL, &published("[get]"));
        fires(
            &CONTROL,
            &published("[get, update]"),
            expect![[r#"
                RoleBinding kube-public/kubeadm:bootstrap-signer-clusterinfo: subjects[0] = User system:anonymous gets Role info
            "#]],
        );
    }

    #[test]
    fn its_patch_leaves_the_other_subjects() {
        is_fixed(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: b},
               roleRef: {kind: ClusterRole, name: view}, subjects: [{kind: User, name: 'system:anonymous'},
               {kind: User, name: ann}, {kind: User, name: 'system:anonymous'}]}",
        );
    }
}
