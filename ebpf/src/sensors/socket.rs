//! Connections that containers begin, and sockets of theirs that listen: of TCP by the states of a socket; of UDP, which has
//! none, by the calls that give a socket a peer or a port of its process's choice.
//!
//! A port that the kernel chose is a client's and no listener. Of many datagrams that one `sendmmsg` sends, the first names its
//! peer. Where a datagram goes is read from the memory of its process, which may have changed it meanwhile.

use holdfast_model::SignalKind;

use super::{Act, At, Event, Hook, Node, Reading, Sensor};

const UDP: u32 = 17;

pub(super) const SENSOR: Sensor = Sensor {
    id: "socket",
    hooks: &[
        Hook::needed("socket_state", At::Kernel("inet_sock_set_state")),
        Hook::needed("socket_connected", At::Call("connect")),
        Hook::needed("socket_bound", At::Call("bind")),
        Hook::needed("socket_sent", At::Call("sendto")),
        Hook::needed("socket_messaged", At::Call("sendmsg")),
        Hook::needed("socket_messaged", At::Call("sendmmsg")),
    ],
    acts: &[Act::Connect, Act::Listen],
    read,
};

fn read(event: &Event<'_>, _: &Node) -> Vec<Reading> {
    let kind = if Act::Connect.is(event.act) { SignalKind::Connect } else { SignalKind::Listen };
    let object = if event.detail == UDP { "udp" } else { "" };
    vec![Reading { address: event.address, object: object.to_owned(), ..Reading::of(kind) }]
}
