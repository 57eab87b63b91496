//! Flags roles that grant on every resource by `*`. RBAC good practices, "Least privilege": `*` covers Secrets, every
//! subresource and every custom resource that is installed later.
//! It ignores `*/scale` and its like (one subresource of all), rules for named objects, aggregated roles and default roles.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use super::right::judged;
use crate::catalog::{Control, Judge, Of, View};
use crate::facts::Role;

const ID: &str = "rbac.wildcard-resources";

pub(super) const CONTROL: Control = Control {
    id: ID,
    version: 1,
    title: "Roles name the resources that they grant access to",
    severity: Severity::High,
    description: "A rule whose resources are `*` reaches everything in its API groups: Secrets, `pods/exec`, and each \
                  resource that is installed later. Even with read-only verbs it reads every Secret of the core group.",
    remediation: "List the resources that are used. For a tool that must see everything, list what it shows and leave out secrets.",
    on_deletion: OnDeletion::Fixes,
    methods: &[Method::LiveRead],
    reads: &[],
    judge: Judge::Object(&Of(judge)),
    running: None,
    fix: None,
};

fn judge(role: &View<Role>, fails: &mut Vec<Location>) {
    for (i, rule) in judged(ID, role) {
        if let Some(j) = rule.resources.iter().position(|resource| **resource == *"*") {
            let groups: Vec<&str> =
                rule.api_groups.iter().map(|group| if group.is_empty() { "core" } else { &**group }).collect();
            fails.push(Location::field(format!("rules[{i}].resources[{j}]"), format!("* of {}", groups.join(", "))));
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::fixture::{fires, silent};

    #[test]
    fn read_only_is_no_excuse() {
        fires(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, rules: [
               {verbs: [get, list], apiGroups: ['', apps], resources: ['*']}]}",
            expect![[r#"
                ClusterRole r: rules[0].resources[0] = * of core, apps
            "#]],
        );
    }

    #[test]
    fn one_subresource_of_all_and_named_objects_are_not_its_business() {
        silent(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, rules: [
               {verbs: ['*'], apiGroups: ['*'], resources: ['*/scale', pods]},
               {verbs: [get], apiGroups: [''], resources: ['*'], resourceNames: [one]},
               {verbs: [get], nonResourceURLs: ['*']}]}",
        );
    }
}
