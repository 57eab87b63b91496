//! Flags roles with the verb `escalate` on roles. RBAC good practices, "Escalate verb": the API server then lets the holder
//! write a role with more rights than the holder has.
//! A `*` among the verbs is the finding of rbac.wildcard-verbs.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use super::right::Right;
use crate::catalog::{Control, Judge, Of, View};
use crate::facts::Role;

const ID: &str = "rbac.escalate-verb";

const RIGHTS: &[Right] =
    &[Right { group: "rbac.authorization.k8s.io", resources: &["roles", "clusterroles"], verbs: &["escalate"] }];

pub(super) const CONTROL: Control = Control {
    id: ID,
    version: 1,
    title: "Nobody may escalate roles",
    severity: Severity::Critical,
    description: "With `escalate` on roles or cluster roles, the holder adds any right to a role that it already \
                  has: it is cluster-admin for everyone who thinks of it.",
    remediation: "Remove the verb. An operator that manages roles should hold the rights that it hands out instead.",
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
    fn roles_and_cluster_roles_are_both_named() {
        fires(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, rules: [
               {verbs: [get, escalate], apiGroups: [rbac.authorization.k8s.io], resources: [roles, clusterroles]}]}",
            expect![[r#"
                ClusterRole r: rules[0].resources[0] = roles: escalate
                ClusterRole r: rules[0].resources[1] = clusterroles: escalate
            "#]],
        );
    }

    #[test]
    fn writing_roles_without_it_is_not_its_business() {
        silent(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, rules: [
               {verbs: [create, update], apiGroups: [rbac.authorization.k8s.io], resources: [roles]},
               {verbs: [escalate], apiGroups: [''], resources: [roles]},
               {verbs: [escalate], apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], resourceNames: [one]}]}",
        );
    }
}
