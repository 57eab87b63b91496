//! What the sensors of a node observed, folded until it is sent.
//!
//! Sensors count each behavior from its first time on; here is remembered how much of each was sent, so that what is taken is
//! what is new. A behavior that was never sent is due at once, more of the same now and then. Bounded twice: what waits, and
//! what is remembered; the latter is more than the kernel's own table holds, which forgets by the same rule. Times are counted
//! from any fixed moment of a monotonic clock.

use std::collections::HashMap;
use std::time::Duration;

use holdfast_model::runtime_observation::RuntimeObservation;
use sha2::{Digest, Sha256};

/// Behaviors that may wait at once.
const WAITING: usize = 4096;
/// Behaviors that are remembered.
const REMEMBERED: usize = 65_536;
/// How long more of the same may wait.
pub const REPEAT_AFTER: Duration = Duration::from_secs(30);

/// What identifies a behavior, hashed: the container, what was done, and its particulars.
type BehaviorKey = [u8; 16];

/// What is remembered of a behavior.
#[derive(Debug)]
struct Sent {
    first: i64,
    count: u64,
    at: Option<Duration>,
    used: u64,
}

/// What is new of a behavior.
#[derive(Debug)]
struct Waiting {
    /// Its count is of what is new.
    observation: RuntimeObservation,
    due: Duration,
    order: u64,
}

/// Observations, folded by behavior.
#[derive(Debug)]
pub struct ObservationFold {
    sent: HashMap<BehaviorKey, Sent>,
    waiting: HashMap<BehaviorKey, Waiting>,
    number: u64,
    repeat_after: Duration,
}

impl ObservationFold {
    /// Nothing has been observed. More of the same waits for `repeat_after`.
    pub fn new(repeat_after: Duration) -> Self {
        Self { sent: HashMap::new(), waiting: HashMap::new(), number: 0, repeat_after }
    }

    /// Takes in what a sensor reports.
    pub fn add(&mut self, observation: RuntimeObservation, now: Duration) {
        let key = key_of(&observation);
        self.number += 1;
        let sent = self.sent.entry(key).or_insert(Sent { first: observation.first, count: 0, at: None, used: 0 });
        // The sensor has started anew: all of it is new.
        let is_anew =
            observation.count < sent.count || (observation.count == sent.count && observation.first != sent.first);
        let new = if is_anew { observation.count } else { observation.count - sent.count };
        (sent.first, sent.count, sent.used) = (observation.first, observation.count, self.number);
        if new > 0 {
            let due = sent.at.map_or(now, |at| now.max(at + self.repeat_after));
            let order = self.number;
            self.waiting
                .entry(key)
                .and_modify(|waiting| {
                    waiting.observation.count = waiting.observation.count.saturating_add(new);
                    waiting.observation.last = waiting.observation.last.max(observation.last);
                })
                .or_insert_with(|| Waiting {
                    observation: RuntimeObservation { count: new, ..observation },
                    due,
                    order,
                });
        }
        if self.sent.len() > REMEMBERED {
            self.forget_oldest();
        }
    }

    /// Whether nothing more may be taken in before something has been taken out.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING
    }

    /// When the next observation is due.
    pub fn due(&self) -> Option<Duration> {
        self.waiting.values().map(|waiting| waiting.due).min()
    }

    /// Up to so many of the observations that are due, in the order in which they came; all are, where there is no room for more.
    pub fn take(&mut self, most: usize, now: Duration) -> Vec<RuntimeObservation> {
        let is_full = self.is_full();
        let due = self.waiting.iter().filter(|(_, waiting)| is_full || waiting.due <= now);
        let mut due: Vec<_> = due.map(|(key, waiting)| (waiting.order, *key)).collect();
        due.sort_unstable();
        due.truncate(most);
        due.iter()
            .filter_map(|(_, key)| {
                self.sent.entry(*key).and_modify(|sent| sent.at = Some(now));
                self.waiting.remove(key).map(|waiting| waiting.observation)
            })
            .collect()
    }

    /// Forgets the half that has not been observed for longest; what waits is not forgotten.
    fn forget_oldest(&mut self) {
        let mut used: Vec<u64> = self.sent.values().map(|sent| sent.used).collect();
        let half = used.len() / 2;
        let (_, median, _) = used.select_nth_unstable(half);
        let (median, waiting) = (*median, &self.waiting);
        self.sent.retain(|key, sent| sent.used >= median || waiting.contains_key(key));
    }
}

