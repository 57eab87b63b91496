//! Flags roles that may write admission webhook configurations. RBAC good practices, "Control admission webhooks".
//! Rules for named configurations, as certificate injectors use them, and reading are not flagged.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use super::right::Right;
use crate::catalog::{Control, Judge, Of, View};
use crate::facts::Role;

const ID: &str = "rbac.webhook-configuration";

const RIGHTS: &[Right] = &[Right {
    group: "admissionregistration.k8s.io",
    resources: &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
    verbs: &["create", "update", "patch"],
}];

pub(super) const CONTROL: Control = Control {
    id: ID,
    version: 1,
    title: "Roles do not write every admission webhook",
    severity: Severity::High,
    description: "Whoever writes admission webhooks sees every object that is admitted, Secrets included, and may \
                  change it on the way.",
    remediation: "Name the configurations in `resourceNames`, or leave their installation to the platform.",
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
    fn patching_every_configuration_is_found() {
        fires(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, rules: [
               {verbs: [get, patch], apiGroups: [admissionregistration.k8s.io], resources: [mutatingwebhookconfigurations]}]}",
            expect![[r#"
                ClusterRole r: rules[0].resources[0] = mutatingwebhookconfigurations: patch
            "#]],
        );
    }

    #[test]
    fn one_named_configuration_and_reading_are_not_its_business() {
        silent(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, rules: [
               {verbs: [patch], apiGroups: [admissionregistration.k8s.io], resources: [mutatingwebhookconfigurations], resourceNames: [mine]},
               {verbs: [get, list, watch], apiGroups: [admissionregistration.k8s.io], resources: [validatingwebhookconfigurations]}]}",
        );
    }
}
