//! What the sensors have observed of each container over its lifetime: what it did, since when it is observed, and where events may
//! have been missed. Fed with runtime observations; read when a node attests to its containers. PURE: times are nanoseconds since
//! boot, which setting the clock does not change; only the result is in wall clock time ([`ContainerObservations::annotate`]).
//!
//! Nothing here may turn what is unknown into "was not done". A sensor that is not attached, dropped events, an outage and evicted
//! records are gaps of every container that ran at that time; time counts only up to the sensors' last heartbeat probe. A restart
//! begins anew: containers that were running before it are not observed from their start.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use holdfast_model::container_observation::{ContainerObservation, ObservationGap, ObservedBehavior};
use holdfast_model::kernel::RunningContainer;
use holdfast_model::{CoverageState, RuntimeObservation, SignalKind, UnixMillis};

use crate::sensors::{CountersByOwner, IO_URING, NOT_OBSERVED, SensorState, kinds_of};
use crate::{Owner, clock};

/// The most containers with a record.
const MAX_CONTAINERS: usize = 4096;
/// The most different behaviors of one container.
const MAX_BEHAVIORS: usize = 128;
/// How long a container is kept that no view contains: it may be younger than the view.
const GRACE_MILLIS: UnixMillis = 10 * 60 * 1000;

/// What is known of every container.
#[derive(Debug, Default)]
pub struct ContainerObservations {
    session: Option<Session>,
    containers: HashMap<String, Record>,
}

/// One run of the sensors.
#[derive(Debug, Default)]
struct Session {
    /// When the last sensor was attached.
    since: u64,
    /// The last heartbeat probe.
    until: u64,
    dropped: u64,
    unattributed: u64,
    /// The kinds that were dropped, by container; none where the kernel has evicted its counters.
    dropped_kinds: HashMap<String, Option<Vec<SignalKind>>>,
    /// What may have been missed, with the last time it may have been.
    gaps: BTreeMap<ObservationGap, u64>,
    /// Whether a record was evicted since the last probe.
    has_evicted: bool,
}

#[derive(Debug, Default)]
struct Record {
    capabilities: u64,
    root_written: bool,
    token_read: bool,
    uses_io_uring: bool,
    has_32_bit_programs: bool,
    has_more: bool,
    behaviors: BTreeMap<BehaviorKey, Count>,
    last: UnixMillis,
}

/// What the sensors fold events by: kind, object, program, path.
type BehaviorKey = (SignalKind, String, String, String);

#[derive(Debug)]
struct Count {
    name: String,
    pid: u32,
    /// Counted before the sensors counted from 1 again.
    before: u64,
    counted: u64,
    first: UnixMillis,
    last: UnixMillis,
}

impl ContainerObservations {
    /// The sensors have been opened, with these states.
    pub fn start(&mut self, states: &[SensorState], at: u64) {
        let lacking = states.iter().filter(|state| state.state != CoverageState::Seen);
        let gaps = lacking.map(|state| {
            let reason = format!("the sensor {} is not attached: {}", state.sensor, state.reason);
            (ObservationGap { kinds: kinds_of(state.sensor), reason }, u64::MAX)
        });
        self.session = Some(Session { since: at, until: at, gaps: gaps.collect(), ..Session::default() });
        self.containers.clear();
    }

    /// The sensors are closed: nothing is observed.
    pub fn stop(&mut self) {
        self.session = None;
        self.containers.clear();
    }

    /// Adds what the sensors have observed.
    pub fn record(&mut self, observations: &[RuntimeObservation]) {
        for observation in observations.iter().filter(|observation| !observation.container.is_empty()) {
            if self.containers.len() >= MAX_CONTAINERS && !self.containers.contains_key(&observation.container) {
                self.evict_one();
            }
            self.containers.entry(observation.container.clone()).or_default().add(observation);
        }
    }

