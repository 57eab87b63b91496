//! Flags roles with the verb `bind` on roles. RBAC good practices, "Bind verb": the API server then lets the holder bind roles
//! with more rights than the holder has.
//! A rule for named roles is how a delegation should look; a `*` among the verbs is the finding of rbac.wildcard-verbs.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use super::right::Right;
use crate::catalog::{Control, Judge, Of, View};
use crate::facts::Role;

const ID: &str = "rbac.bind-verb";

const RIGHTS: &[Right] =
    &[Right { group: "rbac.authorization.k8s.io", resources: &["roles", "clusterroles"], verbs: &["bind"] }];

pub(super) const CONTROL: Control = Control {
    id: ID,
    version: 1,
    title: "Nobody may bind every role",
    severity: Severity::Critical,
    description: "With `bind` on all roles or cluster roles and the right to make bindings, the holder binds \
                  cluster-admin to itself.",
    remediation: "Name the roles that may be handed out in `resourceNames`, or remove the verb.",
    on_deletion: OnDeletion::Fixes,
    methods: &[Method::LiveRead],
    reads: &[],
    judge: Judge::Object(&Of(judge)),
    running: None,
    fix: None,
};

fn judge(role: &View<Role>, fails: &mut Vec<Location>) {
    RIGHTS.iter().for_each(|right| right.find(ID, role, fails));
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::fixture::{fires, silent};

    #[test]
    fn binding_every_cluster_role_is_found() {
        fires(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, rules: [
               {verbs: [bind], apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles]}]}",
            expect![[r#"
                ClusterRole r: rules[0].resources[0] = clusterroles: bind
            "#]],
        );
    }

    #[test]
    fn named_roles_are_not_its_business() {
        silent(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, rules: [
               {verbs: [bind], apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], resourceNames: [view]},
               {verbs: [bind], apiGroups: [rbac.authorization.k8s.io], resources: [rolebindings]}]}",
        );
    }
}
