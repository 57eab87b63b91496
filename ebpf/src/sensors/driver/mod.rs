//! Loads the sensors, attaches what this kernel has, and turns what comes through the ring into runtime observations.
//!
//! The first act of a sort comes at once; how often it was repeated stands in a table of the kernel's, which [`Sensors::sweep`]
//! reads from time to time. Every number is the kernel's own: nothing is counted twice, and what was lost is counted too.

mod attach;
mod cost;
mod counters;
mod living;
mod load;
mod owners;
mod samples;

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use aya::maps::{HashMap as KernelMap, MapData, MapError, PerCpuHashMap, RingBuf};
use aya::{Btf, Ebpf};
use holdfast_model::RuntimeObservation;

use super::event::upwards;
use super::{Act, Event, Node, SENSORS, Sensor, SensorState};
use crate::blind::chain;
use crate::bytes::until_zero;
use crate::clock::{boot_time, millis};
use crate::text::shown;
use crate::view::fold;
use crate::view::iterator::Iterator;
use crate::view::mounts::{self, Mount};
use crate::{Blind, Owner};
pub use cost::{Cost, count_costs};
use counters::Counts;
pub use counters::{Book, Books, Counters};
use living::Living;
use owners::{Kernel, Owners};
use samples::Samples;

/// More records than the ring holds.
const RING_RECORDS: usize = 2048;

