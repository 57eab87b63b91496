//! Flags containers without a seccomp profile. Pod Security Standards, restricted since 1.19, "Seccomp": each container
//! needs one, its own or the pod's. Since 1.25 pods for Windows are exempt.
//! A profile that is set and does not confine is `workload.seccomp-unconfined`, and covers the containers below it: one
//! cause is one finding. The place to fix is the pod's field, which covers them all.

use holdfast_model::kernel::Seccomp;
use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Fix, Judge, Relation};
use crate::facts::pod::PodSpec;
use crate::facts::pod_security::Version;
use crate::process::{Process, Running, RuntimeVerdict, Spec};

pub(crate) const CONTROL: Control = Control {
    id: "workload.seccomp-unset",
    version: 1,
    title: "Containers have a seccomp profile",
    severity: Severity::Medium,
    description: "Without a profile, unless the kubelet is told otherwise, the container may make every system call \
                  of the kernel, among them the rarely used ones in which the ways out of a container are found.",
    remediation: "Set the pod's `securityContext.seccompProfile.type` to `RuntimeDefault`; few programs notice.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead, Method::RuntimeRecheck],
    reads: &[Relation::Namespace, Relation::ServerVersion],
    judge: Judge::PodUnder(judge),
    running: Some(Running::Process(filtered)),
    fix: Some(Fix::Set { field: "securityContext.seccompProfile", to: r#"{"type":"RuntimeDefault"}"# }),
};

fn judge(pod: &PodSpec, policy: Version, fails: &mut Vec<Location>) {
    let context = pod.security_context.as_deref();
    if context.is_some_and(|context| context.seccomp_profile.is_some())
        || (policy.exempts_windows() && pod.is_windows())
    {
        return;
    }
    let place = if context.is_some() { "securityContext.seccompProfile" } else { "securityContext" };
    for placed in pod.all_containers() {
        if placed.security_context().is_none_or(|context| context.seccomp_profile.is_none()) {
            fails.push(Location::field(place, "").in_container(&placed.container.name));
        }
    }
}

/// A profile that is asked for is in force. Where none is asked for,
/// or one that does not confine, one of the two flags the specification; a privileged container gets none.
pub(super) fn filtered(process: &Process<'_>) -> RuntimeVerdict {
    let asked = |spec: Spec<'_>| !spec.is_privileged() && spec.seccomp().is_some_and(|profile| profile.confines());
    if process.privileges.seccomp == Seccomp::Disabled && process.spec.is_none_or(asked) {
        RuntimeVerdict::Contradicts("Seccomp is 0: no system call is filtered".to_owned())
    } else {
        RuntimeVerdict::Agrees
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::check::{fires, silent};

    #[test]
    fn the_pods_field_is_the_place_and_the_containers_are_named() {
        fires(
            &CONTROL,
            "containers: [{name: a}, {name: b, securityContext: {seccompProfile: {type: Localhost}}}, {name: c, securityContext: {}}]",
            expect![[r#"
                securityContext in a
                securityContext in c"#]],
        );
        fires(
            &CONTROL,
            "{securityContext: {}, containers: [{name: a}]}",
            expect!["securityContext.seccompProfile in a"],
        );
    }

    #[test]
    fn a_profile_of_the_pod_or_of_every_container_is_enough() {
        silent(&CONTROL, "{securityContext: {seccompProfile: {type: RuntimeDefault}}, containers: [{name: a}]}");
        silent(&CONTROL, "containers: [{name: a, securityContext: {seccompProfile: {type: RuntimeDefault}}}]");
        silent(&CONTROL, "{securityContext: {seccompProfile: {type: Unconfined}}, containers: [{name: a}]}");
        silent(&CONTROL, "{os: {name: windows}, containers: [{name: a}]}");
    }
}
