//! Why retests are made, and when one without an answer is tried again.

use std::fmt;
use std::str::FromStr;

use holdfast_model::{RetestId, UnixMillis};
use serde::{Deserialize, Serialize};

/// Why a retest was requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetestCause {
    /// A user claims that it is fixed.
    Claim,
    /// The agent observed it passing.
    ObservedPass,
    /// The agent observed the subject's deletion.
    ObservedGone,
    /// The control has another version than the one that judged.
    ControlChanged,
    /// A verdict came, but the agent had observed something newer since the order.
    StaleVerdict,
    /// The agent no longer repeats what it had stated.
    NotRepeated,
    /// Its namespace is back in scope.
    ReturnedToScope,
    /// A user asked.
    User,
    /// A verified finding is looked at again from time to time.
    Periodic,
    /// The objects pass, and a process disagreed: looked at again until none does.
    ProcessDisagreed,
    /// The cluster can prove more now than when the finding was verified.
    MethodGained,
    /// The kernel shows what was closed.
    RuntimeEvidence,
    /// Another tool reports what was closed.
    ToolEvidence,
    /// A complete import no longer reports it.
    NotReported,
}

impl RetestCause {
    /// Every cause.
    pub const ALL: &[Self] = &[
        Self::Claim,
        Self::ObservedPass,
        Self::ObservedGone,
        Self::ControlChanged,
        Self::StaleVerdict,
        Self::NotRepeated,
        Self::ReturnedToScope,
        Self::User,
        Self::Periodic,
        Self::ProcessDisagreed,
        Self::MethodGained,
        Self::RuntimeEvidence,
        Self::ToolEvidence,
        Self::NotReported,
    ];

    /// Its name in the API, the wire, the store and the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::ObservedPass => "observed-pass",
            Self::ObservedGone => "observed-gone",
            Self::ControlChanged => "control-changed",
            Self::StaleVerdict => "stale-verdict",
            Self::NotRepeated => "not-repeated",
            Self::ReturnedToScope => "returned-to-scope",
            Self::User => "user",
            Self::Periodic => "periodic",
            Self::ProcessDisagreed => "process-disagreed",
            Self::MethodGained => "method-gained",
            Self::RuntimeEvidence => "runtime-evidence",
            Self::ToolEvidence => "tool-evidence",
            Self::NotReported => "not-reported",
        }
    }
}

impl fmt::Display for RetestCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for RetestCause {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().copied().find(|cause| cause.as_str() == text);
        found.ok_or_else(|| format!("{:?} is not a retest cause", text.chars().take(40).collect::<String>()))
    }
}

/// What a decision means for the finding's retest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetestChange {
    /// It stays as it is.
    Keep,
    /// This one is wanted from now on; the one before it, if any, no longer counts.
    Order {
        /// Drawn by the caller.
        retest: RetestId,
        /// Why.
        cause: RetestCause,
        /// How often the same was asked in vain before: the more of them, the longer it waits.
        attempts: u32,
    },
    /// The same one, asked again with a fresh nonce not before this moment.
    Again {
        /// Earliest time of the next attempt.
        due_at: UnixMillis,
    },
    /// None is wanted any more.
    End,
}

/// The first pause after an answer that settles nothing.
const FIRST_PAUSE: UnixMillis = 5_000;
/// The longest pause.
const LONGEST_PAUSE: UnixMillis = 3_600_000;

/// When a retest that was just ordered is due.
pub fn first_due(now: UnixMillis, attempts: u32) -> UnixMillis {
    if attempts == 0 { now } else { now + backoff(attempts) }
}

/// How long to wait before the next attempt, after this many that settled nothing: doubling from 5 seconds to an hour.
pub fn backoff(attempts: u32) -> UnixMillis {
    let doublings = attempts.saturating_sub(1).min(20);
    (FIRST_PAUSE << doublings).min(LONGEST_PAUSE)
}

/// How many of this many verified findings one pass looks at, so that the passes of a period come round to all of them; at most
/// so many a pass, however many there are.
pub fn share(verified: u64, passes: u64, most: u64) -> u64 {
    verified.div_ceil(passes.max(1)).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_never_exceed_an_hour() {
        let pauses: Vec<_> = [0, 1, 2, 3, 10, 11, 60, u32::MAX].into_iter().map(backoff).collect();
        assert_eq!(pauses, [5_000, 5_000, 10_000, 20_000, 2_560_000, 3_600_000, 3_600_000, 3_600_000]);
    }

    #[test]
    fn the_passes_of_a_period_take_everything_and_one_pass_is_bounded() {
        assert_eq!([0, 1, 1440, 1441, 100_000].map(|verified| share(verified, 1440, 2048)), [0, 1, 1, 2, 70]);
        assert_eq!(share(500, 0, 2048), 500);
        assert_eq!(share(u64::MAX, 1440, 2048), 2048);
    }

    #[test]
    fn every_word_names_its_cause() {
        for cause in RetestCause::ALL {
            assert_eq!(cause.as_str().parse(), Ok(*cause));
        }
        assert!("because".parse::<RetestCause>().is_err());
    }
}
