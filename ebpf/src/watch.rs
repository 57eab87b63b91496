//! What the sensors can say of each container over its whole life: what it did, since when it is watched, and where something
//! may have been missed. Fed with what sensors tell; asked when a node attests to its containers. PURE: its moments are nanoseconds since boot, which no
//! clock that is set can turn round; only what is said of them is in times of day ([`Watch::tell`]).
//!
//! Nothing here may turn what is unknown into "was not done". What a sensor lacks, what was lost, an eye that was shut and
//! whatever had to be forgotten are gaps of every container that lived then; time counts only up to the sensors' last proof
//! that they see. A restart begins anew: containers that were there before it are not watched from their start.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use holdfast_model::container_observation::{ContainerObservation, ObservationGap, ObservedBehavior};
use holdfast_model::kernel::RunningContainer;
use holdfast_model::{CoverageState, RuntimeObservation, SignalKind, UnixMillis};

use crate::sensors::{Books, RING, SensorState, UNWATCHED, kinds_of};
use crate::{Owner, clock};

/// The most containers of which something is kept.
const CONTAINERS: usize = 4096;
/// The most sorts of behaviors of one container.
const SORTS: usize = 128;
/// How long a container that no view shows is kept: it may be younger than the view.
const KEPT: UnixMillis = 10 * 60 * 1000;

/// What is kept of every container.
#[derive(Debug, Default)]
pub struct Watch {
    open: Option<Open>,
    containers: HashMap<String, Kept>,
}

/// An eye that is open.
#[derive(Debug, Default)]
struct Open {
    /// When the last sensor was attached.
    since: u64,
    until: u64,
    dropped: u64,
    unattributed: u64,
    /// What was lost of whom, by container; none where the kernel has no book of it any more.
    books: HashMap<String, Option<Vec<SignalKind>>>,
    /// What may have been missed, by why, with the latest moment of it.
    gaps: BTreeMap<ObservationGap, u64>,
    /// Whether a container was forgotten since the last proof.
    forgot: bool,
}

#[derive(Debug, Default)]
struct Kept {
    capabilities: u64,
    root_written: bool,
    token_read: bool,
    past_calls: bool,
    narrow: bool,
    more: bool,
    behaviors: BTreeMap<Sort, Count>,
    last: UnixMillis,
}

/// What the sensors fold behaviors by.
type Sort = (SignalKind, String, String, String);

#[derive(Debug)]
struct Count {
    name: String,
    pid: u32,
    /// Counted before the sensors began anew.
    before: u64,
    counted: u64,
    first: UnixMillis,
    last: UnixMillis,
}

impl Watch {
    /// The sensors have been opened, and stand so.
    pub fn opened(&mut self, states: &[SensorState], at: u64) {
        let lacking = states.iter().filter(|state| state.state != CoverageState::Seen);
        let gaps = lacking.map(|state| {
            let reason = format!("the sensor {} is not attached: {}", state.sensor, state.reason);
            (ObservationGap { kinds: kinds_of(state.sensor), reason }, u64::MAX)
        });
        self.open = Some(Open { since: at, until: at, gaps: gaps.collect(), ..Open::default() });
        self.containers.clear();
    }

    /// The sensors are gone: nothing is watched.
    pub fn closed(&mut self) {
        self.open = None;
        self.containers.clear();
    }

    /// What sensors told.
    pub fn saw(&mut self, observations: &[RuntimeObservation]) {
        for observation in observations.iter().filter(|observation| !observation.container.is_empty()) {
            if self.containers.len() >= CONTAINERS && !self.containers.contains_key(&observation.container) {
                self.forget_one();
            }
            self.containers.entry(observation.container.clone()).or_default().take(observation);
        }
    }

    /// Everything until this moment has been told: the canary of then has come back. What was lost since the last time is a
    /// gap of whoever lived.
    pub fn accounted(&mut self, books: &Books, unattributed: u64, at: u64) {
        let Some(open) = &mut self.open else { return };
        let of_pods = books.of.iter().filter_map(|(owner, book)| match owner {
            Owner::Pod { container, .. } if !container.is_empty() => Some((container.clone(), Some(book.lost.clone()))),
            _ => None,
        });
        open.books.values_mut().for_each(|known| *known = None);
        open.books.extend(of_pods);
        let dropped = books.unattributed.counters.dropped;
        if dropped > open.dropped {
            let reason = "behaviors were lost whose container nobody can name".to_owned();
            open.gaps.insert(ObservationGap { kinds: books.unattributed.lost.clone(), reason }, at);
        }
        if unattributed > open.unattributed {
            let reason = "behaviors were seen whose container nobody could name any more".to_owned();
            open.gaps.insert(ObservationGap { kinds: Vec::new(), reason }, at);
        }
        if std::mem::take(&mut open.forgot) {
            open.gaps.insert(forgotten(), at);
        }
        (open.dropped, open.unattributed, open.until) = (dropped, unattributed, at);
    }

