//! TCP connections that containers begin, and sockets of theirs that listen. UDP has no such states and is not seen.

use holdfast_model::SignalKind;

use super::{Act, At, Event, Hook, Node, Reading, Sensor};

pub(super) const SENSOR: Sensor = Sensor {
    id: "socket",
    hooks: &[Hook::needed("socket_state", At::Kernel("inet_sock_set_state"))],
    acts: &[Act::Connect, Act::Listen],
    read,
};

fn read(event: &Event<'_>, _: &Node) -> Vec<Reading> {
    let kind = if Act::Connect.is(event.act) { SignalKind::Connect } else { SignalKind::Listen };
    vec![Reading { address: event.address, ..Reading::of(kind) }]
}
