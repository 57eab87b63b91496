//! What containers do, as the kernel reports it while they do it.
//!
//! A sensor is a pair: `programs/sensor/<id>.c` observes behaviors and folds equal events of a cgroup into one;
//! `sensors/<id>.rs` lists the hooks and the kinds of signals, and decodes events. All share one ring buffer and one table of
//! counts. A hook that this kernel, or these rights, do not offer is a coverage state with its reason, and costs its own sensor
//! only.
//!
//! Adding a sensor touches its two files and two lines here. What else there is to know of it, its numbers among the programs
//! included, follows from [`SENSORS`].

mod bpf;
mod capability;
mod driver;
mod event;
#[cfg(test)]
mod fake;
mod file;
mod module;
mod mount;
mod namespace;
mod probe;
mod process;
mod root;
mod socket;
mod trace;

use std::net::SocketAddr;

use holdfast_model::{CoverageState, SignalKind};

pub(crate) use capability::number as capability_number;
pub use driver::{Cost, Counters, CountersByOwner, OwnerCounters, Sensors, count_costs};
use event::Event;
pub(crate) use process::NOT_OBSERVED;
pub(crate) use root::IO_URING;

use crate::Owner;
use crate::view::mounts::{Mount, path_on_host};

/// Every sensor. `process` comes first: it learns which processes are still arriving in a container.
const SENSORS: &[Sensor] = &[
    process::SENSOR,
    bpf::SENSOR,
    capability::SENSOR,
    #[cfg(test)]
    fake::SENSOR,
    file::SENSOR,
    module::SENSOR,
    mount::SENSOR,
    namespace::SENSOR,
    probe::SENSOR,
    root::SENSOR,
    socket::SENSOR,
    trace::SENSOR,
];

/// The state of one sensor on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SensorState {
    /// Its id: `process`, `file`.
    pub sensor: &'static str,
    /// Whether it observes.
    pub state: CoverageState,
    /// Why not, in plain words; empty where it does.
    pub reason: String,
}

/// One sensor, as data for the driver.
struct Sensor {
    id: &'static str,
    hooks: &'static [Hook],
    behaviors: &'static [Behavior],
    /// Kinds that other sensors report in part from what this one observes.
    contributes_to: &'static [SignalKind],
    /// What an event means. Pure.
    decode: fn(&Event<'_>, &Context<'_>) -> Vec<Signal>,
}

/// What a program reports under one number.
#[derive(Debug, PartialEq, Eq)]
struct Behavior {
    /// As the program declares it: `BEHAVIOR(OPENED)`.
    name: &'static str,
    /// The kinds of signals that an event of it may become.
    kinds: &'static [SignalKind],
}

/// Where one program is attached.
struct Hook {
    program: &'static str,
    at: At,
    needed: bool,
}

/// A place in the kernel.
enum At {
    /// A BTF tracepoint, by name.
    Kernel(&'static str),
    /// The return of a system call.
    Call(&'static str),
}

impl Hook {
    const fn needed(program: &'static str, at: At) -> Self {
        Self { program, at, needed: true }
    }

    /// One that some machines or kernels lack by design.
    const fn optional(program: &'static str, at: At) -> Self {
        Self { program, at, needed: false }
    }
}

/// Every behavior with its number among the programs: its place in the list of sensors, from 1. 0 is no behavior.
fn numbered() -> impl Iterator<Item = (u32, &'static Sensor, &'static Behavior)> {
    let behaviors = SENSORS.iter().flat_map(|sensor| sensor.behaviors.iter().map(move |behavior| (sensor, behavior)));
    (1..).zip(behaviors).map(|(number, (sensor, behavior))| (number, sensor, behavior))
}

/// The behavior of this number, and its sensor.
fn behavior(number: u32) -> Option<(&'static Sensor, &'static Behavior)> {
    numbered().find(|(known, ..)| *known == number).map(|(_, sensor, behavior)| (sensor, behavior))
}

/// One meaning of an event: an event may have several, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Signal {
    kind: SignalKind,
    object: String,
    path: String,
    arguments: Vec<String>,
    address: Option<SocketAddr>,
}

impl Signal {
    fn of(kind: SignalKind) -> Self {
        Self { kind, object: String::new(), path: String::new(), arguments: Vec::new(), address: None }
    }
}

/// What a sensor may use beside the event: its behavior, its owner, and the node's mounts.
struct Context<'c> {
    behavior: &'static Behavior,
    owner: &'c Owner,
    mounts: &'c [Mount],
}

