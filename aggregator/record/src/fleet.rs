//! How far a pattern has spread, as a band: by count and by share, with hysteresis, so that one cluster more or less does
//! not swing the severity of a thousand findings to and fro.
//!
//! A band is entered when both its thresholds are met, and left when one of them falls below a part of itself. A change
//! holds for a dwell time. The thresholds are data; what a band does to severities is decided in [`crate::calibration`], what
//! has to be done about a pattern in [`crate::propagation`].

use holdfast_model::{Band, Reading, UnixMillis};
use serde::{Deserialize, Serialize};

/// What it takes to enter a band.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// At least this many clusters.
    pub clusters: u32,
    /// At least this share of the clusters that can judge, in per cent.
    #[serde(default)]
    pub share_percent: u32,
}

/// When a pattern is in which band. Isolated is what is in no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bands {
    /// Entry of several.
    pub several: Entry,
    /// Entry of widespread.
    pub widespread: Entry,
    /// Entry of systemic.
    pub systemic: Entry,
    /// A band is left below this part of its entry, in per cent.
    pub left_at_percent: u32,
    /// How long a change holds.
    pub dwell_seconds: u32,
}

/// What follows from a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The band stays.
    Stay,
    /// The band changes now.
    Change(Band),
    /// The band would change, but the last change still holds: look again then.
    HoldUntil(UnixMillis),
}

impl Bands {
    /// The entry of a band; none for isolated, which needs none.
    pub fn entry(&self, band: Band) -> Option<Entry> {
        match band {
            Band::Isolated => None,
            Band::Several => Some(self.several),
            Band::Widespread => Some(self.widespread),
            Band::Systemic => Some(self.systemic),
        }
    }

    /// Why these thresholds make no sense, if they don't.
    pub fn problem(&self) -> Option<&'static str> {
        let Self { several, widespread, systemic, left_at_percent, .. } = self;
        let rising =
            |low: &Entry, high: &Entry| low.clusters <= high.clusters && low.share_percent <= high.share_percent;
        if several.clusters < 2 {
            return Some("several needs at least 2 clusters: 1 is isolated");
        }
        if !rising(several, widespread) || !rising(widespread, systemic) {
            return Some("a higher band needs no fewer clusters and no smaller share than the one below");
        }
        if systemic.share_percent > 100 {
            return Some("a share is at most 100 per cent");
        }
        if !(1..=100).contains(left_at_percent) {
            return Some("left_at_percent is 1 to 100");
        }
        None
    }

    /// The band that a reading asks for, coming from this one.
    pub fn target(&self, reading: Reading, current: Band) -> Band {
        let meets = |&band: &Band| {
            let part = if band <= current { self.left_at_percent } else { 100 };
            self.entry(band).is_none_or(|entry| meets(entry, reading, part))
        };
        Band::ALL.iter().copied().rev().find(meets).unwrap_or(Band::Isolated)
    }
}

/// Whether a reading has this part (in per cent) of what an entry asks for. In whole numbers: nothing is rounded.
fn meets(entry: Entry, reading: Reading, part: u32) -> bool {
    let whole = u64::from(reading.judging.max(reading.clusters));
    let (clusters, part) = (u64::from(reading.clusters), u64::from(part));
    let count = clusters * 100 >= u64::from(entry.clusters) * part;
    let share = clusters * 100 * 100 >= u64::from(entry.share_percent) * part * whole;
    count && share
}

