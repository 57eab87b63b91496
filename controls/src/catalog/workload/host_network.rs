//! Flags pods in the node's network namespace. Pod Security Standards, baseline, "Host Namespaces": `hostNetwork` must
//! be undefined or false.
//! The host ports of such a pod are part of the same cause: the API server sets each to its container port. They are
//! places of this finding, not of `workload.host-port`, so that removing all of them fixes both.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Fix, Judge};
use crate::facts::pod::PodSpec;
use crate::process::{Process, Running, RuntimeVerdict, rights};

pub(crate) const CONTROL: Control = Control {
    id: "workload.host-network",
    version: 1,
    title: "Pods have a network namespace of their own",
    severity: Severity::High,
    description: "With `hostNetwork`, a container listens on the addresses of its node, reaches services that trust \
                  the node (the kubelet, a cloud metadata endpoint, anything on loopback), sees its traffic, and is \
                  out of reach of most network policies.",
    remediation: "Remove `hostNetwork` and the `hostPort`s that come with it, and expose the pod through a Service. Fix \
                  `workload.host-process` first: the API server wants host processes in the host network.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead, Method::RuntimeRecheck],
    reads: &[],
    judge: Judge::Pod(judge),
    running: Some(Running::Process(own_net)),
    fix: Some(Fix::FirstOf(&[Fix::Remove("hostNetwork"), Fix::Remove("ports[].hostPort")])),
};

fn judge(pod: &PodSpec, fails: &mut Vec<Location>) {
    if !pod.host_network {
        return;
    }
    fails.push(Location::field("hostNetwork", "true"));
    for placed in pod.all_containers() {
        for (i, port) in placed.container.ports.iter().enumerate().filter(|(_, port)| port.host_port != 0) {
            fails.push(placed.at(&format!("ports[{i}].hostPort"), &port.host_port.to_string()));
        }
    }
}

fn own_net(process: &Process<'_>) -> RuntimeVerdict {
    rights::has_own_namespace("network", process, |namespaces| namespaces.net)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::check::{fires, silent};

    #[test]
    fn the_host_ports_of_the_host_network_are_the_same_cause() {
        fires(
            &CONTROL,
            "{hostNetwork: true, containers: [{name: web, ports: [{containerPort: 80, hostPort: 80}, {containerPort: 81}]}]}",
            expect![[r#"
                hostNetwork = true
                containers[0].ports[0].hostPort = 80 in web"#]],
        );
    }

    #[test]
    fn a_host_port_alone_is_another_cause() {
        silent(&CONTROL, "{hostNetwork: false, containers: [{name: web, ports: [{containerPort: 80, hostPort: 80}]}]}");
    }
}
