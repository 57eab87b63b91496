//! Flags containers that take a port of their node. Pod Security Standards, baseline, "Host Ports": `ports[*].hostPort`
//! must be undefined or 0.
//! It ignores pods in the node's network: there every port is the node's, and `workload.host-network` says so.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Fix, Judge};
use crate::facts::pod::PodSpec;

pub(crate) const CONTROL: Control = Control {
    id: "workload.host-port",
    version: 1,
    title: "Containers take no port of their node",
    severity: Severity::Medium,
    description: "A host port opens the container on every address of its node, past Services and, with many network \
                  plugins, past network policies; two such pods cannot share a node.",
    remediation: "Remove `hostPort` and expose the container through a Service, a load balancer or an Ingress.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead],
    reads: &[],
    judge: Judge::Pod(judge),
    running: None,
    fix: Some(Fix::Remove("ports[].hostPort")),
};

fn judge(pod: &PodSpec, fails: &mut Vec<Location>) {
    if pod.host_network {
        return;
    }
    for placed in pod.all_containers() {
        for (i, port) in placed.container.ports.iter().enumerate().filter(|(_, port)| port.host_port != 0) {
            fails.push(placed.at(&format!("ports[{i}].hostPort"), &port.host_port.to_string()));
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::check::{fires, silent};

    #[test]
    fn each_host_port_is_a_place() {
        fires(
            &CONTROL,
            "containers: [{name: web, ports: [{containerPort: 80}, {containerPort: 81, hostPort: 8081}, {hostPort: 9}]}]",
            expect![[r#"
                containers[0].ports[1].hostPort = 8081 in web
                containers[0].ports[2].hostPort = 9 in web"#]],
        );
    }

    #[test]
    fn a_container_port_is_no_host_port() {
        silent(
            &CONTROL,
            "containers: [{name: web, ports: [{containerPort: 80, hostPort: 0}, {containerPort: 81, hostPort: null}]}]",
        );
        silent(&CONTROL, "{hostNetwork: true, containers: [{name: web, ports: [{containerPort: 80, hostPort: 80}]}]}");
    }
}
