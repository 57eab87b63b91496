//! What has to be done about a pattern: whether it crosses into another band, and whether its findings have to be calibrated. The
//! fleet's job reads patterns and asks here; the writer applies the answer.

use holdfast_model::{Band, Reading, UnixMillis};

use crate::calibration::Policy;
use crate::fleet::{Next, next_band};

/// Why a pattern is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// The fleet or the clock may have moved its band.
    Sweep,
    /// Its count has changed: some of its findings may be new.
    CountChanged,
    /// Its band was decided, and its findings were not calibrated since.
    Unfinished,
    /// The policy is another than the last time.
    PolicyChanged,
}

/// What has to be done about a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// What becomes of its band.
    pub next: Next,
    /// Whether its findings have to be calibrated.
    pub members: bool,
}

/// Plans for one pattern. Its findings follow when it crosses; where only its count has changed, they follow if their band has a
/// rule, since some may be new; under another policy they follow in any case.
pub fn plan(policy: &Policy, occasion: Occasion, pattern: Placed, reading: Reading, now: UnixMillis) -> Plan {
    let next = next_band(&policy.bands, reading, pattern.band, pattern.since, now);
    let members = match (next, occasion) {
        (Next::Change(_), _) | (_, Occasion::Unfinished | Occasion::PolicyChanged) => true,
        (_, Occasion::CountChanged) => policy.rule(pattern.band).is_some(),
        (_, Occasion::Sweep) => false,
    };
    Plan { next, members }
}

/// The band that a pattern is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Which.
    pub band: Band,
    /// Since when.
    pub since: Option<UnixMillis>,
}

/// At most this many active findings leave a pattern isolated whatever else is known, and no rule applies to it there.
pub fn settled_at_most(policy: &Policy) -> u64 {
    match policy.rule(Band::Isolated) {
        None => u64::from(policy.bands.several.clusters).saturating_sub(1),
        Some(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_follow_a_crossing_and_where_some_may_be_new_or_the_policy_is() {
        use Band::*;
        use Occasion::*;
        let policy = crate::calibration::tests::policy();
        let members = |occasion, band, clusters| {
            let reading = Reading { clusters, judging: 10 };
            plan(&policy, occasion, Placed { band, since: None }, reading, 0).members
        };
        for (occasion, band, clusters, expected) in [
            (Sweep, Several, 2, false),
            (Sweep, Several, 4, true),
            (CountChanged, Several, 2, false),
            (CountChanged, Widespread, 4, true),
            (Unfinished, Several, 2, true),
            (PolicyChanged, Several, 2, true),
        ] {
            assert_eq!(members(occasion, band, clusters), expected, "{occasion:?} in {band} with {clusters}");
        }
        assert_eq!(settled_at_most(&policy), 0, "this policy has a rule for isolated");
    }
}
