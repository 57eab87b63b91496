//! Flags roles that may read Secrets. RBAC good practices, "Listing secrets": `list` and `watch` answer with the contents,
//! so all three verbs read.
//! It ignores rules for named Secrets, which is how a workload should read its own.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use super::right::Right;
use crate::catalog::{Control, Judge, Of, View};
use crate::facts::Role;

const ID: &str = "rbac.secrets-readable";

const RIGHTS: &[Right] = &[Right { group: "", resources: &["secrets"], verbs: &["get", "list", "watch"] }];

pub(super) const CONTROL: Control = Control {
    id: ID,
    version: 1,
    title: "Roles do not read all Secrets",
    severity: Severity::High,
    description: "Whoever gets, lists or watches Secrets holds every credential in them: tokens of other service \
                  accounts, registry and database passwords, TLS keys.",
    remediation: "Name the Secrets that are needed in `resourceNames` with the verb get, or mount them in the pods \
                  that need them and drop the rule.",
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
    fn every_reading_verb_is_named() {
        fires(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, rules: [
               {verbs: [create, list, watch], apiGroups: [''], resources: [configmaps, secrets]},
               {verbs: [get], apiGroups: ['*'], resources: [secrets]}]}",
            expect![[r#"
                ClusterRole r: rules[0].resources[1] = secrets: list, watch
                ClusterRole r: rules[1].resources[0] = secrets: get
            "#]],
        );
    }

    #[test]
    fn named_secrets_writing_and_other_groups_are_not_its_business() {
        silent(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, rules: [
               {verbs: [get, list], apiGroups: [''], resources: [secrets], resourceNames: [mine]},
               {verbs: [create, delete], apiGroups: [''], resources: [secrets]},
               {verbs: [get], apiGroups: [vault.example.com], resources: [secrets]},
               {verbs: ['*'], apiGroups: [''], resources: [secrets]}]}",
        );
    }
}