fn key_of(observation: &RuntimeObservation) -> BehaviorKey {
    let RuntimeObservation { kind, cgroup, binary, path, object, address, .. } = observation;
    let address = address.map(|address| address.to_string()).unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(cgroup.to_be_bytes());
    for text in [kind.as_str(), binary, path, object, &address] {
        // Its length first: no two behaviors may become one.
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    let hash: [u8; 32] = hash.finalize().into();
    let mut key = BehaviorKey::default();
    key.copy_from_slice(&hash[..16]);
    key
}

#[cfg(test)]
mod tests {
    use holdfast_model::runtime_observation::SignalKind;

    use super::*;

    fn observation(path: &str, count: u64, first: i64) -> RuntimeObservation {
        crate::tests::observation(SignalKind::EtcWrite, path, count, first)
    }

    fn counts(fold: &mut ObservationFold, now: Duration) -> Vec<(String, u64)> {
        fold.take(100, now).into_iter().map(|observation| (observation.path, observation.count)).collect()
    }

    #[test]
    fn what_is_new_is_due_at_once_and_more_of_the_same_later_folded() {
        let (mut fold, start) = (ObservationFold::new(REPEAT_AFTER), Duration::ZERO);
        fold.add(observation("/etc/b", 1, 5), start);
        fold.add(observation("/etc/a", 1, 5), start);
        assert_eq!(counts(&mut fold, start), [("/etc/b".into(), 1), ("/etc/a".into(), 1)]);
        fold.add(observation("/etc/a", 4, 5), start);
        fold.add(observation("/etc/a", 4, 5), start);
        fold.add(observation("/etc/a", 9, 5), start);
        assert_eq!((counts(&mut fold, start), fold.due()), (Vec::new(), Some(start + REPEAT_AFTER)));
        assert_eq!(counts(&mut fold, start + REPEAT_AFTER), [("/etc/a".into(), 8)]);
        assert_eq!(fold.due(), None);
    }

    #[test]
    fn counting_goes_on_when_a_sensor_starts_anew() {
        let (mut fold, start) = (ObservationFold::new(Duration::ZERO), Duration::ZERO);
        for (count, first, new) in [(1, 5, 1), (4, 5, 3), (1, 8, 1), (1, 9, 1), (3, 9, 2)] {
            fold.add(observation("/etc/a", count, first), start);
            assert_eq!(counts(&mut fold, start), [("/etc/a".into(), new)]);
        }
        fold.add(observation("/etc/a", 3, 9), start);
        assert_eq!(fold.due(), None, "nothing is new");
    }

    #[test]
    fn memory_is_bounded_and_what_waits_is_never_forgotten() {
        let (mut fold, start) = (ObservationFold::new(REPEAT_AFTER), Duration::ZERO);
        fold.add(observation("/etc/first", 1, 5), start);
        assert_eq!(fold.take(1, start).len(), 1);
        fold.add(observation("/etc/first", 3, 5), start);
        for number in 0..REMEMBERED {
            fold.add(observation(&format!("/etc/{number}"), 1, 5), start);
            if fold.is_full() {
                assert_eq!(fold.take(usize::MAX, start).len(), WAITING, "where it is full everything may be taken");
            }
        }
        assert!(fold.sent.len() <= REMEMBERED && fold.waiting.len() <= WAITING);
    }
}
