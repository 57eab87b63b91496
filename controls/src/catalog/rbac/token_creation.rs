//! Flags roles that may issue tokens for service accounts. RBAC good practices, "Token request".
//! A rule for named service accounts is how a delegation should look.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use super::right::Right;
use crate::catalog::{Control, Judge, Of, View};
use crate::facts::Role;

const ID: &str = "rbac.token-creation";

const RIGHTS: &[Right] = &[Right { group: "", resources: &["serviceaccounts/token"], verbs: &["create"] }];

pub(super) const CONTROL: Control = Control {
    id: ID,
    version: 1,
    title: "Roles do not issue tokens for every service account",
    severity: Severity::High,
    description: "Whoever creates `serviceaccounts/token` gets a valid credential of any service account in reach \
                  and behaviors with its rights.",
    remediation: "Name the service accounts in `resourceNames`, or remove the rule.",
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
    fn issuing_for_all_accounts_is_found() {
        fires(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, rules: [
               {verbs: [create], apiGroups: [''], resources: [serviceaccounts/token]}]}",
            expect![[r#"
                ClusterRole r: rules[0].resources[0] = serviceaccounts/token: create
            "#]],
        );
    }

    #[test]
    fn named_accounts_and_making_accounts_are_not_its_business() {
        silent(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, rules: [
               {verbs: [create], apiGroups: [''], resources: [serviceaccounts/token], resourceNames: [build]},
               {verbs: [create], apiGroups: [''], resources: [serviceaccounts]},
               {verbs: [get], apiGroups: [''], resources: [serviceaccounts/token]}]}",
        );
    }
}
