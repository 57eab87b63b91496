//! Flags containers with an unmasked /proc. Pod Security Standards, baseline, "/proc Mount Type": `procMount` must be
//! undefined or `Default`.
//! The relaxation for pods in a user namespace stands behind a feature gate that is off by default, so it is not
//! applied.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Fix, Judge};
use crate::facts::pod::PodSpec;

pub(crate) const CONTROL: Control = Control {
    id: "workload.proc-mount",
    version: 1,
    title: "Containers see a masked /proc",
    severity: Severity::Medium,
    description: "With `procMount: Unmasked` the container sees and may write parts of `/proc` that its runtime \
                  hides, some of which act on the kernel of its node.",
    remediation: "Remove `securityContext.procMount`. Containers that build or nest containers should run in a user \
                  namespace on nodes of their own.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead],
    reads: &[],
    judge: Judge::Pod(judge),
    running: None,
    fix: Some(Fix::Remove("procMount")),
};

fn judge(pod: &PodSpec, fails: &mut Vec<Location>) {
    for placed in pod.all_containers() {
        let mount = placed.security_context().and_then(|context| context.proc_mount.as_deref());
        if let Some(mount) = mount.filter(|mount| *mount != "Default") {
            fails.push(placed.at("securityContext.procMount", mount));
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::check::{fires, silent};

    #[test]
    fn an_unmasked_proc_is_a_place() {
        fires(
            &CONTROL,
            "{hostUsers: false, containers: [{name: a, securityContext: {procMount: Unmasked}}]}",
            expect!["containers[0].securityContext.procMount = Unmasked in a"],
        );
    }

    #[test]
    fn the_default_is_fine() {
        silent(
            &CONTROL,
            "containers: [{name: a, securityContext: {procMount: Default}}, {name: b, securityContext: {procMount: null}}]",
        );
    }
}
