//! What the kernel showed of a problem: evidence beside the posture's, on the same finding.
//!
//! The posture states what an object asks for and is held in a ledger; a detection is something that was seen to happen or
//! to run. It comes as often as it is seen, so it is folded wherever it waits: one record with a count, a first and a last
//! time, and the first places as samples.

use serde::{Deserialize, Serialize};

use crate::UnixMillis;
use crate::control::{ControlId, Severity};
use crate::resource::{Origin, Resource};
use crate::statement::Location;

/// One control, seen to fail on one resource by what runs there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detection {
    /// The top owner.
    pub resource: Resource,
    /// Where it comes from.
    pub origin: Origin,
    /// The control.
    pub control: ControlId,
    /// Its version.
    pub control_version: u32,
    /// Severity by the catalog.
    pub severity: Severity,
    /// What was seen since it was last told.
    pub seen: RuntimeEvidence,
}

/// What one source saw in one go. It is taken once, whole or not at all, however often and by whomever it is said again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectionBatch {
    /// The node whose sensors saw it; empty where the cluster's part looked itself.
    pub source: String,
    /// The start of the source that the sequence counts in.
    pub run: String,
    /// From 1 within a run. A run says nothing new before what it said last has been taken.
    pub sequence: u64,
    /// What was seen.
    pub detections: Vec<Detection>,
}

/// What the kernel showed, folded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeEvidence {
    /// Where, with the kernel's fact as value: the first ones, each once.
    pub locations: Vec<Location>,
    /// How often it was seen.
    pub count: u64,
    /// When it was first seen.
    pub first_seen_at: UnixMillis,
    /// When it was last seen.
    pub last_seen_at: UnixMillis,
}

impl RuntimeEvidence {
    /// The most places that are kept.
    pub const PLACES: usize = 16;

    /// One sight of these places.
    pub fn once(mut locations: Vec<Location>, at: UnixMillis) -> Self {
        locations.truncate(Self::PLACES);
        Self { locations, count: 1, first_seen_at: at, last_seen_at: at }
    }

    /// Takes in what was seen since; answers whether a place among it is new.
    pub fn fold(&mut self, newer: &Self) -> bool {
        self.count = self.count.saturating_add(newer.count);
        self.first_seen_at = self.first_seen_at.min(newer.first_seen_at);
        self.last_seen_at = self.last_seen_at.max(newer.last_seen_at);
        let known = self.locations.len();
        for place in &newer.locations {
            if self.locations.len() < Self::PLACES && !self.locations.iter().any(|seen| is_same(seen, place)) {
                self.locations.push(place.clone());
            }
        }
        self.locations.len() > known
    }
}

/// Processes come and go; the same fact in the same container of the same Pod is one place.
fn is_same(a: &Location, b: &Location) -> bool {
    (&a.object, &a.container, &a.value) == (&b.object, &b.container, &b.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pid: u32, pod: &str, at: UnixMillis) -> RuntimeEvidence {
        let place = Location::field(format!("process sh (pid {pid})"), "a shell").in_object(format!("Pod {pod}"));
        RuntimeEvidence::once(vec![place], at)
    }

    #[test]
    fn one_thing_that_happens_seven_times_is_one_record_of_seven() {
        let mut all = seen(1, "a", 10);
        let news: Vec<bool> = (2..=7).map(|n| all.fold(&seen(n, "a", UnixMillis::from(n)))).collect();
        assert_eq!(news, [false; 6]);
        assert_eq!((all.count, all.first_seen_at, all.last_seen_at, all.locations.len()), (7, 2, 10, 1));
        assert!(all.fold(&seen(8, "b", 11)), "another Pod is another place");
    }

    #[test]
    fn samples_are_bounded_and_counts_are_not() {
        let mut all = seen(0, "pod-0", 0);
        for n in 1..100 {
            all.fold(&seen(n, &format!("pod-{n}"), 1));
        }
        assert_eq!((all.locations.len(), all.count), (RuntimeEvidence::PLACES, 100));
    }
}
