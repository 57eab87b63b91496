//! Flags roles that reach the kubelet through `nodes/proxy`. RBAC good practices, "Access to proxy subresource of Nodes": even
//! `get` runs commands in pods over a WebSocket, and admission and the audit log do not see it.
//! The finer rights (nodes/metrics, nodes/stats, nodes/log, nodes/healthz) are not flagged.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use super::right::Right;
use crate::catalog::{Control, Judge, Of, View};
use crate::facts::Role;

const ID: &str = "rbac.nodes-proxy";

const RIGHTS: &[Right] =
    &[Right { group: "", resources: &["nodes/proxy"], verbs: &["get", "create", "update", "patch", "delete"] }];

pub(super) const CONTROL: Control = Control {
    id: ID,
    version: 1,
    title: "Roles do not reach the kubelet through the node proxy",
    severity: Severity::High,
    description: "With `nodes/proxy` the holder speaks to the kubelet directly: it runs commands in every pod of the \
                  node, past admission and the audit log.",
    remediation: "Grant nodes/metrics, nodes/stats or nodes/healthz instead; from Kubernetes 1.33 on, the kubelet \
                  checks these finer rights.",
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
    fn reading_is_enough() {
        fires(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, rules: [
               {verbs: [get], apiGroups: [''], resources: [nodes, nodes/proxy]}]}",
            expect![[r#"
                ClusterRole r: rules[0].resources[1] = nodes/proxy: get
            "#]],
        );
    }

    #[test]
    fn metrics_and_one_named_node_are_not_its_business() {
        silent(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, rules: [
               {verbs: [get], apiGroups: [''], resources: [nodes, nodes/metrics, nodes/stats, services/proxy]},
               {verbs: [get], apiGroups: [''], resources: [nodes/proxy], resourceNames: [one]}]}",
        );
    }
}