    /// Everything until this moment has been recorded: the heartbeat probe of then has come back. What was dropped since the
    /// last time is a gap of the containers that ran.
    pub fn confirm_until(&mut self, counters: &CountersByOwner, unattributed: u64, at: u64) {
        let Some(session) = &mut self.session else { return };
        let of_pods = counters.by_owner.iter().filter_map(|(owner, own)| match owner {
            Owner::Pod { container, .. } if !container.is_empty() => {
                Some((container.clone(), Some(own.dropped_kinds.clone())))
            }
            _ => None,
        });
        session.dropped_kinds.values_mut().for_each(|known| *known = None);
        session.dropped_kinds.extend(of_pods);
        let dropped = counters.unattributed.counters.dropped;
        if dropped > session.dropped {
            let reason = "events of unknown containers were dropped".to_owned();
            session.gaps.insert(ObservationGap { kinds: counters.unattributed.dropped_kinds.clone(), reason }, at);
        }
        if unattributed > session.unattributed {
            let reason = "events were observed whose container could not be found out any more".to_owned();
            session.gaps.insert(ObservationGap { kinds: Vec::new(), reason }, at);
        }
        if std::mem::take(&mut session.has_evicted) {
            session.gaps.insert(eviction(), at);
        }
        (session.dropped, session.unattributed, session.until) = (dropped, unattributed, at);
    }

    /// A heartbeat probe was lost: events may have been missed until now.
    pub fn record_outage(&mut self, at: u64) {
        let gap = ObservationGap { kinds: Vec::new(), reason: "a heartbeat probe of the sensors was lost".to_owned() };
        self.session.iter_mut().for_each(|session| _ = session.gaps.insert(gap.clone(), at));
    }

    /// Forgets all containers but these, and those that may be too young to be among them.
    fn retain(&mut self, running: &BTreeSet<&str>, at: UnixMillis) {
        self.containers.retain(|id, record| running.contains(id.as_str()) || record.last + GRACE_MILLIS > at);
        if let Some(session) = &mut self.session {
            session.dropped_kinds.retain(|id, kinds| kinds.is_some() || running.contains(id.as_str()));
        }
    }

    /// Adds to each of these containers what was observed of it, in the node's wall clock time; forgets all other containers.
    pub fn annotate(&mut self, containers: &mut [RunningContainer]) {
        let boot = clock::boot_time();
        let running: BTreeSet<&str> = containers.iter().map(|container| container.id.as_str()).collect();
        self.retain(&running, clock::millis(clock::since_boot(), boot));
        for container in containers {
            container.observation = self.observation_of(container, clock::millis(0, boot));
        }
    }

    /// What was observed of a container; none without sensors. `boot` is when the node was booted.
    fn observation_of(&self, container: &RunningContainer, boot: UnixMillis) -> Option<ContainerObservation> {
        let session = self.session.as_ref()?;
        let started = container.process_groups.iter().map(|group| group.started).min()?;
        let since = started.max(session.since);
        let time = |at: u64| boot.saturating_add(UnixMillis::try_from(at / 1_000_000).unwrap_or(UnixMillis::MAX));
        let mut gaps: Vec<ObservationGap> =
            session.gaps.iter().filter(|(_, at)| **at >= since).map(|(gap, _)| gap.clone()).collect();
        let nothing = Record::default();
        let record = self.containers.get(&container.id).unwrap_or(&nothing);
        gaps.extend(record.gaps());
        gaps.extend(session.has_evicted.then(eviction));
        gaps.extend(session.dropped_kinds.get(&container.id).and_then(|kinds| drops(kinds.as_deref())));
        Some(ContainerObservation {
            since: time(since),
            from_start: started > session.since,
            until: time(session.until),
            gaps,
            capabilities: record.capabilities,
            root_written: record.root_written,
            token_read: record.token_read,
            behaviors: record.behaviors(),
        })
    }

    /// Evicts the container that was idle for longest. What it did is unknown from now on: a gap of all that run.
    fn evict_one(&mut self) {
        let oldest = self.containers.iter().min_by_key(|(_, record)| record.last).map(|(id, _)| id.clone());
        let has_evicted = oldest.and_then(|id| self.containers.remove(&id)).is_some();
        self.session.iter_mut().for_each(|session| session.has_evicted |= has_evicted);
    }
}