    /// The eye was shut for a while that ends now at the latest.
    pub fn blinded(&mut self, at: u64) {
        let reason = "a canary of the sensors was lost".to_owned();
        self.open
            .iter_mut()
            .for_each(|open| _ = open.gaps.insert(ObservationGap { kinds: Vec::new(), reason: reason.clone() }, at));
    }

    /// Only these containers live, and whatever is too young to be among them.
    fn only(&mut self, living: &BTreeSet<&str>, at: UnixMillis) {
        self.containers.retain(|id, kept| living.contains(id.as_str()) || kept.last + KEPT > at);
        if let Some(open) = &mut self.open {
            open.books.retain(|id, book| book.is_some() || living.contains(id.as_str()));
        }
    }

    /// Adds to each of these containers what can be said of it, by the node's clock; and forgets those that are not among them.
    pub fn tell(&mut self, containers: &mut [RunningContainer]) {
        let boot = clock::boot_time();
        let living: BTreeSet<&str> = containers.iter().map(|container| container.id.as_str()).collect();
        self.only(&living, clock::millis(clock::since_boot(), boot));
        for container in containers {
            container.observation = self.watched(container, clock::millis(0, boot));
        }
    }

    /// What can be said of a container; none where no sensor watches. `boot` is when the node was booted.
    fn watched(&self, container: &RunningContainer, boot: UnixMillis) -> Option<ContainerObservation> {
        let open = self.open.as_ref()?;
        let started = container.process_groups.iter().map(|group| group.started).min()?;
        let since = started.max(open.since);
        let time = |at: u64| boot.saturating_add(UnixMillis::try_from(at / 1_000_000).unwrap_or(UnixMillis::MAX));
        let mut gaps: Vec<ObservationGap> =
            open.gaps.iter().filter(|(_, at)| **at >= since).map(|(gap, _)| gap.clone()).collect();
        let nothing = Kept::default();
        let kept = self.containers.get(&container.id).unwrap_or(&nothing);
        gaps.extend(kept.gaps());
        gaps.extend(open.forgot.then(forgotten));
        gaps.extend(open.books.get(&container.id).and_then(|book| lost(book.as_deref())));
        Some(ContainerObservation {
            since: time(since),
            from_start: started > open.since,
            until: time(open.until),
            gaps,
            capabilities: kept.capabilities,
            root_written: kept.root_written,
            token_read: kept.token_read,
            behaviors: kept.done(),
        })
    }

    /// The one that was quiet for longest; what it did is unknown from now on, to all that live.
    fn forget_one(&mut self) {
        let oldest = self.containers.iter().min_by_key(|(_, kept)| kept.last).map(|(id, _)| id.clone());
        let forgot = oldest.and_then(|id| self.containers.remove(&id)).is_some();
        self.open.iter_mut().for_each(|open| open.forgot |= forgot);
    }
}

/// What a container's book says of losses; a book that is gone has nothing to prove that there were none.
fn lost(book: Option<&[SignalKind]>) -> Option<ObservationGap> {
    match book {
        Some([]) => None,
        Some(kinds) => {
            Some(ObservationGap { kinds: kinds.to_vec(), reason: "behaviors of this container were lost".to_owned() })
        }
        None => Some(ObservationGap {
            kinds: Vec::new(),
            reason: "the kernel keeps no count of its losses any more".to_owned(),
        }),
    }
}

fn forgotten() -> ObservationGap {
    let reason = format!("more than {CONTAINERS} containers did something: some were forgotten");
    ObservationGap { kinds: Vec::new(), reason }
}

impl Kept {
    fn take(&mut self, observation: &RuntimeObservation) {
        self.last = self.last.max(observation.last);
        match observation.kind {
            SignalKind::ProcessStart => self.narrow |= observation.object == UNWATCHED,
            SignalKind::Connect | SignalKind::Listen => {}
            SignalKind::CapabilityUsed => self.capabilities |= bit(&observation.object),
            SignalKind::RootWrite => {
                self.root_written = true;
                self.past_calls |= observation.object == RING;
            }
            SignalKind::SensitiveOpen if observation.object == "service-account-token" => self.token_read = true,
            _ => self.count(observation),
        }
    }

    fn count(&mut self, observation: &RuntimeObservation) {
        let RuntimeObservation { kind, object, binary, path, name, pid, count, first, last, .. } = observation;
        let sort = (*kind, object.clone(), binary.clone(), path.clone());
        if self.behaviors.len() >= SORTS && !self.behaviors.contains_key(&sort) {
            self.more = true;
            return;
        }
        let new = || Count { name: name.clone(), pid: *pid, before: 0, counted: 0, first: *first, last: *last };
        let known = self.behaviors.entry(sort).or_insert_with(new);
        if *count < known.counted {
            known.before += known.counted;
        }
        known.counted = *count;
        known.last = known.last.max(*last);
    }

