//! Flags containers that run privileged. Pod Security Standards, baseline, "Privileged Containers":
//! `securityContext.privileged` must be undefined or false in containers, init containers and ephemeral containers.
//! It ignores what a privileged container also gets by implication (all capabilities, all devices): those fields are
//! controls of their own, and one cause is one finding.

use holdfast_model::kernel::Seccomp;
use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Fix, Judge};
use crate::facts::pod::PodSpec;
use crate::process::{Process, Running, RuntimeVerdict, capability::names, rights};

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
    running: Some(Running::Process(not_privileged)),
    fix: Some(Fix::Set { field: "securityContext.privileged", to: "false" }),
};

fn judge(pod: &PodSpec, fails: &mut Vec<Location>) {
    for placed in pod.all_containers() {
        if placed.security_context().and_then(|context| context.privileged) == Some(true) {
            fails.push(placed.at("securityContext.privileged", "true"));
        }
    }
}

/// So many capabilities beyond the default set (27 on Linux 6.18) make a container privileged in all but name. A node may lack
/// some itself: nested nodes often lack SYS_RESOURCE, SYS_MODULE or SYS_BOOT.
const NEARLY_ALL: u32 = 20;

/// Nearly every capability within reach and no seccomp filter, which no runtime gives a privileged
/// container. What the specification adds by name is `workload.capabilities-added`'s.
fn not_privileged(process: &Process<'_>) -> RuntimeVerdict {
    let explained = process.spec.filter(|spec| !spec.is_privileged()).map_or(0, |spec| spec.adds());
    let beyond = rights::reach(process) & !rights::default_set() & !explained;
    rights::judge_capabilities(process, || {
        let is_privileged = beyond.count_ones() >= NEARLY_ALL && process.privileges.seccomp == Seccomp::Disabled;
        let sentence = || format!("{} has {} and no seccomp filter", rights::held_in(process, beyond), names(beyond));
        if is_privileged { RuntimeVerdict::Contradicts(sentence()) } else { RuntimeVerdict::Agrees }
    })
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
