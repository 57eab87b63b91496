//! Flags probes and lifecycle handlers that ask a host of the author's choice. Pod Security Standards, baseline since
//! 1.34, "Host Probes / Lifecycle Hooks": `httpGet.host` and `tcpSocket.host` must be undefined or empty.
//! It does not ask whether that host is harmless: the kubelet connects from the node's network, wherever that reaches.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Fix, Judge};
use crate::facts::pod::PodSpec;

pub(crate) const CONTROL: Control = Control {
    id: "workload.host-probes",
    version: 1,
    title: "Probes and lifecycle handlers ask the pod itself",
    severity: Severity::Low,
    description: "A probe with a `host` makes the kubelet, in the network of its node, connect to any address that \
                  the author of the pod chooses: a way to scan and to reach services that trust nodes.",
    remediation: "Remove `host` from the probe or handler, so that it asks the pod itself. A `Host` header goes into \
                  `httpHeaders`.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead],
    reads: &[],
    judge: Judge::Pod(judge),
    running: None,
    fix: Some(Fix::Remove("host")),
};

fn judge(pod: &PodSpec, fails: &mut Vec<Location>) {
    for placed in pod.all_containers() {
        fails.extend(placed.container.hosts().into_iter().map(|(field, host)| placed.at(field, host)));
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::check::{fires, silent};

    #[test]
    fn every_handler_that_names_a_host_is_a_place() {
        fires(
            &CONTROL,
            "
    containers:
    - name: web
      livenessProbe: {httpGet: {host: 10.0.0.1, port: 80}}
      readinessProbe: {tcpSocket: {host: db, port: 1}}
      startupProbe: {httpGet: {host: '', port: 80}}
      lifecycle: {postStart: {tcpSocket: {host: 127.0.0.1, port: 1}}, preStop: {httpGet: {host: 169.254.169.254, port: 80}}}",
            expect![[r#"
                containers[0].livenessProbe.httpGet.host = 10.0.0.1 in web
                containers[0].readinessProbe.tcpSocket.host = db in web
                containers[0].lifecycle.postStart.tcpSocket.host = 127.0.0.1 in web
                containers[0].lifecycle.preStop.httpGet.host = 169.254.169.254 in web"#]],
        );
    }

    #[test]
    fn a_host_header_is_not_a_host() {
        silent(
            &CONTROL,
            "containers: [{name: web, livenessProbe: {httpGet: {port: 80, httpHeaders: [{name: Host, value: shop}]}, exec: null}}]",
        );
    }
}
