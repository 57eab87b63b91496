//! Flags default capabilities that are added back after all were dropped. Pod Security Standards, restricted,
//! "Capabilities": `capabilities.add` may name only `NET_BIND_SERVICE`.
//! Capabilities outside the default set are `workload.capabilities-added`: one capability is one finding.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Fix, Judge};
use crate::facts::pod::PodSpec;
use crate::process::{Process, Running, RuntimeVerdict, capability, rights};

use super::capabilities_added::{DEFAULT, push_added};

pub(crate) const CONTROL: Control = Control {
    id: "workload.capabilities-restored",
    version: 1,
    title: "Containers add back no capability but NET_BIND_SERVICE",
    severity: Severity::Low,
    description: "A container that drops all capabilities and adds some of the default ones back keeps parts of root \
                  that few programs need: to change owners, to become another user, to make device files.",
    remediation: "Remove the capability from `capabilities.add`; run the program as the user that it needs to be, on \
                  files that already belong to it.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead, Method::RuntimeRecheck],
    reads: &[],
    judge: Judge::Pod(judge),
    running: Some(Running::Process(none_restored)),
    fix: Some(Fix::Remove("capabilities.add[]")),
};

fn judge(pod: &PodSpec, fails: &mut Vec<Location>) {
    push_added(pod, |capability| capability != "NET_BIND_SERVICE" && DEFAULT.contains(&capability), fails);
}

/// Once all are dropped, none of the default set is back but NET_BIND_SERVICE. Where they
/// are not dropped, `workload.capabilities-not-dropped` says so; what is beyond the set is `workload.capabilities-added`'s.
fn none_restored(process: &Process<'_>) -> RuntimeVerdict {
    if process.spec.is_some_and(|spec| spec.is_privileged() || !spec.drops_all()) {
        return RuntimeVerdict::Agrees;
    }
    rights::holds_only(process, !rights::default_set() | capability::set(["NET_BIND_SERVICE"]))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::check::{fires, silent};

    #[test]
    fn a_default_capability_that_is_added_is_a_place() {
        fires(
            &CONTROL,
            "containers: [{name: web, securityContext: {capabilities: {drop: [ALL], add: [NET_BIND_SERVICE, CHOWN]}}}]",
            expect!["containers[0].securityContext.capabilities.add[1] = CHOWN in web"],
        );
    }

    #[test]
    fn capabilities_beyond_the_default_are_another_finding() {
        silent(
            &CONTROL,
            "containers: [{name: web, securityContext: {capabilities: {add: [NET_BIND_SERVICE, SYS_ADMIN]}}}]",
        );
    }
}
