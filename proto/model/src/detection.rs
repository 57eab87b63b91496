//! What a cluster's kernel sensors observed of a problem, as it travels: evidence beside the posture's, on the same finding.
//!
//! The posture states what an object asks for and is held in a ledger; a runtime detection is something that was observed to
//! happen or to run. It comes as often as it is observed, so it is folded wherever it waits: one record with a count, a first
//! and a last time, and the first locations as samples.

use serde::{Deserialize, Serialize};

use crate::UnixMillis;
use crate::control::{ControlId, Severity};
use crate::resource::{Origin, Resource};
use crate::statement::Location;

/// One control, observed to fail on one resource by what runs there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeDetection {
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
    /// What was observed since it was last sent.
    pub seen: Occurrences,
}

/// What one source observed at a time. It is applied once, whole or not at all, however often and by whichever leader it is
/// sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectionBatch {
    /// The node whose sensors observed it; empty where the cluster's part scanned itself.
    pub source: String,
    /// The start of the source that the sequence counts in.
    pub run: String,
    /// From 1 within a run. A run sends nothing new before what it sent last has been acknowledged.
    pub sequence: u64,
    /// What was observed.
    pub detections: Vec<RuntimeDetection>,
}

/// Where, how often and when one thing was observed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occurrences {
    /// The first locations, each once.
    pub locations: Vec<Location>,
    /// How often.
    pub count: u64,
    /// The first time.
    pub first_seen_at: UnixMillis,
    /// The last time.
    pub last_seen_at: UnixMillis,
}

impl Occurrences {
    /// The most locations that folding keeps.
    pub const LOCATIONS: usize = 16;

    /// One observation at these locations.
    pub fn once(mut locations: Vec<Location>, at: UnixMillis) -> Self {
        locations.truncate(Self::LOCATIONS);
        Self { locations, count: 1, first_seen_at: at, last_seen_at: at }
    }

    /// Takes in what was observed since; the answer is whether one of its locations is new.
    pub fn fold(&mut self, newer: &Self) -> bool {
        self.count = self.count.saturating_add(newer.count);
        self.first_seen_at = self.first_seen_at.min(newer.first_seen_at);
        self.last_seen_at = self.last_seen_at.max(newer.last_seen_at);
        let known = self.locations.len();
        for location in &newer.locations {
            if self.locations.len() < Self::LOCATIONS && !self.locations.iter().any(|seen| is_same(seen, location)) {
                self.locations.push(location.clone());
            }
        }
        self.locations.len() > known
    }
}

/// Processes come and go; the same fact in the same container of the same Pod is one location.
fn is_same(a: &Location, b: &Location) -> bool {
    (&a.object, &a.container, &a.value) == (&b.object, &b.container, &b.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pid: u32, pod: &str, at: UnixMillis) -> Occurrences {
        let place = Location::field(format!("process sh (pid {pid})"), "a shell").in_object(format!("Pod {pod}"));
        Occurrences::once(vec![place], at)
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
        assert_eq!((all.locations.len(), all.count), (Occurrences::LOCATIONS, 100));
    }
}
