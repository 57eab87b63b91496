//! Flags ports at which a Pod takes what others send and which none of its containers declares. A `containerPort` opens and
//! closes nothing; owners, Services and policies rely on it, so a port beside it is one that they do not know of.
//! Left out are addresses of the Pod's own loopback, and UDP ports of the range from which the kernel gives a port to whoever
//! only sends. In the node's network nobody can say whose a socket is.

use std::net::IpAddr;

use holdfast_model::container_observation::{ListeningSocket, Transport};
use holdfast_model::{Method, OnDeletion, Severity};

use crate::catalog::{Control, Judge};
use crate::facts::pod::PodSpec;
use crate::process::{Running, RuntimeVerdict};

/// `net.ipv4.ip_local_port_range`, as it stands where nobody has changed it.
const GIVEN_TO_SENDERS: std::ops::RangeInclusive<u16> = 32768..=60999;

pub(crate) const CONTROL: Control = Control {
    id: "workload.undeclared-port",
    version: 1,
    title: "Ports that are open are declared",
    severity: Severity::Low,
    description: "A program of the Pod listens at a port that no container declares: a debugger, a metrics page, an \
                  administrator's door that was left open, or an intruder's. Whoever reads the specification does not see \
                  it, and every other Pod may reach it.",
    remediation: "Declare it as a `containerPort`, let the program listen on 127.0.0.1 only, or close it.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead, Method::RuntimeRecheck],
    reads: &[],
    judge: Judge::Processes,
    running: Some(Running::Socket(declared)),
    fix: None,
};

fn declared(socket: &ListeningSocket, pod: &PodSpec) -> RuntimeVerdict {
    let ListeningSocket { transport, address, port } = socket;
    let only_sends = *transport == Transport::Udp && GIVEN_TO_SENDERS.contains(port);
    let mut ports = pod.all_containers().flat_map(|placed| &placed.container.ports);
    let is_declared = ports.any(|declared| {
        declared.container_port == i32::from(*port) && declared.protocol().eq_ignore_ascii_case(transport.as_str())
    });
    if is_loopback(*address) || only_sends || is_declared {
        return RuntimeVerdict::Agrees;
    }
    RuntimeVerdict::Contradicts(format!(
        "{transport} port {port} is open at {address}, and no containerPort declares it"
    ))
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::check::pod;

    fn says(transport: Transport, address: &str, port: u16, ports: &str) -> String {
        let socket = ListeningSocket { transport, address: address.parse().unwrap(), port };
        match declared(&socket, &pod(&format!("{{containers: [{{name: web, ports: {ports}}}, {{name: side}}]}}"))) {
            RuntimeVerdict::Contradicts(fact) => fact,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_port_is_declared_by_number_and_protocol() {
        use Transport::{Tcp, Udp};
        let open = |port: u16, transport: &str, at: &str| {
            format!("{transport} port {port} is open at {at}, and no containerPort declares it")
        };
        for (name, transport, address, port, ports, expected) in [
            ("declared", Tcp, "0.0.0.0", 8080, "[{containerPort: 8080}]", "Agrees".to_owned()),
            ("another number", Tcp, "0.0.0.0", 8081, "[{containerPort: 8080}]", open(8081, "tcp", "0.0.0.0")),
            ("none at all", Tcp, "::", 80, "[]", open(80, "tcp", "::")),
            ("another protocol", Udp, "0.0.0.0", 53, "[{containerPort: 53}]", open(53, "udp", "0.0.0.0")),
            ("its protocol", Udp, "::", 53, "[{containerPort: 53, protocol: UDP}]", "Agrees".to_owned()),
            ("to itself", Tcp, "127.0.0.1", 6060, "[]", "Agrees".to_owned()),
            ("to itself, the long way", Tcp, "::ffff:127.0.0.9", 6060, "[]", "Agrees".to_owned()),
            ("a sender", Udp, "0.0.0.0", 40000, "[]", "Agrees".to_owned()),
            ("no sender listens", Tcp, "0.0.0.0", 40000, "[]", open(40000, "tcp", "0.0.0.0")),
        ] {
            assert_eq!(says(transport, address, port, ports), expected, "{name}");
        }
    }
}
