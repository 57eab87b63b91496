//! Loads the sensors, attaches what this kernel has, and turns what comes through the ring into sightings.
//!
//! The first act of a sort comes at once; how often it was repeated stands in a table of the kernel's, which [`Sensors::sweep`]
//! reads from time to time. Every number is the kernel's own: nothing is counted twice, and what was lost is counted too.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aya::maps::{Array, HashMap as KernelMap, Map, MapData, MapError, PerCpuArray, PerCpuHashMap, RingBuf};
use aya::programs::{BtfTracePoint, ProgramError, TracePoint};
use aya::{Btf, Ebpf, EbpfLoader};
use holdfast_model::kernel::Namespaces;
use holdfast_model::{CoverageState, Sighting, UnixMillis};

use super::{Act, At, Event, Hook, Node, SENSORS, Sensor, SensorState, file};
use crate::attribution::owner_of_path;
use crate::blind::{chain, refused};
use crate::bytes::until_zero;
use crate::view::iterator::Iterator;
use crate::view::mounts::{self, Mount};
use crate::view::{fold, owner_of_process};
use crate::{Blind, Owner};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sensors.o"));
/// `struct path_text`.
const PATH_BYTES: usize = 512;
/// As many owners as the kernel side keeps; beyond that they are asked for again.
const MOST_OWNERS: usize = 8192;
const MOST_SAMPLES: usize = 16_384;
/// File systems that disks have: what a container may see of the node.
const OF_DISKS: &[&str] = &["ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "erofs", "squashfs", "vfat"];

type Key = [u64; 3];
type Count = [u64; 2];

/// Open sensors.
pub struct Sensors {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    folds: PerCpuHashMap<MapData, Key, Count>,
    paths: KernelMap<MapData, u64, [u8; PATH_BYTES]>,
    owners: KernelMap<MapData, u64, u32>,
    known: HashMap<u64, Owner>,
    samples: HashMap<Key, Sample>,
    mounts: Vec<Mount>,
    states: Vec<SensorState>,
    canary: String,
    unattributed: u64,
}

/// What was said about the first act of a sort.
struct Sample {
    sightings: Vec<Sighting>,
    /// Counted before the kernel's table forgot the sort.
    before: u64,
    counted: u64,
}

/// What became of the acts that the kernel side noticed, by act: `generated` is the sum of the other three.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Acts of watched cgroups.
    pub generated: u64,
    /// Sent through the ring.
    pub delivered: u64,
    /// Counted beside an equal one.
    pub folded: u64,
    /// Lost: the ring or the table was full.
    pub dropped: u64,
}

impl std::fmt::Debug for Sensors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sensors").field("states", &self.states).finish_non_exhaustive()
    }
}

impl AsFd for Sensors {
    /// Readable when [`Sensors::poll`] has something to say.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl Sensors {
    /// Loads every sensor that this kernel has the hooks for, and learns whose every living process is.
    pub fn open() -> Result<Self, Blind> {
        let mut processes = Iterator::load()?;
        let host = fold::host(&processes.tasks()?, std::process::id()).ok_or(Blind::NotTheNode)?;
        let btf = Btf::from_sys_fs().map_err(|error| Blind::NoTypes(chain(&error)))?;
        let mut ebpf = EbpfLoader::new().btf(Some(&btf)).load(OBJECT).map_err(|error| Blind::unloaded(&error))?;
        let mounts = mounts::table(1).unwrap_or_default();
        prepare(&mut ebpf, &host, &mounts).map_err(|error| broken(&error))?;
        let failed = |error: MapError| broken(&error);
        let mut sensors = Self {
            ring: RingBuf::try_from(take(&mut ebpf, "ring")?).map_err(failed)?,
            folds: PerCpuHashMap::try_from(take(&mut ebpf, "folds")?).map_err(failed)?,
            paths: KernelMap::try_from(take(&mut ebpf, "paths")?).map_err(failed)?,
            owners: KernelMap::try_from(take(&mut ebpf, "owners")?).map_err(failed)?,
            known: HashMap::new(),
            samples: HashMap::new(),
            mounts,
            states: Vec::new(),
            canary: String::new(),
            unattributed: 0,
            ebpf,
        };
        // New cgroups first, then those that are there, and only then what is done in them.
        let (first, rest) = SENSORS.split_at(1);
        sensors.attach(&btf, first);
        for task in processes.tasks()? {
            if let Some(owner) = task.owner {
                sensors.tell(task.cgroup, owner);
            }
        }
        sensors.attach(&btf, rest);
        Ok(sensors)
    }

