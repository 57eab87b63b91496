//! What containers do, as the kernel tells it while they do it.
//!
//! A sensor is a pair: `programs/sensor/<id>.c` notices behaviors and folds equal ones of a cgroup into one; `sensors/<id>.rs` says
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
mod root;
mod socket;
mod trace;

use std::net::SocketAddr;

use holdfast_model::{CoverageState, SignalKind};

pub(crate) use capability::number as capability_number;
pub use driver::{Book, Books, Cost, Counters, Sensors, count_costs};
use event::Event;
pub(crate) use process::UNWATCHED;
pub(crate) use root::RING;

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
    root::SENSOR,
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
    behaviors: &'static [Act],
    /// What an act means. Pure.
    read: fn(&Event<'_>, &Node<'_>) -> Vec<Reading>,
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

/// The sorts of behaviors, in the order of `enum act` of `programs/signal.h`.
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
    RootChanged,
    Canary,
}

impl Act {
    const ALL: [Self; 12] = [
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
        Self::RootChanged,
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
            Self::RootChanged => &[SignalKind::RootWrite],
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
struct Node<'n> {
    owner: &'n Owner,
    mounts: &'n [Mount],
}

impl Node<'_> {
    /// The places where the node sees a folder of a file system.
    fn places<'a>(&'a self, device: &'a str, path: &'a str) -> impl Iterator<Item = String> + 'a {
        self.mounts.iter().filter_map(move |mount| as_host_sees(mount, device, path))
    }
}

/// What a sensor tells: what may have been missed where it does not see. None is all.
pub(crate) fn kinds_of(sensor: &str) -> Vec<SignalKind> {
    let of = SENSORS.iter().find(|known| known.id == sensor);
    let mut kinds: Vec<_> =
        of.into_iter().flat_map(|known| known.behaviors).flat_map(|act| act.kinds()).copied().collect();
    if sensor == file::SENSOR.id {
        // What it opens for writing is a change of the root as well.
        kinds.push(SignalKind::RootWrite);
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_signal_is_missed_where_its_sensor_is() {
        for kind in SignalKind::ALL {
            assert!(SENSORS.iter().any(|sensor| kinds_of(sensor.id).contains(kind)), "{kind}");
        }
        let unnamed: Vec<_> =
            SENSORS.iter().filter(|sensor| kinds_of(sensor.id).is_empty()).map(|one| one.id).collect();
        assert_eq!(unnamed, ["canary"], "without its canary nothing is known");
    }

    #[test]
    fn every_act_has_one_sensor_and_every_sensor_its_own_file_on_both_sides() {
        for (at, act) in Act::ALL.iter().enumerate() {
            assert!(act.is(u32::try_from(at).unwrap()));
            assert_eq!(SENSORS.iter().filter(|sensor| sensor.behaviors.contains(act)).count(), 1, "{act:?}");
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