/// What a reading means for a pattern that has been in its band since then.
pub fn next_band(bands: &Bands, reading: Reading, current: Band, since: Option<UnixMillis>, now: UnixMillis) -> Next {
    let target = bands.target(reading, current);
    if target == current {
        return Next::Stay;
    }
    let held = since.map(|since| since.saturating_add(UnixMillis::from(bands.dwell_seconds) * 1000));
    match held {
        Some(until) if now < until => Next::HoldUntil(until),
        _ => Next::Change(target),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shipped() -> Bands {
        let entry = |clusters, share_percent| Entry { clusters, share_percent };
        Bands {
            several: entry(2, 0),
            widespread: entry(4, 10),
            systemic: entry(8, 30),
            left_at_percent: 80,
            dwell_seconds: 300,
        }
    }

    #[test]
    fn bands_are_entered_by_count_and_share_and_left_at_four_fifths() {
        use Band::*;
        for (clusters, judging, from, to) in [
            (0, 0, Isolated, Isolated),
            (1, 1, Isolated, Isolated),
            (2, 1000, Isolated, Several),
            (3, 3, Isolated, Several),
            (4, 4, Isolated, Widespread),
            (4, 40, Isolated, Widespread),
            (4, 41, Isolated, Several),
            (7, 7, Isolated, Widespread),
            (8, 8, Isolated, Systemic),
            (8, 27, Isolated, Widespread),
            (30, 100, Isolated, Systemic),
            (29, 100, Widespread, Widespread),
            // Left at 80 %: 6.4 clusters and 24 %; 3.2 clusters and 8 %; 1.6 clusters.
            (7, 7, Systemic, Systemic),
            (6, 6, Systemic, Widespread),
            (24, 100, Systemic, Systemic),
            (23, 100, Systemic, Widespread),
            (8, 100, Widespread, Widespread),
            (7, 100, Widespread, Several),
            (4, 50, Systemic, Widespread),
            (3, 3, Widespread, Several),
            (2, 2, Several, Several),
            (1, 1, Several, Isolated),
            (0, 9, Systemic, Isolated),
        ] {
            let target = shipped().target(Reading { clusters, judging }, from);
            assert_eq!(target, to, "{clusters} of {judging}, from {from}");
        }
    }

    #[test]
    fn a_change_holds_for_the_dwell_time_to_the_millisecond() {
        let reading = Reading { clusters: 8, judging: 8 };
        let next = |since, now| next_band(&shipped(), reading, Band::Several, since, now);
        assert_eq!(next(None, 0), Next::Change(Band::Systemic));
        assert_eq!(next(Some(1000), 300_999), Next::HoldUntil(301_000));
        assert_eq!(next(Some(1000), 301_000), Next::Change(Band::Systemic));
        assert_eq!(next_band(&shipped(), reading, Band::Systemic, Some(0), 1), Next::Stay);
    }

    #[test]
    fn thresholds_that_contradict_each_other_are_refused() {
        assert_eq!(shipped().problem(), None);
        let broken = |break_it: fn(&mut Bands)| {
            let mut bands = shipped();
            break_it(&mut bands);
            bands.problem().is_some()
        };
        assert!(broken(|bands| bands.several.clusters = 1));
        assert!(broken(|bands| bands.widespread.clusters = 9));
        assert!(broken(|bands| bands.systemic.share_percent = 9));
        assert!(broken(|bands| bands.systemic.share_percent = 101));
        assert!(broken(|bands| bands.left_at_percent = 0));
        assert!(broken(|bands| bands.left_at_percent = 101));
    }

    fn band() -> impl Strategy<Value = Band> {
        prop::sample::select(Band::ALL)
    }

    proptest! {
        #[test]
        fn the_same_reading_twice_changes_nothing_more(clusters in 0u32..60, judging in 0u32..60, from in band()) {
            let reading = Reading { clusters, judging };
            let target = shipped().target(reading, from);
            prop_assert_eq!(shipped().target(reading, target), target);
        }

        #[test]
        fn more_clusters_never_lower_and_a_higher_start_never_ends_lower(
            clusters in 0u32..60, judging in 60u32..200, from in band(), other in band()
        ) {
            let target = |clusters, from| shipped().target(Reading { clusters, judging }, from);
            prop_assert!(target(clusters + 1, from) >= target(clusters, from));
            prop_assert!(target(clusters, from.max(other)) >= target(clusters, from.min(other)));
        }

        #[test]
        fn one_cluster_to_and_fro_does_not_swing_a_large_fleet(clusters in 10u32..200, judging in 200u32..400, from in band()) {
            let more = shipped().target(Reading { clusters: clusters + 1, judging }, from);
            let less = shipped().target(Reading { clusters, judging }, more);
            let again = shipped().target(Reading { clusters: clusters + 1, judging }, less);
            prop_assert_eq!(again, less, "a band that was left is entered again only by more than what left it");
        }
    }
}
