//! Sockets that listen in a container's network, from `/proc/<pid>/net`: files that need no right to trace.
//!
//! Read once per network namespace. A socket that is cut off would count as closed, so a table that is too long is not read at all.
//! In the node's own network the owner of a socket is unknown, and it is not read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use holdfast_model::container_observation::{ListeningSocket, Transport};
use holdfast_model::kernel::{Namespaces, ProcessGroup, RunningContainer};

/// The longest table that is read.
const MAX_BYTES: u64 = 4 << 20;
/// The most sockets of a Pod that are reported.
const MAX_SOCKETS: usize = 1024;
/// The tables, their protocol, and the state of a socket that receives from anyone: `TCP_LISTEN`, and for UDP "no peer".
const TABLES: [(&str, Transport, u8); 4] = [
    ("tcp", Transport::Tcp, 0x0a),
    ("tcp6", Transport::Tcp, 0x0a),
    ("udp", Transport::Udp, 0x07),
    ("udp6", Transport::Udp, 0x07),
];

/// Adds the sockets at which each container can be reached.
pub(super) fn add(containers: &mut [RunningContainer], host: &Namespaces, is_same: impl Fn(&ProcessGroup) -> bool) {
    let mut known: BTreeMap<u32, Option<Vec<ListeningSocket>>> = BTreeMap::new();
    for container in containers {
        let has_own_network = |group: &&ProcessGroup| ![0, host.net].contains(&group.privileges.namespaces.net);
        let Some(group) = container.process_groups.iter().find(has_own_network) else { continue };
        // The pid may belong to another process by now.
        let read = || tables(group.pid).filter(|_| is_same(group));
        container.listening = known.entry(group.privileges.namespaces.net).or_insert_with(read).clone();
    }
}

/// Every table, or none.
fn tables(pid: u32) -> Option<Vec<ListeningSocket>> {
    let mut all = Vec::new();
    for (name, transport, state) in TABLES {
        let text = match whole(&format!("/proc/{pid}/net/{name}")) {
            // A kernel without IPv6 has no such table, and no such socket.
            None if name.ends_with('6') && std::fs::exists(format!("/proc/{pid}/net/tcp")).is_ok_and(|is| is) => {
                continue;
            }
            text => text?,
        };
        all.extend(parse(&text, transport, state)?);
    }
    all.sort();
    all.dedup();
    (all.len() <= MAX_SOCKETS).then_some(all)
}

fn whole(path: &str) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    u64::try_from(text.len()).is_ok_and(|bytes| bytes < MAX_BYTES).then_some(text)
}

/// The sockets of a table in this state; none where a line is invalid.
fn parse(table: &str, transport: Transport, state: u8) -> Option<Vec<ListeningSocket>> {
    let mut found = Vec::new();
    for line in table.lines().skip(1) {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (own, _, is) = (fields.next()?, fields.next()?, fields.next()?);
        if u8::from_str_radix(is, 16).ok()? != state {
            continue;
        }
        let (address, port) = own.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        found.push(ListeningSocket { transport, address: address_of(address)?, port });
    }
    Some(found)
}

/// 32-bit words, each in the machine's own byte order.
fn address_of(hex: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for at in (0..hex.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    }
    match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => Some(Ipv4Addr::from(four).into()),
        Err(_) => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn listening_sockets_of_a_real_process_are_found_and_connected_ones_are_not() {
        let (tcp, six) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("[::1]:0").unwrap());
        let (udp, connected) = (UdpSocket::bind("0.0.0.0:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        connected.connect(udp.local_addr().unwrap()).unwrap();
        let all = tables(std::process::id()).unwrap();
        let is_found = |transport, at: std::net::SocketAddr| {
            all.contains(&ListeningSocket { transport, address: at.ip(), port: at.port() })
        };
        assert!(is_found(Transport::Tcp, tcp.local_addr().unwrap()), "{all:?}");
        assert!(is_found(Transport::Tcp, six.local_addr().unwrap()), "{all:?}");
        assert!(is_found(Transport::Udp, udp.local_addr().unwrap()), "{all:?}");
        let port = connected.local_addr().unwrap().port();
        assert!(!all.iter().any(|socket| socket.transport == Transport::Udp && socket.port == port), "{all:?}");
    }

    #[test]
    fn an_invalid_table_is_not_read_in_part() {
        let head = "sl local_address rem_address st\n";
        let line = "0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n";
        let read = |table: &str| parse(table, Transport::Tcp, 0x0a);
        assert_eq!(read(&format!("{head}{line}")).unwrap()[0].to_owned().port, 8080);
        for broken in ["0: 0100007F 00000000:0000 0A\n", "0:\n", "0: 01:1F90 0:0 0A\n", "0: 0100007F:1F90 0:0 XX\n"] {
            assert_eq!(read(&format!("{head}{line}{broken}")), None, "{broken}");
        }
    }
}
