//! Evidence of the kernel's view that has been reported, by finding: the same is not reported again at once. A new location is,
//! and once an hour how often it was seen since.

use std::collections::HashMap;

use holdfast_controls::Control;
use holdfast_model::{Occurrences, Resource, UnixMillis};

use super::Finding;
use crate::ledger;

/// How long the same is not reported again.
const REPEAT_MILLIS: UnixMillis = 60 * 60 * 1000;
/// The most findings whose evidence is remembered; beyond it, evidence may be reported again.
const REMEMBERED: usize = 65_536;

#[derive(Debug, Default)]
pub(super) struct ReportedEvidence(HashMap<Finding, Reported>);

#[derive(Debug)]
struct Reported {
    all: Occurrences,
    /// What was seen since it was last reported.
    since: Option<Occurrences>,
    at: UnixMillis,
}

impl ReportedEvidence {
    /// Takes in what was seen, and answers what is to be reported of it.
    pub(super) fn apply(
        &mut self,
        owner: &Resource,
        control: &'static Control,
        seen: Occurrences,
        now: UnixMillis,
    ) -> Option<Occurrences> {
        let seen = Occurrences { locations: ledger::bounded(&seen.locations), ..seen };
        let key = (owner.clone(), control.id);
        if let Some(reported) = self.0.get_mut(&key) {
            return reported.apply(seen, now);
        }
        if self.0.len() >= REMEMBERED {
            self.0.clear();
        }
        self.0.insert(key, Reported { all: seen.clone(), since: None, at: now });
        Some(seen)
    }
}

impl Reported {
    fn apply(&mut self, seen: Occurrences, now: UnixMillis) -> Option<Occurrences> {
        let is_new = self.all.fold(&seen);
        let since = match self.since.take() {
            None => seen,
            Some(mut since) => {
                since.fold(&seen);
                since
            }
        };
        if is_new || now - self.at >= REPEAT_MILLIS {
            self.at = now;
            return Some(since);
        }
        self.since = Some(since);
        None
    }
}

#[cfg(test)]
mod tests {
    use holdfast_controls::catalog;
    use holdfast_model::Location;

    use super::*;

    #[test]
    fn the_same_is_reported_once_an_hour_with_its_count_and_a_new_location_at_once() {
        let mut reported = ReportedEvidence::default();
        let (owner, control) =
            (Resource::namespaced("apps", "Deployment", "shop", "web"), catalog::all().next().unwrap());
        let mut apply = |value: &str, now| {
            let seen = Occurrences::once(vec![Location::field("process", value)], now);
            reported.apply(&owner, control, seen, now).map(|evidence| (evidence.count, evidence.locations.len()))
        };
        assert_eq!(apply("a", 0), Some((1, 1)));
        assert_eq!((apply("a", 1), apply("a", REPEAT_MILLIS - 1)), (None, None));
        assert_eq!(apply("a", REPEAT_MILLIS), Some((3, 1)));
        assert_eq!(apply("b", REPEAT_MILLIS + 1), Some((1, 1)));
    }
}