/// The gap of a container whose events were dropped. Without counters there is no proof that none were.
fn drops(kinds: Option<&[SignalKind]>) -> Option<ObservationGap> {
    match kinds {
        Some([]) => None,
        Some(kinds) => {
            Some(ObservationGap { kinds: kinds.to_vec(), reason: "events of this container were dropped".to_owned() })
        }
        None => Some(ObservationGap { kinds: Vec::new(), reason: "the kernel has evicted its counters".to_owned() }),
    }
}

fn eviction() -> ObservationGap {
    let reason = format!("more than {MAX_CONTAINERS} containers were active: records were evicted");
    ObservationGap { kinds: Vec::new(), reason }
}

impl Record {
    fn add(&mut self, observation: &RuntimeObservation) {
        self.last = self.last.max(observation.last);
        match observation.kind {
            SignalKind::ProcessStart => self.has_32_bit_programs |= observation.object == NOT_OBSERVED,
            SignalKind::Connect | SignalKind::Listen => {}
            SignalKind::CapabilityUsed => self.capabilities |= bit(&observation.object),
            SignalKind::RootWrite => {
                self.root_written = true;
                self.uses_io_uring |= observation.object == IO_URING;
            }
            SignalKind::SensitiveOpen if observation.object == "service-account-token" => self.token_read = true,
            _ => self.count(observation),
        }
    }

    fn count(&mut self, observation: &RuntimeObservation) {
        let RuntimeObservation { kind, object, binary, path, name, pid, count, first, last, .. } = observation;
        let key = (*kind, object.clone(), binary.clone(), path.clone());
        if self.behaviors.len() >= MAX_BEHAVIORS && !self.behaviors.contains_key(&key) {
            self.has_more = true;
            return;
        }
        let new = || Count { name: name.clone(), pid: *pid, before: 0, counted: 0, first: *first, last: *last };
        let known = self.behaviors.entry(key).or_insert_with(new);
        if *count < known.counted {
            known.before += known.counted;
        }
        known.counted = *count;
        known.last = known.last.max(*last);
    }

    fn gaps(&self) -> impl Iterator<Item = ObservationGap> {
        let more = self.has_more.then(|| ObservationGap {
            kinds: Vec::new(),
            reason: format!("it has more than {MAX_BEHAVIORS} different behaviors"),
        });
        let io_uring = self.uses_io_uring.then(|| ObservationGap {
            kinds: vec![SignalKind::SensitiveOpen, SignalKind::EtcWrite],
            reason: "it uses io_uring, and files that are opened that way are not observed".to_owned(),
        });
        let programs =
            self.has_32_bit_programs.then(|| ObservationGap { kinds: Vec::new(), reason: NOT_OBSERVED.to_owned() });
        more.into_iter().chain(io_uring).chain(programs)
    }

    /// Folded by kind and object: another program or path is the same behavior.
    fn behaviors(&self) -> Vec<ObservedBehavior> {
        let mut all: BTreeMap<(SignalKind, &str), ObservedBehavior> = BTreeMap::new();
        for ((kind, object, ..), count) in &self.behaviors {
            let behavior = all.entry((*kind, object)).or_insert_with(|| ObservedBehavior {
                kind: *kind,
                object: object.clone(),
                name: count.name.clone(),
                pid: count.pid,
                count: 0,
                first: count.first,
                last: count.last,
            });
            if count.first < behavior.first {
                (behavior.name, behavior.pid, behavior.first) = (count.name.clone(), count.pid, count.first);
            }
            behavior.count += count.before + count.counted;
            behavior.last = behavior.last.max(count.last);
        }
        all.into_values().collect()
    }
}

/// The bit of a capability; none for one without a known name.
fn bit(name: &str) -> u64 {
    crate::sensors::capability_number(name).map_or(0, |number| 1 << number)
}

#[cfg(test)]
mod tests {
    use holdfast_model::kernel::ProcessGroup;

    use super::*;
    use crate::sensors::{Counters, OwnerCounters};
    use crate::view::fold::tests::task;

    const BOOT: UnixMillis = 1_000_000;
    const MS: u64 = 1_000_000;

    fn state(sensor: &'static str, state: CoverageState) -> SensorState {
        SensorState { sensor, state, reason: "this kernel lacks it".into() }
    }

