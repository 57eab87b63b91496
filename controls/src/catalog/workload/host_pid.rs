//! Flags pods in the node's process namespace. Pod Security Standards, baseline, "Host Namespaces": `hostPID` must be
//! undefined or false.
//! The other two host namespaces are controls of their own.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Fix, Judge};
use crate::facts::pod::PodSpec;
use crate::process::{Process, Running, RuntimeVerdict, rights};

pub(crate) const CONTROL: Control = Control {
    id: "workload.host-pid",
    version: 1,
    title: "Pods have a process namespace of their own",
    severity: Severity::High,
    description: "With `hostPID`, a container sees and can signal every process of its node, reads their command \
                  lines and, with the right capability, enters them.",
    remediation: "Remove `hostPID`. A debugger or an agent that needs it belongs in a namespace of its own, with an \
                  approved exception.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead, Method::RuntimeRecheck],
    reads: &[],
    judge: Judge::Pod(judge),
    running: Some(Running::Process(own_pid)),
    fix: Some(Fix::Remove("hostPID")),
};

fn judge(pod: &PodSpec, fails: &mut Vec<Location>) {
    if pod.host_pid {
        fails.push(Location::field("hostPID", "true"));
    }
}

fn own_pid(process: &Process<'_>) -> RuntimeVerdict {
    rights::has_own_namespace("process", process, |namespaces| namespaces.pid)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::check::{fires, silent};

    #[test]
    fn the_field_is_named() {
        fires(&CONTROL, "{hostPID: true, containers: []}", expect!["hostPID = true"]);
    }

    #[test]
    fn other_namespaces_are_not_its_business() {
        silent(&CONTROL, "{hostPID: false, hostNetwork: true, hostIPC: true, shareProcessNamespace: true}");
        silent(&CONTROL, "hostPID: null");
    }
}
