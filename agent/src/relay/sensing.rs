//! Whether a node's sensors see, by what its heartbeats say: attached, their canary coming back, nothing dropped. Pure.
//!
//! All times are the node's own clock, so that no two clocks are compared. A view of processes may be open all the same: that
//! is another row (`line::NodeStatus`). The answer goes to `cover`.

use std::collections::BTreeMap;

use holdfast_model::{CoverageState, UnixMillis};
use holdfast_proto::v1::NodeHeartbeat;

use holdfast_agent_core::text;

/// A canary comes back once a minute: after this long without one the sensors are blind.
pub(super) const CANARY_MILLIS: UnixMillis = 180_000;
/// So long sensors may take until they are attached.
const STARTING_MILLIS: UnixMillis = 60_000;
/// A drop is shown for this long after the last one.
const DROPS_MILLIS: UnixMillis = 600_000;
/// Counters of a heartbeat that are looked at.
const COUNTERS: usize = 256;

/// What was heard of one node's sensors.
#[derive(Debug, Default)]
pub(super) struct Sensing {
    began: Option<UnixMillis>,
    /// Drops by sensor as last told, since the node's agent started.
    dropped: BTreeMap<String, u64>,
    /// What was dropped since the first of the drops that are shown, and when the last one was heard of.
    shown: Option<(BTreeMap<String, u64>, UnixMillis)>,
}

impl Sensing {
    /// Takes in a heartbeat; answers how the sensors are doing.
    pub(super) fn hear(&mut self, beat: &NodeHeartbeat) -> (CoverageState, String) {
        let began = *self.began.get_or_insert(beat.clock);
        self.count(beat);
        let sensors = beat.kernel_view.as_ref().map_or(0, |status| status.sensors.len());
        let silent = beat.clock.saturating_sub(if beat.probe_at > 0 { beat.probe_at } else { began });
        if sensors == 0 && beat.clock.saturating_sub(began) < STARTING_MILLIS {
            (CoverageState::Starting, "its sensors are not attached yet".to_owned())
        } else if sensors == 0 {
            (CoverageState::Failing, "no sensor is attached: what containers do is not seen".to_owned())
        } else if silent > CANARY_MILLIS {
            (
                CoverageState::Failing,
                format!("the canary has not come back for {} min: the sensors see nothing", silent / 60_000),
            )
        } else if let Some((dropped, _)) = &self.shown {
            (CoverageState::Failing, lost(dropped))
        } else if beat.probe_at == 0 {
            (CoverageState::Starting, "the first canary has not come back yet".to_owned())
        } else {
            (
                CoverageState::Seen,
                beat.kernel_view.as_ref().map(|status| text::line(&status.reason)).unwrap_or_default(),
            )
        }
    }

    fn count(&mut self, beat: &NodeHeartbeat) {
        let dropped = |name: &str| Some(name.strip_suffix(".dropped")?.to_owned());
        let told = beat.counters.iter().take(COUNTERS).filter_map(|(name, count)| Some((dropped(name)?, *count)));
        let now: BTreeMap<String, u64> = told.filter(|(_, count)| *count > 0).collect();
        let mut since = self.shown.take().filter(|(_, at)| beat.clock.saturating_sub(*at) < DROPS_MILLIS);
        for (sensor, count) in &now {
            let before = self.dropped.get(sensor).copied().unwrap_or_default();
            // An agent that has started anew counts from zero.
            let more = if *count >= before { count - before } else { *count };
            if more > 0 {
                let (all, at) = since.get_or_insert_default();
                *all.entry(sensor.clone()).or_default() += more;
                *at = beat.clock;
            }
        }
        (self.dropped, self.shown) = (now, since);
    }
}

/// In words that stay the same while little changes: how many by powers of ten.
fn lost(dropped: &BTreeMap<String, u64>) -> String {
    let count: u64 = dropped.values().sum();
    let least = 10u64.pow(count.max(1).ilog10());
    let sensors = dropped.keys().map(|sensor| text::line(sensor)).collect::<Vec<_>>().join(", ");
    format!("at least {least} behaviors were lost in the last 10 min ({sensors}): what was done then may be missing")
}