    /// How each sensor stands.
    pub fn states(&self) -> &[SensorState] {
        &self.states
    }

    /// What has been done for the first time since the last call. Never waits.
    pub fn poll(&mut self) -> Vec<Sighting> {
        let offset = boot_time();
        let mut sightings = Vec::new();
        while let Some(record) = self.ring.next().map(|record| record.to_vec()) {
            if let Some(event) = Event::read(&record) {
                sightings.extend(self.sighted(&event, offset));
            }
        }
        sightings
    }

    /// What has been repeated since the last call, with the new count and time.
    pub fn sweep(&mut self) -> Vec<Sighting> {
        let offset = boot_time();
        let mut repeated = Vec::new();
        let folds = &self.folds;
        self.samples.retain(|key, sample| match folds.get(key, 0) {
            Ok(by_cpu) => {
                let count = by_cpu.iter().map(|fold| fold[0]).sum();
                let last = by_cpu.iter().map(|fold| fold[1]).max().unwrap_or_default();
                repeated.extend(sample.again(count, millis(last, offset)));
                true
            }
            Err(_) => false,
        });
        self.mounts = mounts::table(1).unwrap_or_default();
        repeated
    }

    /// What became of every act since the sensors were opened: one line a sort, named by its sensor.
    pub fn counters(&self) -> Result<Vec<(&'static str, Counters)>, Blind> {
        let map = self.ebpf.map("counters").ok_or(Blind::Garbled("the object without its counters"))?;
        let map: PerCpuArray<_, u64> = PerCpuArray::try_from(map).map_err(|error| broken(&error))?;
        let read = |act: usize, counter: usize| {
            let index = u32::try_from(act * 4 + counter).unwrap_or(u32::MAX);
            map.get(&index, 0).map(|by_cpu| by_cpu.iter().sum()).map_err(|error| broken(&error))
        };
        let mut all = Vec::new();
        for (at, act) in Act::ALL.iter().enumerate() {
            let of = SENSORS.iter().find(|sensor| sensor.acts.contains(act)).map_or("", |sensor| sensor.id);
            let counters = Counters {
                generated: read(at, 0)?,
                delivered: read(at, 1)?,
                folded: read(at, 2)?,
                dropped: read(at, 3)?,
            };
            all.push((of, counters));
        }
        Ok(all)
    }

    /// Delivered acts whose cgroup nobody could name any more.
    pub fn unattributed(&self) -> u64 {
        self.unattributed
    }

