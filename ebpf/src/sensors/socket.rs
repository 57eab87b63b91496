//! Connections that containers begin, and sockets of theirs that listen: of TCP by the states of a socket; of UDP, which has
//! none, by the calls that give a socket a peer or a port of its process's choice.
//!
//! A port that the kernel chose is a client's and no listener. Of many datagrams that one `sendmmsg` sends, the first names its
//! peer. Where a datagram goes is read from the memory of its process, which may have changed it meanwhile.
//! A connection to a cloud's metadata service is told as that too: by TCP, as a name's lookup gives UDP sockets peers that are
//! never asked anything.

use holdfast_model::{SignalKind, metadata_service};

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
    behaviors: &[Act::Connect, Act::Listen],
    read,
};

fn read(event: &Event<'_>, _: &Node<'_>) -> Vec<Reading> {
    let object = if event.detail == UDP { "udp" } else { "" };
    let told = |kind, object: &str| Reading { address: event.address, object: object.to_owned(), ..Reading::of(kind) };
    if !Act::Connect.is(event.act) {
        return vec![told(SignalKind::Listen, object)];
    }
    let service = event.address.filter(|_| event.detail != UDP).and_then(metadata_service::asked);
    let asked = service.map(|service| told(SignalKind::MetadataAsked, service.cloud));
    [told(SignalKind::Connect, object)].into_iter().chain(asked).collect()
}
