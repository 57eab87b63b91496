//! Loads the sensors, attaches the hooks that this kernel has, and decodes the records of the ring buffer into runtime
//! observations.
//!
//! The first event of a key comes at once; its repetitions are counted in a table of the kernel, which [`Sensors::sweep`] reads
//! from time to time. Every number is the kernel's own: nothing is counted twice, and dropped events are counted too.

mod attach;
mod cost;
mod counters;
mod live_cgroups;
mod load;
mod owners;
mod samples;

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use aya::maps::{HashMap as KernelMap, MapData, MapError, PerCpuHashMap, RingBuf};
use aya::{Btf, Ebpf};
use holdfast_model::RuntimeObservation;

use super::event::path_of;
use super::probe::PROBE;
use super::{Context, Event, SENSORS, Sensor, SensorState, behavior};
use crate::bytes::until_zero;
use crate::clock::{boot_time, millis};
use crate::text::escaped;
use crate::unavailable::chain;
use crate::view::fold;
use crate::view::iterator::Iterator;
use crate::view::mounts::{self, Mount};
use crate::{Owner, Unavailable};
pub use cost::{Cost, count_costs};
use counters::Counts;
pub use counters::{Counters, CountersByOwner, OwnerCounters};
use live_cgroups::LiveCgroups;
use owners::{Kernel, Owners};
use samples::Samples;

/// `BEHAVIORS` of `programs/signal.h`.
#[cfg(test)]
pub(super) const BEHAVIORS: usize = 64;
/// More records than the ring buffer holds.
const RING_RECORDS: usize = 2048;

/// Loaded sensors.
pub struct Sensors {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    owners: Owners<Kernel>,
    samples: Samples,
    cgroup_counts: PerCpuHashMap<MapData, u64, Counts>,
    mounts: Vec<Mount>,
    states: Vec<SensorState>,
    last_probe: String,
    unattributed: u64,
}

impl std::fmt::Debug for Sensors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sensors").field("states", &self.states).finish_non_exhaustive()
    }
}

impl AsFd for Sensors {
    /// Readable when [`Sensors::poll`] has something to return.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl Sensors {
    /// Loads every sensor that this kernel has the hooks for, and finds out the owners of all running processes.
    pub fn open() -> Result<Self, Unavailable> {
        let mut processes = Iterator::load()?;
        let host = fold::host(&processes.tasks()?, std::process::id()).ok_or(Unavailable::NotHostPid)?;
        let btf = Btf::from_sys_fs().map_err(|error| Unavailable::NoBtf(chain(&error)))?;
        let mounts = mounts::table(1, 1).unwrap_or_default();
        let mut sensors = Self::over(load::load(&btf, &host, &mounts)?, mounts, LiveCgroups::new(Iterator::load()?))?;
        // New cgroups first, then the existing ones, and only then the events in them.
        let (first, rest) = SENSORS.split_at(1);
        sensors.attach(&btf, first);
        let tasks = processes.tasks()?;
        load::write_mnt_cgroups(&mut sensors.ebpf, &tasks, &host).map_err(|error| read_failed(&error))?;
        for task in tasks {
            if let Some(owner) = task.owner {
                sensors.owners.learn(task.cgroup, owner);
            }
        }
        sensors.attach(&btf, rest);
        Ok(sensors)
    }

    fn over(mut ebpf: Ebpf, mounts: Vec<Mount>, live: LiveCgroups) -> Result<Self, Unavailable> {
        let failed = |error: MapError| read_failed(&error);
        let kernel = Kernel {
            paths: KernelMap::try_from(load::take(&mut ebpf, "paths")?).map_err(failed)?,
            owners: KernelMap::try_from(load::take(&mut ebpf, "owners")?).map_err(failed)?,
            live,
        };
        Ok(Self {
            ring: RingBuf::try_from(load::take(&mut ebpf, "ring")?).map_err(failed)?,
            owners: Owners::new(kernel),
            samples: Samples::new(PerCpuHashMap::try_from(load::take(&mut ebpf, "folds")?).map_err(failed)?),
            cgroup_counts: PerCpuHashMap::try_from(load::take(&mut ebpf, "cgroup_counts")?).map_err(failed)?,
            mounts,
            states: Vec::new(),
            last_probe: String::new(),
            unattributed: 0,
            ebpf,
        })
    }

    /// The state of each sensor.
    pub fn states(&self) -> &[SensorState] {
        &self.states
    }

