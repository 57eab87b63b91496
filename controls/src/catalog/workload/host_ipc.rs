//! Flags pods in the node's IPC namespace. Pod Security Standards, baseline, "Host Namespaces": `hostIPC` must be
//! undefined or false.
//! The other two host namespaces are controls of their own.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Fix, Judge};
use crate::facts::pod::PodSpec;
use crate::process::{Process, Running, RuntimeVerdict, rights};

pub(crate) const CONTROL: Control = Control {
    id: "workload.host-ipc",
    version: 1,
    title: "Pods have an IPC namespace of their own",
    severity: Severity::High,
    description: "With `hostIPC`, a container shares memory segments, semaphores and message queues with every \
                  process of its node, and can read or change what they exchange.",
    remediation: "Remove `hostIPC`. Containers of one pod share memory without it; use an `emptyDir` with `medium: \
                  Memory` for more.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead, Method::RuntimeRecheck],
    reads: &[],
    judge: Judge::Pod(judge),
    running: Some(Running::Process(own_ipc)),
    fix: Some(Fix::Remove("hostIPC")),
};

fn judge(pod: &PodSpec, fails: &mut Vec<Location>) {
    if pod.host_ipc {
        fails.push(Location::field("hostIPC", "true"));
    }
}

fn own_ipc(process: &Process<'_>) -> RuntimeVerdict {
    rights::has_own_namespace("IPC", process, |namespaces| namespaces.ipc)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::check::{fires, silent};

    #[test]
    fn the_field_is_named() {
        fires(&CONTROL, "{hostIPC: true, containers: []}", expect!["hostIPC = true"]);
    }

    #[test]
    fn other_namespaces_are_not_its_business() {
        silent(&CONTROL, "{hostIPC: false, hostNetwork: true, hostPID: true, shareProcessNamespace: true}");
        silent(&CONTROL, "hostIPC: null");
    }
}
