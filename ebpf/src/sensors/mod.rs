//! What containers do, as the kernel tells it while they do it.
//!
//! A sensor is a pair: `programs/sensor/<id>.c` notices acts and folds equal ones of a cgroup into one; `sensors/<id>.rs` says
//! which hooks that needs and what an act means. All share one ring and one table of counts. A hook that this kernel, or
//! these rights, do not offer is a state of coverage with its reason, and costs its own sensor only.

mod bpf;
mod canary;
mod capability;
mod driver;
mod event;
mod file;
mod module;
mod mount;
mod namespace;
mod process;
mod socket;
mod trace;

use std::net::SocketAddr;

use holdfast_model::{CoverageState, SignalKind};

pub use driver::{Book, Books, Cost, Counters, Sensors, count_costs};
use event::Event;

use crate::Owner;
use crate::view::mounts::{Mount, as_host_sees};

/// Every sensor. `process` comes first: it knows who is still on the way into a container.
const SENSORS: &[Sensor] = &[
    process::SENSOR,
    bpf::SENSOR,
    canary::SENSOR,
    capability::SENSOR,
    file::SENSOR,
    module::SENSOR,
    mount::SENSOR,
    namespace::SENSOR,
    socket::SENSOR,
    trace::SENSOR,
];

/// How one sensor stands on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SensorState {
    /// Its id: `process`, `file`.
    pub sensor: &'static str,
    /// Whether it sees.
    pub state: CoverageState,
    /// Why not, in plain words; empty where it sees.
    pub reason: String,
}

/// One sensor, as data for the driver.
struct Sensor {
    id: &'static str,
    hooks: &'static [Hook],
    acts: &'static [Act],
    /// What an act means. Pure.
    read: fn(&Event<'_>, &Node) -> Vec<Reading>,
}

/// Where one program is attached.
struct Hook {
    program: &'static str,
    at: At,
    needed: bool,
}

/// A place in the kernel.
enum At {
    /// A tracepoint with types, by name.
    Kernel(&'static str),
    /// The return of a system call.
    Call(&'static str),
}

impl Hook {
    const fn needed(program: &'static str, at: At) -> Self {
        Self { program, at, needed: true }
    }

    /// One that some machines rightly lack.
    const fn optional(program: &'static str, at: At) -> Self {
        Self { program, at, needed: false }
    }
}

/// The sorts of acts, in the order of `enum act` of `programs/signal.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Exec,
    Spaces,
    Mount,
    Ptrace,
    Module,
    Bpf,
    Capability,
    Open,
    Connect,
    Listen,
    Canary,
}

impl Act {
    const ALL: [Self; 11] = [
        Self::Exec,
        Self::Spaces,
        Self::Mount,
        Self::Ptrace,
        Self::Module,
        Self::Bpf,
        Self::Capability,
        Self::Open,
        Self::Connect,
        Self::Listen,
        Self::Canary,
    ];

    /// What an act of this sort may be told as.
    fn kinds(self) -> &'static [SignalKind] {
        match self {
            Self::Exec => {
                &[SignalKind::ProcessStart, SignalKind::PrivilegedStart, SignalKind::ForeignBinary, SignalKind::Shell]
            }
            Self::Spaces => &[SignalKind::NamespaceEntry],
            Self::Mount => &[SignalKind::Mount],
            Self::Ptrace => &[SignalKind::Ptrace],
            Self::Module => &[SignalKind::ModuleLoad],
            Self::Bpf => &[SignalKind::Bpf],
            Self::Capability => &[SignalKind::CapabilityUsed],
            Self::Open => &[SignalKind::SensitiveOpen, SignalKind::EtcWrite],
            Self::Connect => &[SignalKind::Connect, SignalKind::MetadataAsked],
            Self::Listen => &[SignalKind::Listen],
            Self::Canary => &[],
        }
    }

    fn is(self, number: u32) -> bool {
        usize::try_from(number).ok().and_then(|at| Self::ALL.get(at)) == Some(&self)
    }
}

/// What an act says: one act may say several things, or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reading {
    kind: SignalKind,
    object: String,
    path: String,
    arguments: Vec<String>,
    address: Option<SocketAddr>,
}

impl Reading {
    fn of(kind: SignalKind) -> Self {
        Self { kind, object: String::new(), path: String::new(), arguments: Vec::new(), address: None }
    }
}

/// What a sensor may know beside the act: whose it was, and the node's mounts.
struct Node {
    owner: Owner,
    mounts: Vec<Mount>,
}

impl Node {
    /// The places where the node sees a folder of a file system.
    fn places<'a>(&'a self, device: &'a str, path: &'a str) -> impl Iterator<Item = String> + 'a {
        self.mounts.iter().filter_map(move |mount| as_host_sees(mount, device, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_act_has_one_sensor_and_every_sensor_its_own_file_on_both_sides() {
        for (at, act) in Act::ALL.iter().enumerate() {
            assert!(act.is(u32::try_from(at).unwrap()));
            assert_eq!(SENSORS.iter().filter(|sensor| sensor.acts.contains(act)).count(), 1, "{act:?}");
        }
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/sensor");
        let mut files: Vec<_> =
            std::fs::read_dir(source).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        let mut ids: Vec<_> = SENSORS.iter().map(|sensor| format!("{}.c", sensor.id)).collect();
        files.sort();
        ids.sort();
        assert_eq!(files, ids);
    }
}