    /// What has happened for the first time since the last call, at most a full ring buffer: events that come faster than they are read
    /// must not occupy the reader for ever. Never waits.
    pub fn poll(&mut self) -> Vec<RuntimeObservation> {
        let offset = boot_time();
        let (mut observations, mut record) = (Vec::new(), Vec::new());
        for _ in 0..RING_RECORDS {
            if !self.take(&mut record) {
                break;
            }
            self.decode_one(&record, offset, &mut observations);
        }
        observations
    }

    /// The first half of [`Sensors::poll`]: takes one record off the ring buffer, as the programs wrote it. Whether there was one.
    pub fn take(&mut self, record: &mut Vec<u8>) -> bool {
        let next = self.ring.next();
        record.clear();
        record.extend_from_slice(next.as_deref().unwrap_or_default());
        next.is_some()
    }

    /// The second half: decodes records.
    pub fn decode<'a>(&mut self, records: impl IntoIterator<Item = &'a [u8]>) -> Vec<RuntimeObservation> {
        let offset = boot_time();
        let mut observations = Vec::new();
        for record in records {
            self.decode_one(record, offset, &mut observations);
        }
        observations
    }

    /// What has been repeated since the last call, with the new count and time.
    pub fn sweep(&mut self) -> Vec<RuntimeObservation> {
        self.mounts = mounts::table(1, 1).unwrap_or_default();
        self.samples.repeated(boot_time())
    }

    /// What became of every event since the sensors were opened: one line per behavior, named by its sensor.
    pub fn counters(&self) -> Result<Vec<(&'static str, Counters)>, Unavailable> {
        counters::read(&self.ebpf)
    }

    /// The same by owner, with the kinds of what was dropped.
    pub fn counters_by_owner(&self) -> Result<CountersByOwner, Unavailable> {
        CountersByOwner::read(&self.ebpf, &self.cgroup_counts, |cgroup| self.owners.named(cgroup))
    }

    /// What each program has cost while [`count_costs`] was in force.
    pub fn costs(&self) -> Vec<Cost> {
        cost::read(&self.ebpf)
    }

    /// Delivered events whose owner could not be found out any more.
    pub fn unattributed(&self) -> u64 {
        self.unattributed
    }

    /// The heartbeat probe: names a thread, and waits until that event has come back through the ring buffer. What else comes
    /// meanwhile is returned.
    pub fn probe(&mut self, number: u64, patience: Duration) -> Result<Vec<RuntimeObservation>, Unavailable> {
        let name = format!("hf-probe{}", number % 100_000);
        std::thread::Builder::new()
            .name(name.clone())
            .spawn(|| ())?
            .join()
            .map_err(|_| Unavailable::InvalidData("an empty thread has panicked"))?;
        let deadline = Instant::now() + patience;
        let mut observations = Vec::new();
        loop {
            observations.extend(self.poll());
            if self.last_probe == name {
                return Ok(observations);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Unavailable::InvalidData("the heartbeat probe did not come back: no event is observed"));
            }
            self.wait(left)?;
        }
    }

    /// Waits until [`Sensors::poll`] has something to return, at most so long.
    pub fn wait(&self, patience: Duration) -> Result<(), Unavailable> {
        let mut fds = [rustix::event::PollFd::new(&self.ring, rustix::event::PollFlags::IN)];
        let patience = rustix::event::Timespec::try_from(patience).unwrap_or_default();
        match rustix::event::poll(&mut fds, Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(Unavailable::ReadFailed(error.into())),
        }
    }

    fn attach(&mut self, btf: &Btf, sensors: &[Sensor]) {
        let states = sensors.iter().map(|sensor| attach::attach(&mut self.ebpf, btf, sensor));
        self.states.extend(states);
    }

    fn decode_one(&mut self, record: &[u8], offset: u64, observations: &mut Vec<RuntimeObservation>) {
        let Some(event) = Event::read(record) else { return };
        let Some((sensor, behavior)) = behavior(event.behavior) else { return };
        let at = millis(event.at, offset);
        if *behavior == PROBE {
            self.last_probe = String::from_utf8_lossy(until_zero(event.path)).into_owned();
            return;
        }
        // The kernel has evicted the key and sent it again: the next sweep reports it, as it does with what the kernel folds.
        if self.samples.counts_again(&event.key(), at) {
            return;
        }
        let Some(owner) = self.owners.of(&event) else {
            self.unattributed += 1;
            return;
        };
        let Owner::Pod { pod, container } = owner else { return };
        let signals = (sensor.decode)(&event, &Context { behavior, owner, mounts: &self.mounts });
        let (name, binary) = (escaped(event.name), path_of(event.binary));
        let before = observations.len();
        observations.extend(signals.into_iter().map(|signal| RuntimeObservation {
            kind: signal.kind,
            cgroup: event.cgroup,
            pod: pod.clone(),
            container: container.clone(),
            pid: event.pid,
            started: event.started,
            name: name.clone(),
            binary: binary.clone(),
            arguments: signal.arguments,
            path: signal.path,
            object: signal.object,
            address: signal.address,
            count: 1,
            first: at,
            last: at,
        }));
        self.samples.remember(event.key(), &observations[before..]);
    }
}

