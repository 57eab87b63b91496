//! What sensors saw, folded until it leaves. PURE.
//!
//! Sensors count each act from its first time on; here is remembered how far each was told, so that what leaves is what is
//! new. An act that was never told leaves at once, more of the same now and then. Bounded twice: what waits, and what is
//! remembered; the latter is more than the kernel's own table holds, which forgets by the same rule.

use std::collections::HashMap;
use std::time::Duration;

use holdfast_model::runtime_observation::RuntimeObservation;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// Behaviors that may wait at once.
const WAITING: usize = 4096;
/// Behaviors that are remembered.
const REMEMBERED: usize = 65_536;
/// How long more of the same may wait.
pub(super) const QUIET: Duration = Duration::from_secs(30);

/// One act: the container, what was done, and its particulars. What identifies it, hashed.
type Act = [u8; 16];

/// What is remembered of an act.
struct Told {
    first: i64,
    count: u64,
    at: Option<Instant>,
    used: u64,
}

/// What is new of an act.
struct Waiting {
    /// Its count is of what is new.
    observation: RuntimeObservation,
    due: Instant,
    order: u64,
}

/// Behaviors, folded.
pub(crate) struct Fold {
    told: HashMap<Act, Told>,
    waiting: HashMap<Act, Waiting>,
    number: u64,
    quiet: Duration,
}

impl Fold {
    pub(crate) fn new(quiet: Duration) -> Self {
        Self { told: HashMap::new(), waiting: HashMap::new(), number: 0, quiet }
    }

    /// Takes in what a sensor says.
    pub(crate) fn take(&mut self, observation: RuntimeObservation, now: Instant) {
        let act = name(&observation);
        self.number += 1;
        let told = self.told.entry(act).or_insert(Told { first: observation.first, count: 0, at: None, used: 0 });
        // The sensor has begun anew: all of it is new.
        let is_anew =
            observation.count < told.count || (observation.count == told.count && observation.first != told.first);
        let news = if is_anew { observation.count } else { observation.count - told.count };
        (told.first, told.count, told.used) = (observation.first, observation.count, self.number);
        if news > 0 {
            let due = told.at.map_or(now, |at| now.max(at + self.quiet));
            let order = self.number;
            self.waiting
                .entry(act)
                .and_modify(|waiting| {
                    waiting.observation.count = waiting.observation.count.saturating_add(news);
                    waiting.observation.last = waiting.observation.last.max(observation.last);
                })
                .or_insert_with(|| Waiting {
                    observation: RuntimeObservation { count: news, ..observation },
                    due,
                    order,
                });
        }
        if self.told.len() > REMEMBERED {
            self.forget();
        }
    }

    /// Whether nothing more may be taken in before something has left.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING
    }

    /// When the next act is to leave.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.due).min()
    }

    /// Up to so many of the behaviors that are due, in the order in which they came; all are, where there is no room for more.
    pub(crate) fn leave(&mut self, most: usize, now: Instant) -> Vec<RuntimeObservation> {
        let is_full = self.is_full();
        let due = self.waiting.iter().filter(|(_, waiting)| is_full || waiting.due <= now);
        let mut due: Vec<_> = due.map(|(act, waiting)| (waiting.order, *act)).collect();
        due.sort_unstable();
        due.truncate(most);
        due.iter()
            .filter_map(|(_, act)| {
                self.told.entry(*act).and_modify(|told| told.at = Some(now));
                self.waiting.remove(act).map(|waiting| waiting.observation)
            })
            .collect()
    }

    /// Forgets the half that has been still for longest; what waits is not forgotten.
    fn forget(&mut self) {
        let mut used: Vec<u64> = self.told.values().map(|told| told.used).collect();
        let half = used.len() / 2;
        let (_, median, _) = used.select_nth_unstable(half);
        let (median, waiting) = (*median, &self.waiting);
        self.told.retain(|act, told| told.used >= median || waiting.contains_key(act));
    }
}

fn name(observation: &RuntimeObservation) -> Act {
    let RuntimeObservation { kind, cgroup, binary, path, object, address, .. } = observation;
    let address = address.map(|address| address.to_string()).unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(cgroup.to_be_bytes());
    for text in [kind.as_str(), binary, path, object, &address] {
        // Its length first: no two behaviors may run together to one.
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    let hash: [u8; 32] = hash.finalize().into();
    let mut act = Act::default();
    act.copy_from_slice(&hash[..16]);
    act
}

#[cfg(test)]
pub(super) mod tests {
    use holdfast_model::runtime_observation::SignalKind;

    use super::*;

    pub(in crate::node) fn observation(path: &str, count: u64, first: i64) -> RuntimeObservation {
        RuntimeObservation {
            kind: SignalKind::EtcWrite,
            cgroup: 7,
            pod: "u1".into(),
            container: "c1".into(),
            pid: 1,
            started: 1,
            name: "sh".into(),
            binary: "/bin/sh".into(),
            arguments: Vec::new(),
            path: path.into(),
            object: String::new(),
            address: None,
            count,
            first,
            last: first,
        }
    }

    fn counts(fold: &mut Fold, now: Instant) -> Vec<(String, u64)> {
        fold.leave(100, now).into_iter().map(|observation| (observation.path, observation.count)).collect()
    }

    #[test]
    fn what_is_new_leaves_at_once_and_more_of_the_same_later_folded() {
        let (mut fold, start) = (Fold::new(QUIET), Instant::now());
        fold.take(observation("/etc/b", 1, 5), start);
        fold.take(observation("/etc/a", 1, 5), start);
        assert_eq!(counts(&mut fold, start), [("/etc/b".into(), 1), ("/etc/a".into(), 1)]);
        fold.take(observation("/etc/a", 4, 5), start);
        fold.take(observation("/etc/a", 4, 5), start);
        fold.take(observation("/etc/a", 9, 5), start);
        assert_eq!((counts(&mut fold, start), fold.due()), (Vec::new(), Some(start + QUIET)));
        assert_eq!(counts(&mut fold, start + QUIET), [("/etc/a".into(), 8)]);
        assert_eq!(fold.due(), None);
    }

    #[test]
    fn a_sensor_that_begins_anew_is_counted_on() {
        let (mut fold, start) = (Fold::new(Duration::ZERO), Instant::now());
        for (count, first, news) in [(1, 5, 1), (4, 5, 3), (1, 8, 1), (1, 9, 1), (3, 9, 2)] {
            fold.take(observation("/etc/a", count, first), start);
            assert_eq!(counts(&mut fold, start), [("/etc/a".into(), news)]);
        }
        fold.take(observation("/etc/a", 3, 9), start);
        assert_eq!(fold.due(), None, "nothing is new");
    }

    #[test]
    fn memory_is_bounded_and_what_waits_is_never_forgotten() {
        let (mut fold, start) = (Fold::new(QUIET), Instant::now());
        fold.take(observation("/etc/first", 1, 5), start);
        assert_eq!(fold.leave(1, start).len(), 1);
        fold.take(observation("/etc/first", 3, 5), start);
        for number in 0..REMEMBERED {
            fold.take(observation(&format!("/etc/{number}"), 1, 5), start);
            if fold.is_full() {
                assert_eq!(fold.leave(usize::MAX, start).len(), WAITING, "where it is full everything may leave");
            }
        }
        assert!(fold.told.len() <= REMEMBERED && fold.waiting.len() <= WAITING);
    }
}