/// Open sensors.
pub struct Sensors {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    owners: Owners<Kernel>,
    samples: Samples,
    books: PerCpuHashMap<MapData, u64, Counts>,
    mounts: Vec<Mount>,
    states: Vec<SensorState>,
    canary: String,
    unattributed: u64,
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
        let mounts = mounts::table(1, 1).unwrap_or_default();
        let mut sensors = Self::over(load::load(&btf, &host, &mounts)?, mounts, Living::new(Iterator::load()?))?;
        // New cgroups first, then those that are there, and only then what is done in them.
        let (first, rest) = SENSORS.split_at(1);
        sensors.attach(&btf, first);
        let tasks = processes.tasks()?;
        load::settle(&mut sensors.ebpf, &tasks, &host).map_err(|error| broken(&error))?;
        for task in tasks {
            if let Some(owner) = task.owner {
                sensors.owners.learn(task.cgroup, owner);
            }
        }
        sensors.attach(&btf, rest);
        Ok(sensors)
    }

    fn over(mut ebpf: Ebpf, mounts: Vec<Mount>, living: Living) -> Result<Self, Blind> {
        let failed = |error: MapError| broken(&error);
        let kernel = Kernel {
            paths: KernelMap::try_from(load::take(&mut ebpf, "paths")?).map_err(failed)?,
            owners: KernelMap::try_from(load::take(&mut ebpf, "owners")?).map_err(failed)?,
            living,
        };
        Ok(Self {
            ring: RingBuf::try_from(load::take(&mut ebpf, "ring")?).map_err(failed)?,
            owners: Owners::new(kernel),
            samples: Samples::new(PerCpuHashMap::try_from(load::take(&mut ebpf, "folds")?).map_err(failed)?),
            books: PerCpuHashMap::try_from(load::take(&mut ebpf, "books")?).map_err(failed)?,
            mounts,
            states: Vec::new(),
            canary: String::new(),
            unattributed: 0,
            ebpf,
        })
    }

    /// How each sensor stands.
    pub fn states(&self) -> &[SensorState] {
        &self.states
    }

    /// What has been done for the first time since the last call, as far as a ring holds it: whoever does new things faster than
    /// they are read must not keep the reader. Never waits.
    pub fn poll(&mut self) -> Vec<RuntimeObservation> {
        let offset = boot_time();
        let (mut observations, mut record) = (Vec::new(), Vec::new());
        for _ in 0..RING_RECORDS {
            if !self.take(&mut record) {
                break;
            }
            self.tell_one(&record, offset, &mut observations);
        }
        observations
    }

    /// The first half of [`Sensors::poll`]: takes one record off the ring, as the programs wrote it. Whether there was one.
    pub fn take(&mut self, record: &mut Vec<u8>) -> bool {
        let next = self.ring.next();
        record.clear();
        record.extend_from_slice(next.as_deref().unwrap_or_default());
        next.is_some()
    }

    /// The second half: what records say.
    pub fn tell<'a>(&mut self, records: impl IntoIterator<Item = &'a [u8]>) -> Vec<RuntimeObservation> {
        let offset = boot_time();
        let mut observations = Vec::new();
        for record in records {
            self.tell_one(record, offset, &mut observations);
        }
        observations
    }

    /// What has been repeated since the last call, with the new count and time.
    pub fn sweep(&mut self) -> Vec<RuntimeObservation> {
        self.mounts = mounts::table(1, 1).unwrap_or_default();
        self.samples.repeated(boot_time())
    }

    /// What became of every act since the sensors were opened: one line a sort, named by its sensor.
    pub fn counters(&self) -> Result<Vec<(&'static str, Counters)>, Blind> {
        counters::read(&self.ebpf)
    }

    /// The same by container: what was lost of whom.
    pub fn books(&self) -> Result<Books, Blind> {
        Books::read(&self.ebpf, &self.books, |cgroup| self.owners.named(cgroup))
    }

    /// What each program has cost so far, while [`count_costs`] was asked for.
    pub fn costs(&self) -> Vec<Cost> {
        cost::read(&self.ebpf)
    }

    /// Delivered behaviors whose cgroup nobody could name any more.
    pub fn unattributed(&self) -> u64 {
        self.unattributed
    }

    /// Proves that the eye is open: names a thread, and waits until that has come back through the ring. What else comes
    /// meanwhile is returned.
    pub fn canary(&mut self, number: u64, patience: Duration) -> Result<Vec<RuntimeObservation>, Blind> {
        let name = format!("hf-canary{}", number % 100_000);
        std::thread::Builder::new()
            .name(name.clone())
            .spawn(|| ())?
            .join()
            .map_err(|_| Blind::Garbled("a thread that does nothing has failed"))?;
        let deadline = Instant::now() + patience;
        let mut observations = Vec::new();
        loop {
            observations.extend(self.poll());
            if self.canary == name {
                return Ok(observations);
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
        let states = sensors.iter().map(|sensor| attach::attach(&mut self.ebpf, btf, sensor));
        self.states.extend(states);
    }

    fn tell_one(&mut self, record: &[u8], offset: u64, observations: &mut Vec<RuntimeObservation>) {
        let Some(event) = Event::read(record) else { return };
        let at = millis(event.at, offset);
        if Act::Canary.is(event.act) {
            self.canary = String::from_utf8_lossy(until_zero(event.path)).into_owned();
            return;
        }
        // The kernel forgot that it was told: the next sweep tells it, as it does of what the kernel folds.
        if self.samples.is_again(&event.key(), at) {
            return;
        }
        let Some(owner) = self.owners.of(&event) else {
            self.unattributed += 1;
            return;
        };
        let sensor = SENSORS.iter().find(|sensor| sensor.behaviors.iter().any(|act| act.is(event.act)));
        let (Some(sensor), Owner::Pod { pod, container }) = (sensor, owner) else { return };
        let readings = (sensor.read)(&event, &Node { owner, mounts: &self.mounts });
        let (name, binary) = (shown(event.name), upwards(event.binary));
        let told = observations.len();
        observations.extend(readings.into_iter().map(|reading| RuntimeObservation {
            kind: reading.kind,
            cgroup: event.cgroup,
            pod: pod.clone(),
            container: container.clone(),
            pid: event.pid,
            started: event.started,
            name: name.clone(),
            binary: binary.clone(),
            arguments: reading.arguments,
            path: reading.path,
            object: reading.object,
            address: reading.address,
            count: 1,
            first: at,
            last: at,
        }));
        self.samples.remember(event.key(), &observations[told..]);
    }
}

fn broken(error: &MapError) -> Blind {
    Blind::Broken(std::io::Error::other(chain(error)))
}

#[cfg(test)]
mod tests {
    use aya::programs::BtfTracePoint;
    use holdfast_model::{CoverageState, SignalKind};

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
    fn what_the_kernel_forgot_and_tells_again_is_counted_and_told_by_the_next_sweep() {
        let Some(mut sensors) = cell::available(Sensors::open()) else { return };
        let cell = cell::Cell::new().unwrap();
        cell.run(&["true"]).unwrap();
        let (mut record, mut told) = (Vec::new(), Vec::new());
        while !told.iter().any(|one: &RuntimeObservation| one.pod == cell.pod && one.name == "true") {
            sensors.wait(PATIENCE).unwrap();
            assert!(sensors.take(&mut record), "nothing came");
            told = sensors.tell([record.as_slice()]);
        }
        let key = Event::read(&record).unwrap().key();
        assert!(sensors.tell([record.as_slice()]).is_empty(), "this may wait");
        sensors.samples.folds.remove(&key).unwrap();
        let is_start = |one: &&RuntimeObservation| one.pod == cell.pod && one.kind == SignalKind::ProcessStart;
        let counts =
            |said: &[RuntimeObservation]| -> Vec<u64> { said.iter().filter(is_start).map(|one| one.count).collect() };
        assert_eq!(counts(&sensors.sweep()), [2], "though the kernel knows nothing of it any more");
        assert_eq!(counts(&sensors.sweep()), [0; 0]);
        assert_eq!(counts(&sensors.tell([record.as_slice()])), [1], "begun anew");
    }
}