#[cfg(test)]
mod tests {
    use holdfast_proto::v1::KernelViewState;

    use super::*;

    const MINUTE: UnixMillis = 60_000;
    const NOON: UnixMillis = 1_000 * MINUTE;

    fn beat(clock: UnixMillis, probe_at: UnixMillis, sensors: &[&str], dropped: &[(&str, u64)]) -> NodeHeartbeat {
        let sensors = sensors.iter().map(|hook| (*hook).to_owned()).collect();
        NodeHeartbeat {
            clock,
            probe_at,
            kernel_view: Some(KernelViewState {
                available: true,
                sensors,
                reason: "module: absent".into(),
                ..KernelViewState::default()
            }),
            counters: dropped.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
        }
    }

    fn says(sensing: &mut Sensing, beat: &NodeHeartbeat, state: CoverageState, reason: &str) {
        let told = sensing.hear(beat);
        assert!(told.0 == state && told.1.contains(reason), "{told:?} is not {state}, {reason:?}");
    }

    #[test]
    fn sensors_are_seen_while_their_canary_comes_back_and_blind_three_minutes_later() {
        let sensing = &mut Sensing::default();
        says(sensing, &beat(NOON, 0, &[], &[]), CoverageState::Starting, "not attached yet");
        says(sensing, &beat(NOON + 1, 0, &["file"], &[]), CoverageState::Starting, "first canary");
        says(sensing, &beat(NOON + 2, NOON + 2, &["file"], &[]), CoverageState::Seen, "module: absent");
        says(sensing, &beat(NOON + 3 * MINUTE, NOON + 2, &["file"], &[]), CoverageState::Seen, "");
        says(sensing, &beat(NOON + 4 * MINUTE, NOON + 2, &["file"], &[]), CoverageState::Failing, "canary");
        says(sensing, &beat(NOON + 5 * MINUTE, NOON + 5 * MINUTE, &["file"], &[]), CoverageState::Seen, "");
    }

    #[test]
    fn sensors_that_never_come_are_blind() {
        let sensing = &mut Sensing::default();
        says(sensing, &beat(NOON, 0, &[], &[]), CoverageState::Starting, "");
        says(sensing, &beat(NOON + MINUTE, 0, &[], &[]), CoverageState::Failing, "no sensor is attached");
        let sensing = &mut Sensing::default();
        says(sensing, &beat(NOON, 0, &["file"], &[]), CoverageState::Starting, "");
        says(sensing, &beat(NOON + 4 * MINUTE, 0, &["file"], &[]), CoverageState::Failing, "canary");
    }

    #[test]
    fn what_is_lost_is_shown_for_ten_minutes_and_said_anew_only_when_it_is_ten_times_as_much() {
        let sensing = &mut Sensing::default();
        let at = |minute: i64, dropped: &[(&str, u64)]| {
            let clock = NOON + minute * MINUTE;
            beat(clock, clock, &["file"], dropped)
        };
        says(sensing, &at(0, &[("file.dropped", 0), ("file.generated", 9)]), CoverageState::Seen, "");
        let few = sensing.hear(&at(1, &[("file.dropped", 20)]));
        assert_eq!(few.0, CoverageState::Failing);
        assert!(few.1.starts_with("at least 10 behaviors were lost in the last 10 min (file)"), "{}", few.1);
        assert_eq!(sensing.hear(&at(2, &[("file.dropped", 90)])), few);
        says(sensing, &at(3, &[("agent.dropped", 100), ("file.dropped", 90)]), CoverageState::Failing, "100 behaviors");
        says(sensing, &at(12, &[("agent.dropped", 100), ("file.dropped", 90)]), CoverageState::Failing, "agent, file");
        says(sensing, &at(13, &[("agent.dropped", 100), ("file.dropped", 90)]), CoverageState::Seen, "");
        // A new start of the agent, which has lost something at once.
        says(sensing, &at(14, &[("file.dropped", 3)]), CoverageState::Failing, "at least 1 behaviors");
    }
}