    /// Proves that the eye is open: names a thread, and waits until that has come back through the ring. What else comes
    /// meanwhile is returned.
    pub fn canary(&mut self, number: u64, patience: Duration) -> Result<Vec<Sighting>, Blind> {
        let name = format!("hf-canary{}", number % 100_000);
        std::thread::Builder::new()
            .name(name.clone())
            .spawn(|| ())?
            .join()
            .map_err(|_| Blind::Garbled("a thread that does nothing has failed"))?;
        let deadline = Instant::now() + patience;
        let mut sightings = Vec::new();
        loop {
            sightings.extend(self.poll());
            if self.canary == name {
                return Ok(sightings);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Blind::Garbled("the canary did not come back: nothing that happens is seen"));
            }
            self.wait(left)?;
        }
    }

    /// Waits until [`Sensors::poll`] has something to say, or for so long.
    pub fn wait(&self, patience: Duration) -> Result<(), Blind> {
        let mut fds = [rustix::event::PollFd::new(&self.ring, rustix::event::PollFlags::IN)];
        let patience = rustix::event::Timespec::try_from(patience).unwrap_or_default();
        match rustix::event::poll(&mut fds, Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(Blind::Broken(error.into())),
        }
    }

    fn attach(&mut self, btf: &Btf, sensors: &[Sensor]) {
        let states = sensors.iter().map(|sensor| attach(&mut self.ebpf, btf, sensor));
        self.states.extend(states);
    }

    fn sighted(&mut self, event: &Event<'_>, offset: u64) -> Vec<Sighting> {
        if Act::Canary.is(event.act) {
            self.canary = String::from_utf8_lossy(until_zero(event.path)).into_owned();
            return Vec::new();
        }
        let Some(owner) = self.owner(event) else {
            self.unattributed += 1;
            return Vec::new();
        };
        let Owner::Pod { pod, container } = owner else { return Vec::new() };
        let Some(sensor) = SENSORS.iter().find(|sensor| sensor.acts.iter().any(|act| act.is(event.act))) else {
            return Vec::new();
        };
        let node = Node {
            owner: Owner::Pod { pod: pod.clone(), container: container.clone() },
            mounts: std::mem::take(&mut self.mounts),
        };
        let readings = (sensor.read)(event, &node);
        self.mounts = node.mounts;
        let at = millis(event.at, offset);
        let before = self.samples.get(&event.key()).map_or(0, |sample| sample.before + sample.counted);
        let sightings: Vec<Sighting> = readings
            .into_iter()
            .map(|reading| Sighting {
                kind: reading.kind,
                cgroup: event.cgroup,
                pod: pod.clone(),
                container: container.clone(),
                pid: event.pid,
                started: event.started,
                name: event.name.clone(),
                binary: event.binary.clone(),
                arguments: reading.arguments,
                path: reading.path,
                object: reading.object,
                address: reading.address,
                count: before + 1,
                first: at,
                last: at,
            })
            .collect();
        self.remember(event.key(), &sightings, before);
        sightings
    }

    fn remember(&mut self, key: Key, sightings: &[Sighting], before: u64) {
        if sightings.is_empty() {
            return;
        }
        if self.samples.len() >= MOST_SAMPLES {
            let folds = &self.folds;
            self.samples.retain(|key, _| folds.get(key, 0).is_ok());
        }
        self.samples.insert(key, Sample { sightings: sightings.to_vec(), before, counted: 1 });
    }

    /// Whose an act is; the kernel side is told as well, so that the host's own acts end there.
    fn owner(&mut self, event: &Event<'_>) -> Option<Owner> {
        if let Some(owner) = self.known.get(&event.cgroup) {
            return Some(owner.clone());
        }
        let made = self.paths.get(&event.cgroup, 0).ok();
        let made = made.map(|path| owner_of_path(&String::from_utf8_lossy(until_zero(&path))));
        // A cgroup that was there before the sensors.
        let owner = made.or_else(|| owner_of_process(event.pid, event.started))?;
        self.tell(event.cgroup, owner.clone());
        Some(owner)
    }

    fn tell(&mut self, cgroup: u64, owner: Owner) {
        let told = match &owner {
            Owner::Host => 1,
            Owner::Pod { container, .. } if container.is_empty() => 2,
            Owner::Pod { .. } => 3,
        };
        // A table that is full for a moment only means that the same question comes again.
        let _ = self.owners.insert(cgroup, told, 0);
        if self.known.len() >= MOST_OWNERS {
            let owners = &self.owners;
            self.known.retain(|cgroup, _| owners.get(cgroup, 0).is_ok());
        }
        self.known.insert(cgroup, owner);
    }
}

impl Sample {
    fn again(&mut self, count: u64, last: UnixMillis) -> Vec<Sighting> {
        if count == self.counted {
            return Vec::new();
        }
        self.counted = count;
        for sighting in &mut self.sightings {
            sighting.count = self.before + count;
            sighting.last = last.max(sighting.last);
        }
        self.sightings.clone()
    }
}

/// Fills in what the programs must know before they run.
fn prepare(ebpf: &mut Ebpf, host: &Namespaces, mounts: &[Mount]) -> Result<(), MapError> {
    let mut spaces: Array<_, u32> = Array::try_from(map(ebpf, "host_spaces")?)?;
    let own = [host.user, host.pid, host.net, host.mnt, host.ipc, host.uts, host.cgroup];
    for (at, inode) in (0..).zip(own) {
        spaces.set(at, inode, 0)?;
    }
    let mut agent: Array<_, u32> = Array::try_from(map(ebpf, "canary_of")?)?;
    agent.set(0, std::process::id(), 0)?;
    let mut names: KernelMap<_, [u8; 32], u32> = KernelMap::try_from(map(ebpf, "file_names")?)?;
    for name in file::names() {
        let mut key = [0; 32];
        key[..name.len()].copy_from_slice(name.as_bytes());
        names.insert(key, 1, 0)?;
    }
    let mut devices: KernelMap<_, u32, u32> = KernelMap::try_from(map(ebpf, "node_devices")?)?;
    for mount in mounts.iter().filter(|mount| OF_DISKS.contains(&mount.file_system.as_str())).take(256) {
        if let Some(device) = device(&mount.device) {
            devices.insert(device, 1, 0)?;
        }
    }
    Ok(())
}