    /// A container that was started so many milliseconds after boot.
    fn container(id: &str, started: u64) -> RunningContainer {
        let started = started * 1_000_000;
        let group =
            ProcessGroup { privileges: task(7, None, 0).privileges, processes: 1, pid: 7, name: "web".into(), started };
        RunningContainer { id: id.into(), process_groups: vec![group], ..RunningContainer::default() }
    }

    fn observation(
        id: &str,
        kind: SignalKind,
        object: &str,
        binary: &str,
        count: u64,
        at: UnixMillis,
    ) -> RuntimeObservation {
        RuntimeObservation {
            kind,
            cgroup: 1,
            pod: "p".into(),
            container: id.into(),
            pid: 9,
            started: 0,
            name: "sh".into(),
            binary: binary.into(),
            arguments: Vec::new(),
            path: String::new(),
            object: object.into(),
            address: None,
            count,
            first: at,
            last: at,
        }
    }

    fn started() -> ContainerObservations {
        let mut all = ContainerObservations::default();
        all.start(&[state("process", CoverageState::Seen)], 1000 * MS);
        all
    }

    /// Counters of which those of unknown owners have so many drops.
    fn dropped(dropped: u64) -> CountersByOwner {
        let counters = Counters { dropped, ..Counters::default() };
        let unattributed = OwnerCounters { counters, dropped_kinds: Vec::new() };
        CountersByOwner { unattributed, ..CountersByOwner::default() }
    }

    fn reasons(watched: &ContainerObservation) -> Vec<&str> {
        watched.gaps.iter().map(|gap| gap.reason.as_str()).collect()
    }

    #[test]
    fn time_counts_from_the_later_of_both_starts_to_the_last_probe() {
        let mut all = started();
        all.confirm_until(&dropped(0), 0, 9000 * MS);
        let of = |started| all.observation_of(&container("c", started), BOOT).unwrap();
        let (before, after) = (of(500), of(4000));
        assert_eq!((before.from_start, before.since, before.millis()), (false, BOOT + 1000, 8000));
        assert_eq!((after.from_start, after.since, after.millis()), (true, BOOT + 4000, 5000));
        assert!(before.gaps.is_empty() && after.gaps.is_empty());
        let stopped = ContainerObservations::default();
        assert_eq!(stopped.observation_of(&container("c", 4000), BOOT), None);
    }