    fn gaps(&self) -> impl Iterator<Item = ObservationGap> {
        let more = self.more.then(|| ObservationGap {
            kinds: Vec::new(),
            reason: format!("it did more than {SORTS} sorts of behaviors"),
        });
        let ring = self.past_calls.then(|| ObservationGap {
            kinds: vec![SignalKind::SensitiveOpen, SignalKind::EtcWrite],
            reason: "it uses io_uring, and what is opened that way is not told".to_owned(),
        });
        let narrow = self.narrow.then(|| ObservationGap { kinds: Vec::new(), reason: UNWATCHED.to_owned() });
        more.into_iter().chain(ring).chain(narrow)
    }

    /// By kind and object alone: what a program is called is no other act.
    fn done(&self) -> Vec<ObservedBehavior> {
        let mut all: BTreeMap<(SignalKind, &str), ObservedBehavior> = BTreeMap::new();
        for ((kind, object, ..), count) in &self.behaviors {
            let done = all.entry((*kind, object)).or_insert_with(|| ObservedBehavior {
                kind: *kind,
                object: object.clone(),
                name: count.name.clone(),
                pid: count.pid,
                count: 0,
                first: count.first,
                last: count.last,
            });
            if count.first < done.first {
                (done.name, done.pid, done.first) = (count.name.clone(), count.pid, count.first);
            }
            done.count += count.before + count.counted;
            done.last = done.last.max(count.last);
        }
        all.into_values().collect()
    }
}

/// A capability's bit; one without a name has none, and counts for none.
fn bit(name: &str) -> u64 {
    crate::sensors::capability_number(name).map_or(0, |number| 1 << number)
}

#[cfg(test)]
mod tests {
    use holdfast_model::kernel::ProcessGroup;

    use super::*;
    use crate::sensors::{Book, Counters};
    use crate::view::fold::tests::task;

    const BOOT: UnixMillis = 1_000_000;
    const MS: u64 = 1_000_000;

    fn state(sensor: &'static str, state: CoverageState) -> SensorState {
        SensorState { sensor, state, reason: "this kernel lacks it".into() }
    }

    /// One that was started so many milliseconds after the boot.
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

    fn open() -> Watch {
        let mut watch = Watch::default();
        watch.opened(&[state("process", CoverageState::Seen)], 1000 * MS);
        watch
    }

    /// Books of which one, of nobody that is known, has lost so much.
    fn books(dropped: u64) -> Books {
        let counters = Counters { dropped, ..Counters::default() };
        Books { unattributed: Book { counters, lost: Vec::new() }, ..Books::default() }
    }

    fn reasons(watched: &ContainerObservation) -> Vec<&str> {
        watched.gaps.iter().map(|gap| gap.reason.as_str()).collect()
    }

    #[test]
    fn time_counts_from_the_later_of_both_starts_to_the_last_proof() {
        let mut watch = open();
        watch.accounted(&books(0), 0, 9000 * MS);
        let of = |started| watch.watched(&container("c", started), BOOT).unwrap();
        let (before, after) = (of(500), of(4000));
        assert_eq!((before.from_start, before.since, before.millis()), (false, BOOT + 1000, 8000));
        assert_eq!((after.from_start, after.since, after.millis()), (true, BOOT + 4000, 5000));
        assert!(before.gaps.is_empty() && after.gaps.is_empty());
        let shut = Watch::default();
        assert_eq!(shut.watched(&container("c", 4000), BOOT), None);
    }

