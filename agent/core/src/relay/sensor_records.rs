//! Whether a node's sensors observe, by its heartbeats: attached, their probe coming back, nothing dropped.
//!
//! All times are the node's own clock, so that no two clocks are compared. The view of its processes may be available all the
//! same: that is another row of the coverage ([`super::node_coverage`]).

use std::collections::BTreeMap;

use holdfast_model::{CoverageState, UnixMillis};

use super::StateWithReason;
use crate::text;

/// A probe comes back several times a minute: after this long without one nothing is observed.
const PROBE_MILLIS: UnixMillis = 180_000;
/// So long sensors may take until they are attached.
const STARTING_MILLIS: UnixMillis = 60_000;
/// A drop is shown for this long after the last one.
const DROPS_MILLIS: UnixMillis = 600_000;
/// Counters of a heartbeat that are looked at.
const COUNTERS: usize = 256;

/// What a node reports of its sensors, with each heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SensorReport {
    /// The node's clock.
    pub clock: UnixMillis,
    /// Sensors that are attached.
    pub attached: usize,
    /// When the last probe came back; 0 before the first.
    pub probe_at: UnixMillis,
    /// What is not whole, in the node's words; empty where everything is.
    pub reason: String,
    /// Counts since the start of the node's agent, `<sensor>.<what became of it>`.
    pub counters: Vec<(String, u64)>,
}

/// The records of one node's sensors.
#[derive(Debug, Default)]
pub struct SensorRecords {
    first_at: Option<UnixMillis>,
    /// Drops by sensor as last reported, since the start of the node's agent.
    dropped: BTreeMap<String, u64>,
    /// What was dropped since the first of the drops that are shown, and when the last one was reported.
    shown: Option<(BTreeMap<String, u64>, UnixMillis)>,
}

impl SensorRecords {
    /// Takes in a report; answers how the sensors are doing.
    pub fn apply(&mut self, report: &SensorReport) -> StateWithReason {
        let first_at = *self.first_at.get_or_insert(report.clock);
        self.count_drops(report);
        let silent = report.clock.saturating_sub(if report.probe_at > 0 { report.probe_at } else { first_at });
        if report.attached == 0 && report.clock.saturating_sub(first_at) < STARTING_MILLIS {
            (CoverageState::Starting, "its sensors are not attached yet".to_owned())
        } else if report.attached == 0 {
            (CoverageState::Failing, "no sensor is attached: what containers do is not observed".to_owned())
        } else if silent > PROBE_MILLIS {
            let minutes = silent / 60_000;
            let reason =
                format!("the heartbeat probe has not come back for {minutes} min: the sensors observe nothing");
            (CoverageState::Failing, reason)
        } else if let Some((dropped, _)) = &self.shown {
            (CoverageState::Failing, drops(dropped))
        } else if report.probe_at == 0 {
            (CoverageState::Starting, "the first heartbeat probe has not come back yet".to_owned())
        } else {
            (CoverageState::Seen, text::line(&report.reason))
        }
    }

    fn count_drops(&mut self, report: &SensorReport) {
        let dropped = |name: &str| Some(name.strip_suffix(".dropped")?.to_owned());
        let reported = report.counters.iter().take(COUNTERS).filter_map(|(name, count)| Some((dropped(name)?, *count)));
        let now: BTreeMap<String, u64> = reported.filter(|(_, count)| *count > 0).collect();
        let mut since = self.shown.take().filter(|(_, at)| report.clock.saturating_sub(*at) < DROPS_MILLIS);
        for (sensor, count) in &now {
            let before = self.dropped.get(sensor).copied().unwrap_or_default();
            // An agent that has started anew counts from zero.
            let more = if *count >= before { count - before } else { *count };
            if more > 0 {
                let (all, at) = since.get_or_insert_default();
                *all.entry(sensor.clone()).or_default() += more;
                *at = report.clock;
            }
        }
        (self.dropped, self.shown) = (now, since);
    }
}