/// `254:1` as the kernel has it.
fn device(text: &str) -> Option<u32> {
    let (major, minor) = text.split_once(':')?;
    let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
    (major < 1 << 12 && minor < 1 << 20).then_some(major << 20 | minor)
}

fn map<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Map, MapError> {
    ebpf.map_mut(name).ok_or_else(|| MapError::InvalidName { name: name.to_owned() })
}

fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map, Blind> {
    ebpf.take_map(name).ok_or(Blind::Garbled("the object without its maps"))
}

fn attach(ebpf: &mut Ebpf, btf: &Btf, sensor: &Sensor) -> SensorState {
    let mut state = SensorState { sensor: sensor.id, state: CoverageState::Seen, reason: String::new() };
    for hook in sensor.hooks {
        match attach_hook(ebpf, btf, hook) {
            Err(error) if hook.needed => {
                state.state = if refused(&error) { CoverageState::Forbidden } else { CoverageState::Absent };
                let separator = if state.reason.is_empty() { "" } else { "; " };
                state.reason.push_str(&format!("{separator}{}", hook.lacks(&error)));
            }
            _ => {}
        }
    }
    state
}

fn attach_hook(ebpf: &mut Ebpf, btf: &Btf, hook: &Hook) -> Result<(), ProgramError> {
    let program = ebpf.program_mut(hook.program).ok_or(ProgramError::NotLoaded)?;
    match hook.at {
        At::Kernel(tracepoint) => {
            let program: &mut BtfTracePoint = program.try_into()?;
            program.load(tracepoint, btf)?;
            program.attach()?;
        }
        At::Call(name) => {
            let program: &mut TracePoint = program.try_into()?;
            // One program may serve several calls.
            if program.fd().is_err() {
                program.load()?;
            }
            program.attach("syscalls", &format!("sys_exit_{name}"))?;
        }
    }
    Ok(())
}

impl Hook {
    fn lacks(&self, error: &ProgramError) -> String {
        match (&self.at, error) {
            (At::Kernel(tracepoint), ProgramError::Btf(_)) => format!("this kernel has no tracepoint {tracepoint}"),
            (At::Call(call), _) => {
                format!("{call} cannot be watched (that needs tracefs at /sys/kernel/tracing): {}", chain(error))
            }
            (At::Kernel(tracepoint), _) => format!("{tracepoint} cannot be watched: {}", chain(error)),
        }
    }
}

fn broken(error: &MapError) -> Blind {
    Blind::Broken(std::io::Error::other(chain(error)))
}

/// When the node was booted, nanoseconds since 1970.
fn boot_time() -> u64 {
    let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let since_boot = Duration::new(since_boot.tv_sec.unsigned_abs(), u32::try_from(since_boot.tv_nsec).unwrap_or(0));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.saturating_sub(since_boot).as_nanos()).unwrap_or(0)
}

fn millis(since_boot: u64, boot: u64) -> UnixMillis {
    UnixMillis::try_from(boot.saturating_add(since_boot) / 1_000_000).unwrap_or(UnixMillis::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn the_canary_comes_back_and_a_closed_eye_is_noticed() {
        let Some(mut sensors) = cell::available(Sensors::open()) else { return };
        for number in [1, 2] {
            sensors.canary(number, PATIENCE).unwrap();
        }
        let program: &mut BtfTracePoint = sensors.ebpf.program_mut("canary_sings").unwrap().try_into().unwrap();
        program.unload().unwrap();
        let blind = sensors.canary(3, Duration::from_millis(100)).unwrap_err();
        assert_eq!(blind.state(), CoverageState::Failing, "{blind}");
    }

    #[test]
    fn a_device_is_numbered_as_the_kernel_does() {
        assert_eq!(device("254:1"), Some(254 << 20 | 1));
        assert_eq!(device("4096:1"), None);
        assert_eq!(device("x"), None);
    }

    #[test]
    fn a_sort_that_the_kernel_forgot_goes_on_counting() {
        let mut sample = Sample { sightings: Vec::new(), before: 5, counted: 1 };
        sample.again(3, 0);
        assert_eq!(sample.before + sample.counted, 8);
    }
}
