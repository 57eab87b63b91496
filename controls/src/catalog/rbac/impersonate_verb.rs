//! Flags roles with the verb `impersonate` on users, groups or service accounts. RBAC good practices, "Impersonate verb".
//! Named users and groups are how a proxy should be limited; a `*` among the verbs is the finding of rbac.wildcard-verbs.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use super::right::Right;
use crate::catalog::{Control, Judge, Of, View};
use crate::facts::Role;

const ID: &str = "rbac.impersonate-verb";

const RIGHTS: &[Right] = &[
    Right { group: "", resources: &["users", "groups", "serviceaccounts"], verbs: &["impersonate"] },
    Right { group: "authentication.k8s.io", resources: &["uids"], verbs: &["impersonate"] },
];

pub(super) const CONTROL: Control = Control {
    id: ID,
    version: 1,
    title: "Nobody may impersonate everyone",
    severity: Severity::Critical,
    description: "With `impersonate` on all users, groups or service accounts, the holder acts as anyone, \
                  `system:masters` included where groups may be impersonated.",
    remediation: "Name the users and groups that may be impersonated in `resourceNames`, or remove the verb.",
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
    fn users_and_groups_are_both_named() {
        fires(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, rules: [
               {verbs: [impersonate], apiGroups: [''], resources: [users, groups]}]}",
            expect![[r#"
                ClusterRole r: rules[0].resources[0] = users: impersonate
                ClusterRole r: rules[0].resources[1] = groups: impersonate
            "#]],
        );
    }

    #[test]
    fn named_groups_and_reading_are_not_its_business() {
        silent(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, rules: [
               {verbs: [impersonate], apiGroups: [''], resources: [groups], resourceNames: [developers]},
               {verbs: [get, list], apiGroups: [''], resources: [serviceaccounts]}]}",
        );
    }
}
