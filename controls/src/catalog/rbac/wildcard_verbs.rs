//! Flags roles that grant every verb by `*`. RBAC good practices, "Least privilege": `*` also grants verbs that do not exist
//! yet, and with them `escalate`, `bind` and `impersonate`.
//! It ignores rules for named objects, aggregated roles (judged where the rule is written) and default roles as they ship.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use super::right::judged;
use crate::catalog::{Control, Judge, Of, View};
use crate::facts::Role;

const ID: &str = "rbac.wildcard-verbs";

pub(super) const CONTROL: Control = Control {
    id: ID,
    version: 1,
    title: "Roles name the verbs that they grant",
    severity: Severity::High,
    description: "A rule whose verbs are `*` grants everything that can be done to its resources, now and in every later \
                  version of Kubernetes: deleting them, and on some resources escalating, binding or impersonating.",
    remediation: "List the verbs that are used, such as get, list and watch. The API server's audit log shows which ones are.",
    on_deletion: OnDeletion::Fixes,
    methods: &[Method::LiveRead],
    reads: &[],
    judge: Judge::Object(&Of(judge)),
    running: None,
    fix: None,
};

fn judge(role: &View<Role>, fails: &mut Vec<Location>) {
    for (i, rule) in judged(ID, role) {
        if let Some(j) = rule.verbs.iter().position(|verb| **verb == *"*") {
            let on: Vec<&str> = rule.resources.iter().chain(&rule.non_resource_urls).map(|text| &**text).collect();
            fails.push(Location::field(format!("rules[{i}].verbs[{j}]"), format!("* on {}", on.join(", "))));
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::fixture::{fires, silent};

    #[test]
    fn the_verb_is_named_with_what_it_reaches() {
        fires(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: r, namespace: shop}, rules: [
               {verbs: [get], apiGroups: [''], resources: [pods]},
               {verbs: [get, '*'], apiGroups: [''], resources: [pods, configmaps]}]}",
            expect![[r#"
                Role shop/r: rules[1].verbs[1] = * on pods, configmaps
            "#]],
        );
    }

    #[test]
    fn named_objects_read_only_verbs_and_aggregated_roles_are_not_its_business() {
        silent(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, rules: [
               {verbs: ['*'], apiGroups: [''], resources: [configmaps], resourceNames: [one]},
               {verbs: [get, list, watch], apiGroups: ['*'], resources: ['*']}]}",
        );
        silent(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r},
              aggregationRule: {clusterRoleSelectors: [{matchLabels: {a: b}}]},
              rules: [{verbs: ['*'], apiGroups: [''], resources: [pods]}]}",
        );
    }

    #[test]
    fn cluster_admin_as_it_ships_is_silent_and_a_copy_with_its_label_is_not() {
        let role = |name: &str| {
            format!(
                "{{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole,
                  metadata: {{name: {name}, labels: {{kubernetes.io/bootstrapping: rbac-defaults}}}},
                  rules: [{{verbs: ['*'], apiGroups: ['*'], resources: ['*']}}]}}"
            )
        };
        silent(&CONTROL, &role("cluster-admin"));
        fires(
            &CONTROL,
            &role("system:mine"),
            expect![[r#"
                ClusterRole system:mine: rules[0].verbs[0] = * on *
            "#]],
        );
    }
}
