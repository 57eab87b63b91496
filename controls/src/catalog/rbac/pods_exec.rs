//! Flags roles that may open a shell in pods. `create` on `pods/exec` is a POST, `get` the same over a WebSocket.
//! `pods` alone does not include its subresources; `*` is the finding of rbac.wildcard-resources.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use super::right::Right;
use crate::catalog::{Control, Judge, Of, View};
use crate::facts::Role;

const ID: &str = "rbac.pods-exec";

const RIGHTS: &[Right] = &[Right { group: "", resources: &["pods/exec"], verbs: &["create", "get"] }];

pub(super) const CONTROL: Control = Control {
    id: ID,
    version: 1,
    title: "Roles do not run commands in all pods",
    severity: Severity::High,
    description: "Whoever runs commands in pods has the rights, secrets and network of every one of them, and leaves \
                  no trace in their manifests.",
    remediation: "Remove `pods/exec` from standing roles. For an emergency, bind a role with it for one namespace \
                  and a short time.",
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
    fn both_ways_of_asking_are_found() {
        fires(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, rules: [
               {verbs: [create], apiGroups: [''], resources: [pods, pods/exec]},
               {verbs: [get], apiGroups: [''], resources: [pods/exec]}]}",
            expect![[r#"
                ClusterRole r: rules[0].resources[1] = pods/exec: create
                ClusterRole r: rules[1].resources[0] = pods/exec: get
            "#]],
        );
    }

    #[test]
    fn pods_without_the_subresource_are_not_its_business() {
        silent(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, rules: [
               {verbs: [create, get], apiGroups: [''], resources: [pods, pods/log]},
               {verbs: [create], apiGroups: [''], resources: [pods/exec], resourceNames: [one]},
               {verbs: [watch], apiGroups: [''], resources: [pods/exec]}]}",
        );
    }
}
