//! Flags capabilities beyond the default set. Pod Security Standards, baseline, "Capabilities": `capabilities.add` may
//! name only the capabilities that container runtimes give by default.
//! It compares as the standard does: exactly, so `CAP_CHOWN` and `chown` are not in the set. Default capabilities that
//! are added back are `workload.capabilities-restored`.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Fix, Judge};
use crate::facts::pod::PodSpec;
use crate::process::{Process, Running, RuntimeVerdict, rights};

pub(crate) const CONTROL: Control = Control {
    id: "workload.capabilities-added",
    version: 1,
    title: "Containers add no capability beyond the default set",
    severity: Severity::High,
    description: "Each capability is a part of root. Several of those outside the default set (`SYS_ADMIN`, \
                  `SYS_PTRACE`, `SYS_MODULE`, `DAC_READ_SEARCH`, `BPF`) are ways from the container to its node; \
                  `NET_RAW` and `NET_ADMIN` let it forge and redirect traffic.",
    remediation: "Remove the capability from `capabilities.add`. Most programs that ask for one run without it, or \
                  need only `NET_BIND_SERVICE`.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead, Method::RuntimeRecheck],
    reads: &[],
    judge: Judge::Pod(judge),
    running: Some(Running::Process(none_added)),
    fix: Some(Fix::Remove("capabilities.add[]")),
};

/// What container runtimes give by default, without `NET_RAW`: the standard's list.
pub(super) const DEFAULT: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

fn judge(pod: &PodSpec, fails: &mut Vec<Location>) {
    push_added(pod, |capability| !DEFAULT.contains(&capability), fails);
}

/// Every added capability that is one of those, as a place of its own.
pub(super) fn push_added(pod: &PodSpec, is_one: impl Fn(&str) -> bool, fails: &mut Vec<Location>) {
    for placed in pod.all_containers() {
        let Some(capabilities) = placed.security_context().and_then(|context| context.capabilities.as_ref()) else {
            continue;
        };
        for (i, capability) in capabilities.add.iter().enumerate().filter(|(_, capability)| is_one(capability)) {
            fails.push(placed.at(&format!("securityContext.capabilities.add[{i}]"), capability));
        }
    }
}

/// Nothing beyond the runtime's default set. A privileged specification is another control's.
fn none_added(process: &Process<'_>) -> RuntimeVerdict {
    let privileged = process.spec.is_some_and(|spec| spec.is_privileged());
    let allowed = if privileged { u64::MAX } else { rights::default_set() };
    rights::holds_only(process, allowed)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::check::{fires, silent};

    #[test]
    fn each_capability_is_a_place_of_its_own() {
        fires(
            &CONTROL,
            "containers: [{name: web, securityContext: {capabilities: {add: [NET_RAW, CHOWN, CAP_CHOWN, ALL]}}}]",
            expect![[r#"
                containers[0].securityContext.capabilities.add[0] = NET_RAW in web
                containers[0].securityContext.capabilities.add[2] = CAP_CHOWN in web
                containers[0].securityContext.capabilities.add[3] = ALL in web"#]],
        );
    }

    #[test]
    fn default_capabilities_are_not_beyond_the_default() {
        silent(
            &CONTROL,
            "containers: [{name: web, securityContext: {capabilities: {add: [CHOWN, NET_BIND_SERVICE]}}}]",
        );
        silent(&CONTROL, "containers: [{name: web, securityContext: {capabilities: {drop: [NET_RAW], add: null}}}]");
    }
}
