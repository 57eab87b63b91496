//! A finding to write, as the tables that follow from it need it: findings, detections, counts and patterns.

use holdfast_model::{Reach, Severity, Status};
use holdfast_record::Finding;

/// A finding to write, with what it was before: the counts follow from the difference.
#[derive(Debug, Clone, Copy)]
pub struct Written<'a> {
    /// Under what it was counted before; none for a new one.
    pub before: Option<Counted>,
    /// From now on.
    pub after: &'a Finding,
    /// Whether its detections changed.
    pub evidence: bool,
}

/// Under what a finding is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counted {
    /// Status.
    pub status: Status,
    /// Severity in force.
    pub severity: Severity,
    /// How far its proof went; proofs of different reach are counted apart.
    pub reach: Option<Reach>,
}

impl Counted {
    /// Under what this finding is counted.
    pub fn of(finding: &Finding) -> Self {
        Self { status: finding.status(), severity: finding.severity(), reach: finding.reach() }
    }
}