fn read_failed(error: &MapError) -> Unavailable {
    Unavailable::ReadFailed(std::io::Error::other(chain(error)))
}

#[cfg(test)]
mod tests {
    use aya::programs::BtfTracePoint;
    use holdfast_model::{CoverageState, SignalKind};

    use super::*;
    use crate::cell;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn the_probe_comes_back_and_its_absence_is_noticed() {
        let Some(mut sensors) = cell::available(Sensors::open()) else { return };
        for number in [1, 2] {
            sensors.probe(number, PATIENCE).unwrap();
        }
        let program: &mut BtfTracePoint = sensors.ebpf.program_mut("probe_renamed").unwrap().try_into().unwrap();
        program.unload().unwrap();
        let error = sensors.probe(3, Duration::from_millis(100)).unwrap_err();
        assert_eq!(error.state(), CoverageState::Failing, "{error}");
    }

    #[test]
    fn an_event_that_the_kernel_evicted_and_sent_again_is_counted_and_reported_by_the_next_sweep() {
        let Some(mut sensors) = cell::available(Sensors::open()) else { return };
        let cell = cell::Cell::new().unwrap();
        cell.run(&["true"]).unwrap();
        let (mut record, mut observed) = (Vec::new(), Vec::new());
        while !observed.iter().any(|one: &RuntimeObservation| one.pod == cell.pod && one.name == "true") {
            sensors.wait(PATIENCE).unwrap();
            assert!(sensors.take(&mut record), "nothing came");
            observed = sensors.decode([record.as_slice()]);
        }
        let key = Event::read(&record).unwrap().key();
        assert!(sensors.decode([record.as_slice()]).is_empty(), "the next sweep reports it");
        sensors.samples.folds.remove(&key).unwrap();
        let is_start = |one: &&RuntimeObservation| one.pod == cell.pod && one.kind == SignalKind::ProcessStart;
        let counts =
            |all: &[RuntimeObservation]| -> Vec<u64> { all.iter().filter(is_start).map(|one| one.count).collect() };
        assert_eq!(counts(&sensors.sweep()), [2], "though the kernel has no entry any more");
        assert_eq!(counts(&sensors.sweep()), [0; 0]);
        assert_eq!(counts(&sensors.decode([record.as_slice()])), [1], "counted from 1 again");
    }

    /// The sensor `fake` is compiled in through the files that the documentation names, and nothing else knows it.
    #[test]
    fn a_sensor_that_is_only_in_its_two_files_and_the_list_is_loaded_decoded_counted_and_folded() {
        let Some(mut sensors) = cell::available(Sensors::open()) else { return };
        assert!(sensors.states().iter().any(|state| state.sensor == "fake" && state.state == CoverageState::Seen));
        let cell = cell::Cell::new().unwrap();
        cell.run(&["sh", "-c", "/bin/true; /bin/true; /bin/true; :"]).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let is_fake = |one: &&RuntimeObservation| one.pod == cell.pod && one.kind.as_str().starts_with("faked");
        let mut observed = Vec::new();
        while !observed.iter().any(|one| is_fake(&one) && one.object == "exit") {
            assert!(Instant::now() < deadline, "{observed:?}");
            sensors.wait(PATIENCE).unwrap();
            observed = sensors.poll();
        }
        let again = sensors.sweep();
        assert!(again.iter().filter(is_fake).any(|one| one.count >= 3), "{again:?}");
        let of_fake = |(sensor, _): &&(&str, Counters)| *sensor == "fake";
        let counters = sensors.counters().unwrap().iter().find(of_fake).unwrap().1;
        assert!(counters.generated >= 3 && counters.delivered >= 1 && counters.folded >= 2, "{counters:?}");
    }
}
