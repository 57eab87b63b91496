//! The record that a program sends for the first event with its key (`struct event` of `programs/signal.h`), as a value.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::bytes::{Bytes, until_zero};
use crate::text::escaped_owned;

const BINARY: usize = 104;
const TEXT_BYTES: usize = 608;
const PATH: usize = BINARY + TEXT_BYTES;
const ARGUMENTS: usize = PATH + TEXT_BYTES;
const IPV4: u16 = 2;
const IPV6: u16 = 10;

/// An event, as sensors decode it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event<'a> {
    /// The cgroup's id, which is that of a file: unique in its hierarchy.
    pub cgroup: u64,
    pub started: u64,
    /// Nanoseconds since boot.
    pub at: u64,
    pub subject: u64,
    /// The identity of the cgroup in the maps: given once, across all hierarchies.
    pub serial: u64,
    pub pid: u32,
    pub behavior: u32,
    pub detail: u32,
    pub device: u32,
    /// The name of the process (`comm`).
    pub name: &'a [u8],
    /// The names of the program's path, from leaf to root.
    pub binary: &'a [u8],
    pub address: Option<SocketAddr>,
    /// Names from leaf to root, or text from the memory of the process.
    pub path: &'a [u8],
    pub arguments: &'a [u8],
}

impl<'a> Event<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let event = Bytes(bytes);
        Some(Self {
            cgroup: event.u64(0)?,
            started: event.u64(8)?,
            at: event.u64(16)?,
            subject: event.u64(24)?,
            serial: event.u64(32)?,
            pid: event.u32(40)?,
            behavior: event.u32(44)?,
            detail: event.u32(48)?,
            device: event.u32(100)?,
            name: until_zero(event.slice(72..88)?),
            binary: text(event, BINARY, event.u32(88)?)?,
            address: address(event),
            path: text(event, PATH, event.u32(92)?)?,
            arguments: text(event, ARGUMENTS, event.u32(96)?)?,
        })
    }

    /// The key under which equal events are counted.
    pub(super) fn key(&self) -> [u64; 3] {
        let [a, b, c, d] = self.behavior.to_ne_bytes();
        let [e, f, g, h] = self.detail.to_ne_bytes();
        [self.serial, self.subject, u64::from_ne_bytes([a, b, c, d, e, f, g, h])]
    }
}

/// A path from its names, which go from leaf to root.
pub(super) fn path_of(names: &[u8]) -> String {
    let names = names.strip_suffix(b"\0").unwrap_or(names);
    let mut path = Vec::with_capacity(names.len() + 1);
    for name in names.rsplit(|byte| *byte == 0) {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    escaped_owned(path)
}

fn text<'a>(event: Bytes<'a>, at: usize, bytes: u32) -> Option<&'a [u8]> {
    let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= TEXT_BYTES)?;
    event.slice(at..at + bytes)
}

fn address(event: Bytes<'_>) -> Option<SocketAddr> {
    let bytes = event.array::<16>(56)?;
    let ip = match event.u16(52)? {
        IPV4 => IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
        IPV6 => Ipv6Addr::from(bytes).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, event.u16(54)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_its_names_from_the_root() {
        assert_eq!(path_of(b"shadow\0etc\0"), "/etc/shadow");
        assert_eq!(path_of(b"a\nb\0"), "/a\\nb");
        assert_eq!(path_of(b""), "/");
    }

    #[test]
    fn no_byte_that_the_kernel_could_send_panics() {
        let whole = vec![0xff; ARGUMENTS + TEXT_BYTES];
        assert_eq!(Event::read(&whole), None, "lengths beyond the record");
        let zeros = vec![0; ARGUMENTS + TEXT_BYTES];
        assert!(Event::read(&zeros).is_some());
        for end in 0..BINARY {
            assert_eq!(Event::read(&zeros[..end]), None);
        }
    }
}
