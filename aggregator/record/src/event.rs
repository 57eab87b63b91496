//! What happens to findings, as types: every event with its payload. It becomes JSON where it enters the log, and nowhere else.

use holdfast_model::{
    Activity, Actor, ClusterId, FindingId, Reach, RetestId, RetiredReason, Severity, Status, UnixMillis, Verdict,
};
use serde::Serialize;

use crate::calibration::Calibration;
use crate::detection::Source;
use crate::retest::RetestCause;

/// One event of a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Why, in one plain sentence.
    pub cause: String,
    /// What happened.
    pub happened: Happened,
}

/// What happened, with its payload. Fields are named as they stand in the log; `locations` is their number.
#[expect(missing_docs, reason = "the fields' names and types say what they are")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Happened {
    /// A record begins.
    FindingOpened { severity: Severity, source: Source, count: u64, locations: usize },
    /// It fails elsewhere, or by another version.
    FindingChanged { severity: Severity, version: u32, locations: usize },
    /// Its owner works on it.
    FindingStarted {},
    /// It is claimed or observed to be fixed.
    FindingResolved(By),
    /// The claim is taken back.
    ClaimWithdrawn {},
    /// The claim, or the observation, was wrong.
    ClaimRefuted { claimed: bool, locations: usize },
    /// A proof closes it.
    FindingVerified(Proof),
    /// A retest agrees with where it stands.
    RetestConfirmed(Proof),
    /// A proof goes further than the one before.
    ProofExtended { from: Reach, to: Reach, retest: RetestId },
    /// What a proof describes was deleted.
    FindingNoLongerCurrent {},
    /// It came back.
    FindingReopened { from: Status, count: u32, locations: usize },
    /// It ends without a fix.
    FindingRetired { from: Status, reason: RetiredReason },
    /// Another version of its control judges it.
    ControlChanged { version: u32 },
    /// A retest is wanted.
    RetestRequested { cause: RetestCause },
    /// A verdict came after something newer had been observed.
    VerdictStale { verdict: Verdict },
    /// A retest settled nothing and is repeated.
    RetestUnsettled { verdict: &'static str, attempts: u32, due_at: UnixMillis },
    /// The kernel shows something new of it.
    RuntimeEvidence { source: Source, count: u64, locations: usize },
    /// Another tool reports something new of it.
    ToolEvidence { source: Source, count: u64, locations: usize },
    /// A retest disputes what a tool reports.
    DetectionDisputed { source: Source },
    /// Its severity moved.
    SeverityRecalibrated { from: Severity, to: Severity, calibration: Option<Calibration> },
}

/// Who or what resolved it.
#[expect(missing_docs, reason = "the fields' names and types say what they are")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum By {
    /// Its owner, with a note that may be empty.
    Claim { note: String },
    /// The agent, from its watch.
    Observation,
    /// The agent, from a retest that nobody's claim had asked for.
    Retest { retest: RetestId },
    /// A complete import that no longer reports it.
    Import { source: Source },
}

/// What a verdict rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// The retest.
    pub retest: RetestId,
    /// Its verdict.
    pub verdict: Verdict,
    /// How far it went.
    pub reach: Reach,
    /// How many objects were read.
    pub reads: usize,
}

impl Happened {
    /// Its name in the log: a kebab-case word.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::FindingOpened { .. } => "finding-opened",
            Self::FindingChanged { .. } => "finding-changed",
            Self::FindingStarted {} => "finding-started",
            Self::FindingResolved(_) => "finding-resolved",
            Self::ClaimWithdrawn {} => "claim-withdrawn",
            Self::ClaimRefuted { .. } => "claim-refuted",
            Self::FindingVerified(_) => "finding-verified",
            Self::RetestConfirmed(_) => "retest-confirmed",
            Self::ProofExtended { .. } => "proof-extended",
            Self::FindingNoLongerCurrent {} => "finding-no-longer-current",
            Self::FindingReopened { .. } => "finding-reopened",
            Self::FindingRetired { .. } => "finding-retired",
            Self::ControlChanged { .. } => "control-changed",
            Self::RetestRequested { .. } => "retest-requested",
            Self::VerdictStale { .. } => "verdict-stale",
            Self::RetestUnsettled { .. } => "retest-unsettled",
            Self::RuntimeEvidence { .. } => "runtime-evidence",
            Self::ToolEvidence { .. } => "tool-evidence",
            Self::DetectionDisputed { .. } => "detection-disputed",
            Self::SeverityRecalibrated { .. } => "severity-recalibrated",
        }
    }
}

impl Event {
    /// The entry of the activity log: here the payload becomes JSON.
    pub fn activity(
        self,
        at: UnixMillis,
        actor: &Actor,
        cluster: ClusterId,
        finding: FindingId,
    ) -> Result<Activity, serde_json::Error> {
        Ok(Activity {
            at,
            actor: actor.clone(),
            event: self.happened.name().to_owned(),
            cluster: Some(cluster),
            finding: Some(finding),
            cause: self.cause,
            detail: serde_json::to_value(self.happened)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn payloads_are_plain_objects_without_floats() {
        let payload = |happened: Happened| serde_json::to_value(happened).unwrap();
        assert_eq!(payload(Happened::FindingStarted {}), json!({}));
        let by = Happened::FindingResolved(By::Claim { note: "patched".into() });
        assert_eq!(payload(by), json!({ "by": "claim", "note": "patched" }));
        let (from, reason) = (Status::Resolved, RetiredReason::Deleted);
        let retired = Happened::FindingRetired { from, reason };
        assert_eq!(payload(retired), json!({ "from": "resolved", "reason": "deleted" }));
        let source = Source::Tool("trivy".into());
        assert_eq!(payload(Happened::DetectionDisputed { source }), json!({ "source": "tool:trivy" }));
    }
}
