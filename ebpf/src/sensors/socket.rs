//! Connections that containers begin, and their sockets that listen: of TCP by the states of a socket; of UDP, which has none, by
//! the system calls that give a socket a peer, or a port that its process chose.
//!
//! A port that the kernel chose is a client's and no listener. Of the datagrams of one `sendmmsg`, the peer of the first is
//! reported. The destination of a datagram is read from the memory of its process, which may have changed it meanwhile.
//! A TCP connection to a cloud's metadata service is a signal of its own too. UDP is left out: resolvers connect UDP sockets to
//! addresses only to rank them.

use holdfast_model::{SignalKind, metadata_service};

use super::{At, Behavior, Context, Event, Hook, Sensor, Signal};

const UDP: u32 = 17;

const CONNECTED: Behavior = Behavior { name: "CONNECTED", kinds: &[SignalKind::Connect, SignalKind::MetadataRequest] };
const LISTENED: Behavior = Behavior { name: "LISTENED", kinds: &[SignalKind::Listen] };

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
    behaviors: &[CONNECTED, LISTENED],
    contributes_to: &[],
    decode,
};

fn decode(event: &Event<'_>, context: &Context<'_>) -> Vec<Signal> {
    let object = if event.detail == UDP { "udp" } else { "" };
    let signal = |kind, object: &str| Signal { address: event.address, object: object.to_owned(), ..Signal::of(kind) };
    if *context.behavior == LISTENED {
        return vec![signal(SignalKind::Listen, object)];
    }
    let service = event.address.filter(|_| event.detail != UDP).and_then(metadata_service::service_at);
    let request = service.map(|service| signal(SignalKind::MetadataRequest, service.cloud));
    [signal(SignalKind::Connect, object)].into_iter().chain(request).collect()
}