impl Context<'_> {
    /// The paths on the node of a folder of a file system.
    fn paths_on_host<'a>(&'a self, device: &'a str, path: &'a str) -> impl Iterator<Item = String> + 'a {
        self.mounts.iter().filter_map(move |mount| path_on_host(mount, device, path))
    }
}

/// The kinds that may be missed while a sensor does not observe. None means all.
pub(crate) fn kinds_of(sensor: &str) -> Vec<SignalKind> {
    let of = SENSORS.iter().find(|known| known.id == sensor);
    let own = of.into_iter().flat_map(|known| known.behaviors).flat_map(|behavior| behavior.kinds);
    own.chain(of.into_iter().flat_map(|known| known.contributes_to)).copied().collect()
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    #[test]
    fn every_kind_of_signal_is_missed_where_its_sensor_is() {
        for kind in SignalKind::ALL {
            assert!(SENSORS.iter().any(|sensor| kinds_of(sensor.id).contains(kind)), "{kind}");
        }
        let unnamed: Vec<_> =
            SENSORS.iter().filter(|sensor| kinds_of(sensor.id).is_empty()).map(|one| one.id).collect();
        assert_eq!(unnamed, ["probe"], "without the probe nothing is known");
    }

    /// What the programs of a sensor declare.
    fn declared(file: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(file).unwrap();
        let declared = text.lines().filter_map(|line| line.strip_prefix("BEHAVIOR(")?.strip_suffix(");"));
        declared.map(str::to_owned).collect()
    }

    fn programs(folder: &str) -> Vec<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(folder);
        folder.read_dir().unwrap().map(|file| file.unwrap().path()).collect()
    }

    #[test]
    fn every_sensor_has_its_own_file_on_both_sides_and_both_name_the_same_behaviors() {
        let files = [programs("sensor"), programs("test_sensor")].concat();
        let mut ids: Vec<_> = files.iter().map(|file| file.file_stem().unwrap().to_str().unwrap()).collect();
        ids.sort_unstable();
        let mut listed: Vec<_> = SENSORS.iter().map(|sensor| sensor.id).collect();
        listed.sort_unstable();
        assert_eq!(ids, listed);
        for file in files {
            let sensor = SENSORS.iter().find(|sensor| file.ends_with(format!("{}.c", sensor.id))).unwrap();
            let names: Vec<_> = sensor.behaviors.iter().map(|behavior| behavior.name).collect();
            assert_eq!(declared(&file), names, "{}", sensor.id);
        }
    }

    #[test]
    fn numbers_of_behaviors_are_found_again_and_fit_a_mask() {
        for (number, sensor, behavior) in numbered() {
            let (of, found) = super::behavior(number).unwrap();
            assert_eq!((of.id, found), (sensor.id, behavior));
        }
        assert!(super::behavior(0).is_none());
        assert!(numbered().count() < driver::BEHAVIORS);
    }

    /// The sensor `fake` works (see the driver's test), and these are all the files that know it.
    #[test]
    fn a_sensor_costs_its_two_files_and_the_list() {
        let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let workspace = crate_folder.parent().unwrap();
        let mut touched = Vec::new();
        let mut folders = vec![workspace.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in folder.read_dir().unwrap().map(Result::unwrap) {
                let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
                if entry.file_type().unwrap().is_dir() {
                    let is_ours = !name.starts_with('.') && !["target", "node_modules"].contains(&name.as_str());
                    folders.extend(is_ours.then_some(path));
                } else if knows_the_fake(&path) {
                    touched.push(path.strip_prefix(crate_folder).unwrap_or(&path).to_owned());
                }
            }
        }
        touched.sort();
        assert_eq!(
            touched,
            ["programs/test_sensor/fake.c", "src/sensors/fake.rs", "src/sensors/mod.rs"].map(Path::new)
        );
    }

    fn knows_the_fake(path: &Path) -> bool {
        let is_source =
            path.extension().is_some_and(|end| ["rs", "c", "h", "proto", "toml"].iter().any(|of| end == *of));
        let text = if is_source { std::fs::read_to_string(path).unwrap() } else { String::new() };
        ["fake_exit", "FAKED", concat!("fake::", "SENSOR"), concat!("faked", "-signal")]
            .iter()
            .any(|word| text.contains(word))
    }
}