    #[test]
    fn what_was_lost_is_a_gap_of_those_who_lived_then_and_of_nobody_later() {
        let mut watch = open();
        watch.accounted(&books(0), 0, 2000 * MS);
        watch.accounted(&books(3), 1, 5000 * MS);
        watch.blinded(6000 * MS);
        watch.accounted(&books(3), 1, 9000 * MS);
        let gaps = |started| {
            let watched = watch.watched(&container("c", started), BOOT).unwrap();
            reasons(&watched).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(gaps(1500).len(), 3);
        assert_eq!(gaps(5500), ["a canary of the sensors was lost"]);
        assert_eq!(gaps(7000).len(), 0);
    }

    #[test]
    fn what_one_container_lost_is_no_gap_of_its_neighbours() {
        let mut watch = open();
        let owner = |id: &str| Owner::Pod { pod: "p".into(), container: id.into() };
        let book = |lost: &[SignalKind]| Book { lost: lost.to_vec(), ..Book::default() };
        let of = BTreeMap::from([(owner("a"), book(&[SignalKind::Shell])), (owner("b"), book(&[]))]);
        watch.accounted(&Books { of, ..Books::default() }, 0, 5000 * MS);
        let gaps = |watch: &Watch, id| watch.watched(&container(id, 2000), BOOT).unwrap().gaps;
        assert_eq!(gaps(&watch, "a")[0].kinds, [SignalKind::Shell]);
        assert!(gaps(&watch, "b").is_empty() && gaps(&watch, "c").is_empty());
        watch.accounted(&Books::default(), 0, 6000 * MS);
        assert!(gaps(&watch, "b")[0].reason.contains("no count"), "its book made room for others");
        watch.only(&BTreeSet::from(["c"]), BOOT);
        assert!(watch.open.as_ref().unwrap().books.is_empty());
    }

    #[test]
    fn a_sensor_that_is_not_attached_is_a_gap_of_its_own_kinds_for_all() {
        let mut watch = Watch::default();
        watch.opened(&[state("module", CoverageState::Absent), state("process", CoverageState::Seen)], 0);
        let watched = watch.watched(&container("c", 9000), BOOT).unwrap();
        assert!(watched.gap(&[SignalKind::ModuleLoad]).unwrap().contains("this kernel lacks it"));
        assert_eq!(watched.gap(&[SignalKind::Shell]), None);
    }

    #[test]
    fn seven_shells_are_one_act_whatever_they_are_called_and_however_often_the_sensor_began_anew() {
        let mut watch = open();
        let shell = |binary: &str, count, at| observation("c", SignalKind::Shell, "", binary, count, at);
        watch.saw(&[shell("/bin/sh", 1, 10), shell("/bin/bash", 1, 20), shell("/bin/sh", 4, 30)]);
        watch.saw(&[shell("/bin/sh", 2, 40)]);
        let watched = watch.watched(&container("c", 4000), BOOT).unwrap();
        let [done] = &watched.behaviors[..] else { panic!("{:?}", watched.behaviors) };
        assert_eq!((done.count, done.first, done.last), (7, 10, 40));
        assert!(watch.watched(&container("d", 4000), BOOT).unwrap().behaviors.is_empty(), "of another container");
    }

    #[test]
    fn use_is_kept_as_bits_and_a_ring_leaves_open_what_was_read() {
        let mut watch = open();
        let saw = |kind, object: &str| observation("c", kind, object, "", 1, 10);
        watch.saw(&[saw(SignalKind::CapabilityUsed, "SETUID"), saw(SignalKind::CapabilityUsed, "capability 60")]);
        watch.saw(&[saw(SignalKind::SensitiveOpen, "service-account-token"), saw(SignalKind::ProcessStart, "")]);
        let of = |watch: &Watch| watch.watched(&container("c", 4000), BOOT).unwrap();
        let watched = of(&watch);
        assert_eq!((watched.capabilities, watched.token_read, watched.root_written), (1 << 7, true, false));
        assert!(watched.behaviors.is_empty() && watched.gaps.is_empty());
        watch.saw(&[saw(SignalKind::RootWrite, RING)]);
        watch.saw(&[saw(SignalKind::ProcessStart, UNWATCHED)]);
        assert!(of(&watch).gap(&[SignalKind::Mount]).is_some(), "nobody watches the calls of a program of 32 bits");
        assert!(of(&watch).root_written && of(&watch).gap(&[SignalKind::SensitiveOpen]).is_some());
    }

    #[test]
    fn what_has_to_be_forgotten_is_said_and_memory_is_bounded() {
        let mut watch = open();
        for number in 0..CONTAINERS + 10 {
            let at = BOOT + 2000 + UnixMillis::try_from(number).unwrap();
            watch.saw(&[observation(&number.to_string(), SignalKind::Shell, "", "/bin/sh", 1, at)]);
        }
        assert_eq!(watch.containers.len(), CONTAINERS);
        let forgot = |watch: &Watch, started| {
            let watched = watch.watched(&container("0", started), BOOT).unwrap();
            watched.gap(&[SignalKind::Shell]).is_some_and(|why| why.contains("forgotten"))
        };
        assert!(forgot(&watch, 1500));
        watch.accounted(&books(0), 0, 5000 * MS);
        assert!(forgot(&watch, 1500) && !forgot(&watch, 6000));
        for number in 0..SORTS + 1 {
            watch.saw(&[observation("9", SignalKind::Mount, &number.to_string(), "", 1, BOOT)]);
        }
        assert!(watch.watched(&container("9", 1500), BOOT).unwrap().gaps.len() >= 2);
        watch.only(&BTreeSet::from(["9"]), BOOT + 2000 + 2 * KEPT);
        assert_eq!(watch.containers.len(), 1);
    }
}
