//! Flags containers that run privileged. Pod Security Standards, baseline, "Privileged Containers":
//! `securityContext.privileged` must be undefined or false in containers, init containers and ephemeral containers.
//! It ignores what a privileged container also gets by implication (all capabilities, all devices): those fields are
//! controls of their own, and one cause is one finding.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Fix, Judge};
use crate::facts::pod::PodSpec;
use crate::running::{self, Running};

pub(crate) const CONTROL: Control = Control {
    id: "workload.privileged",
    version: 1,
    title: "Containers do not run privileged",
    severity: Severity::Critical,
    description: "A privileged container has every capability and every device of its node: whoever controls the \
                  container controls the node and all that runs on it.",
    remediation: "Remove `securityContext.privileged`, or set it to false. Where one capability or one device is \
                  really needed, grant that one instead.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead, Method::RuntimeRecheck],
    reads: &[],
    judge: Judge::Pod(judge),
    running: Some(Running::Process(running::not_privileged)),
    fix: Some(Fix::Set { field: "securityContext.privileged", to: "false" }),
};

fn judge(pod: &PodSpec, fails: &mut Vec<Location>) {
    for placed in pod.all_containers() {
        if placed.security_context().and_then(|context| context.privileged) == Some(true) {
            fails.push(placed.at("securityContext.privileged", "true"));
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::check::{fires, silent};

    #[test]
    fn a_privileged_container_of_any_list_is_named() {
        fires(
            &CONTROL,
            "
    initContainers: [{name: setup, securityContext: {privileged: true}}]
    containers: [{name: web, securityContext: {privileged: false}}]
    ephemeralContainers: [{name: debug, securityContext: {privileged: true}}]",
            expect![[r#"
                initContainers[0].securityContext.privileged = true in setup
                ephemeralContainers[0].securityContext.privileged = true in debug"#]],
        );
    }

    #[test]
    fn false_null_and_absent_are_not_privileged() {
        silent(
            &CONTROL,
            "containers: [{name: a, securityContext: {privileged: null}}, {name: b, securityContext: null}]",
        );
        silent(
            &CONTROL,
            "{hostPID: true, containers: [{name: a, securityContext: {capabilities: {add: [SYS_ADMIN]}}}]}",
        );
    }
}