    #[test]
    fn drops_are_a_gap_of_the_containers_that_ran_then_and_of_none_later() {
        let mut all = started();
        all.confirm_until(&dropped(0), 0, 2000 * MS);
        all.confirm_until(&dropped(3), 1, 5000 * MS);
        all.record_outage(6000 * MS);
        all.confirm_until(&dropped(3), 1, 9000 * MS);
        let gaps = |started| {
            let watched = all.observation_of(&container("c", started), BOOT).unwrap();
            reasons(&watched).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(gaps(1500).len(), 3);
        assert_eq!(gaps(5500), ["a heartbeat probe of the sensors was lost"]);
        assert_eq!(gaps(7000).len(), 0);
    }

    #[test]
    fn drops_of_one_container_are_no_gap_of_its_neighbours() {
        let mut all = started();
        let owner = |id: &str| Owner::Pod { pod: "p".into(), container: id.into() };
        let dropped =
            |kinds: &[SignalKind]| OwnerCounters { dropped_kinds: kinds.to_vec(), ..OwnerCounters::default() };
        let by_owner = BTreeMap::from([(owner("a"), dropped(&[SignalKind::Shell])), (owner("b"), dropped(&[]))]);
        all.confirm_until(&CountersByOwner { by_owner, ..CountersByOwner::default() }, 0, 5000 * MS);
        let gaps = |all: &ContainerObservations, id| all.observation_of(&container(id, 2000), BOOT).unwrap().gaps;
        assert_eq!(gaps(&all, "a")[0].kinds, [SignalKind::Shell]);
        assert!(gaps(&all, "b").is_empty() && gaps(&all, "c").is_empty());
        all.confirm_until(&CountersByOwner::default(), 0, 6000 * MS);
        assert!(gaps(&all, "b")[0].reason.contains("evicted its counters"), "they made room for others");
        all.retain(&BTreeSet::from(["c"]), BOOT);
        assert!(all.session.as_ref().unwrap().dropped_kinds.is_empty());
    }

    #[test]
    fn a_sensor_that_is_not_attached_is_a_gap_of_its_own_kinds_for_all() {
        let mut all = ContainerObservations::default();
        all.start(&[state("module", CoverageState::Absent), state("process", CoverageState::Seen)], 0);
        let watched = all.observation_of(&container("c", 9000), BOOT).unwrap();
        assert!(watched.gap(&[SignalKind::ModuleLoad]).unwrap().contains("this kernel lacks it"));
        assert_eq!(watched.gap(&[SignalKind::Shell]), None);
    }

    #[test]
    fn seven_shells_are_one_behavior_whatever_their_programs_and_however_often_the_sensors_restarted() {
        let mut all = started();
        let shell = |binary: &str, count, at| observation("c", SignalKind::Shell, "", binary, count, at);
        all.record(&[shell("/bin/sh", 1, 10), shell("/bin/bash", 1, 20), shell("/bin/sh", 4, 30)]);
        all.record(&[shell("/bin/sh", 2, 40)]);
        let watched = all.observation_of(&container("c", 4000), BOOT).unwrap();
        let [done] = &watched.behaviors[..] else { panic!("{:?}", watched.behaviors) };
        assert_eq!((done.count, done.first, done.last), (7, 10, 40));
        assert!(all.observation_of(&container("d", 4000), BOOT).unwrap().behaviors.is_empty(), "of another container");
    }

    #[test]
    fn use_is_kept_as_bits_and_io_uring_is_a_gap_of_opened_files() {
        let mut all = started();
        let saw = |kind, object: &str| observation("c", kind, object, "", 1, 10);
        all.record(&[saw(SignalKind::CapabilityUsed, "SETUID"), saw(SignalKind::CapabilityUsed, "capability 60")]);
        all.record(&[saw(SignalKind::SensitiveOpen, "service-account-token"), saw(SignalKind::ProcessStart, "")]);
        let of = |all: &ContainerObservations| all.observation_of(&container("c", 4000), BOOT).unwrap();
        let watched = of(&all);
        assert_eq!((watched.capabilities, watched.token_read, watched.root_written), (1 << 7, true, false));
        assert!(watched.behaviors.is_empty() && watched.gaps.is_empty());
        all.record(&[saw(SignalKind::RootWrite, IO_URING)]);
        all.record(&[saw(SignalKind::ProcessStart, NOT_OBSERVED)]);
        assert!(of(&all).gap(&[SignalKind::Mount]).is_some(), "system calls of a 32-bit program are not observed");
        assert!(of(&all).root_written && of(&all).gap(&[SignalKind::SensitiveOpen]).is_some());
    }

    #[test]
    fn evictions_are_gaps_and_memory_is_bounded() {
        let mut all = started();
        for number in 0..MAX_CONTAINERS + 10 {
            let at = BOOT + 2000 + UnixMillis::try_from(number).unwrap();
            all.record(&[observation(&number.to_string(), SignalKind::Shell, "", "/bin/sh", 1, at)]);
        }
        assert_eq!(all.containers.len(), MAX_CONTAINERS);
        let has_evicted = |all: &ContainerObservations, started| {
            let watched = all.observation_of(&container("0", started), BOOT).unwrap();
            watched.gap(&[SignalKind::Shell]).is_some_and(|why| why.contains("evicted"))
        };
        assert!(has_evicted(&all, 1500));
        all.confirm_until(&dropped(0), 0, 5000 * MS);
        assert!(has_evicted(&all, 1500) && !has_evicted(&all, 6000));
        for number in 0..MAX_BEHAVIORS + 1 {
            all.record(&[observation("9", SignalKind::Mount, &number.to_string(), "", 1, BOOT)]);
        }
        assert!(all.observation_of(&container("9", 1500), BOOT).unwrap().gaps.len() >= 2);
        all.retain(&BTreeSet::from(["9"]), BOOT + 2000 + 2 * GRACE_MILLIS);
        assert_eq!(all.containers.len(), 1);
    }
}