/// A sentence that stays the same while little changes: how many by powers of ten.
fn drops(dropped: &BTreeMap<String, u64>) -> String {
    let count: u64 = dropped.values().sum();
    let least = 10u64.pow(count.max(1).ilog10());
    let sensors = dropped.keys().map(|sensor| text::line(sensor)).collect::<Vec<_>>().join(", ");
    format!("at least {least} behaviors were lost in the last 10 min ({sensors}): what was done then may be missing")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: UnixMillis = 60_000;
    const NOON: UnixMillis = 1_000 * MINUTE;

    fn report(clock: UnixMillis, probe_at: UnixMillis, sensors: &[&str], dropped: &[(&str, u64)]) -> SensorReport {
        let counters = dropped.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        SensorReport { clock, attached: sensors.len(), probe_at, reason: "module: absent".into(), counters }
    }

    fn expect(records: &mut SensorRecords, report: &SensorReport, state: CoverageState, reason: &str) {
        let answer = records.apply(report);
        assert!(answer.0 == state && answer.1.contains(reason), "{answer:?} is not {state}, {reason:?}");
    }

    #[test]
    fn sensors_observe_while_their_probe_comes_back_and_are_failing_three_minutes_later() {
        let records = &mut SensorRecords::default();
        expect(records, &report(NOON, 0, &[], &[]), CoverageState::Starting, "not attached yet");
        expect(records, &report(NOON + 1, 0, &["file"], &[]), CoverageState::Starting, "first heartbeat probe");
        expect(records, &report(NOON + 2, NOON + 2, &["file"], &[]), CoverageState::Seen, "module: absent");
        expect(records, &report(NOON + 3 * MINUTE, NOON + 2, &["file"], &[]), CoverageState::Seen, "");
        expect(records, &report(NOON + 4 * MINUTE, NOON + 2, &["file"], &[]), CoverageState::Failing, "probe");
        expect(records, &report(NOON + 5 * MINUTE, NOON + 5 * MINUTE, &["file"], &[]), CoverageState::Seen, "");
    }

    #[test]
    fn sensors_that_are_never_attached_or_never_answer_are_failing() {
        let records = &mut SensorRecords::default();
        expect(records, &report(NOON, 0, &[], &[]), CoverageState::Starting, "");
        expect(records, &report(NOON + MINUTE, 0, &[], &[]), CoverageState::Failing, "no sensor is attached");
        let records = &mut SensorRecords::default();
        expect(records, &report(NOON, 0, &["file"], &[]), CoverageState::Starting, "");
        expect(records, &report(NOON + 4 * MINUTE, 0, &["file"], &[]), CoverageState::Failing, "probe");
    }

    #[test]
    fn drops_are_shown_for_ten_minutes_and_reported_anew_only_when_they_are_ten_times_as_many() {
        let records = &mut SensorRecords::default();
        let at = |minute: i64, dropped: &[(&str, u64)]| {
            let clock = NOON + minute * MINUTE;
            report(clock, clock, &["file"], dropped)
        };
        expect(records, &at(0, &[("file.dropped", 0), ("file.generated", 9)]), CoverageState::Seen, "");
        let few = records.apply(&at(1, &[("file.dropped", 20)]));
        assert_eq!(few.0, CoverageState::Failing);
        assert!(few.1.starts_with("at least 10 behaviors were lost in the last 10 min (file)"), "{}", few.1);
        assert_eq!(records.apply(&at(2, &[("file.dropped", 90)])), few);
        expect(
            records,
            &at(3, &[("agent.dropped", 100), ("file.dropped", 90)]),
            CoverageState::Failing,
            "100 behaviors",
        );
        expect(
            records,
            &at(12, &[("agent.dropped", 100), ("file.dropped", 90)]),
            CoverageState::Failing,
            "agent, file",
        );
        expect(records, &at(13, &[("agent.dropped", 100), ("file.dropped", 90)]), CoverageState::Seen, "");
        // The node's agent has started anew, and drops something at once.
        expect(records, &at(14, &[("file.dropped", 3)]), CoverageState::Failing, "at least 1 behaviors");
    }
}
