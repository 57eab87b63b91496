//! Flags roles that may attach to the processes of pods. `create` on `pods/attach` is a POST, `get` the same over a WebSocket.
//! `pods` alone does not include its subresources; `*` is the finding of rbac.wildcard-resources.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use super::right::Right;
use crate::catalog::{Control, Judge, Of, View};
use crate::facts::Role;

const ID: &str = "rbac.pods-attach";

const RIGHTS: &[Right] = &[Right { group: "", resources: &["pods/attach"], verbs: &["create", "get"] }];

pub(super) const CONTROL: Control = Control {
    id: ID,
    version: 1,
    title: "Roles do not attach to all pods",
    severity: Severity::Medium,
    description: "Whoever attaches to a running process reads what it prints and, where it has a standard input, \
                  types into it.",
    remediation: "Remove `pods/attach` from standing roles, or name the pods in `resourceNames`.",
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
    fn attach_is_found_beside_exec() {
        fires(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, rules: [
               {verbs: [create], apiGroups: [''], resources: [pods/attach, pods/exec]}]}",
            expect![[r#"
                ClusterRole r: rules[0].resources[0] = pods/attach: create
            "#]],
        );
    }

    #[test]
    fn exec_is_not_its_business() {
        silent(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, rules: [
               {verbs: [create, get], apiGroups: [''], resources: [pods, pods/exec]},
               {verbs: [delete], apiGroups: [''], resources: [pods/attach]}]}",
        );
    }
}
