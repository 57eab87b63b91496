//! The full state of one finding, as the lifecycle reads and writes it.
//!
//! Only the room `record` decides what the fields become; the store keeps them, the API shows them. Two things that look
//! alike are kept apart: `status` is where the record stands, `statement` is what the agent's ledger last said.

use holdfast_model::digest::{StatementHash, statement_hash};
use holdfast_model::{
    Actor, FindingId, FindingKey, Location, Origin, PatternId, Reach, Read, RetestId, RetiredReason, RuntimeEvidence,
    Severity, Status, UnixMillis,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::calibration::Raise;

/// One primary record for one (cluster, resource, control).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Derived from the key.
    pub id: FindingId,
    /// Derived from the key without its cluster.
    pub pattern: PatternId,
    /// The identity.
    pub key: FindingKey,
    /// Where it stands.
    pub status: Status,
    /// Severity by the catalog, as the last failing statement gave it.
    pub base_severity: Severity,
    /// The calibration in force, if any.
    pub calibration: Option<Calibration>,
    /// Version of the control that the last judgement used.
    pub control_version: u32,
    /// Where it failed when it was last seen failing.
    pub locations: Vec<Location>,
    /// Where the resource comes from.
    pub origin: Origin,
    /// Which version of the object was last looked at.
    pub read: Read,
    /// Hash of the agent's last statement, if that was a failing one: the aggregator's side of the ledger digest.
    pub statement: Option<StatementHash>,
    /// Number of observations that were applied: a verdict is stale if it grew since its order.
    pub observed: u64,
    /// First detection, or the last reopening.
    pub opened_at: UnixMillis,
    /// First detection ever.
    pub first_seen_at: UnixMillis,
    /// Last change of this record.
    pub changed_at: UnixMillis,
    /// Last change of its status.
    pub status_at: UnixMillis,
    /// Since when it is resolved.
    pub resolved_at: Option<UnixMillis>,
    /// Who said that it is fixed; none where Holdfast saw it for itself.
    pub claimed_by: Option<Actor>,
    /// When it was proved fixed.
    pub verified_at: Option<UnixMillis>,
    /// How far the proof went.
    pub reach: Option<Reach>,
    /// When it ended without a fix.
    pub retired_at: Option<UnixMillis>,
    /// Why it ended without a fix.
    pub retired_reason: Option<RetiredReason>,
    /// How often it came back after it had been verified or retired.
    pub reopened: u32,
    /// How often a claim was refuted.
    pub refuted: u32,
    /// Whether the proof still describes something that exists: false once a verified subject was deleted.
    pub current: bool,
    /// Why a resolved finding could not be verified yet.
    pub unverified: Option<String>,
    /// Why the agent cannot judge it at present.
    pub unjudged: Option<String>,
    /// The retest under way, if any: the only one whose verdict counts.
    pub retest: Option<RetestId>,
    /// What the kernel showed of it since it was last proved fixed.
    pub runtime: Option<Runtime>,
}

/// Evidence from the kernel, and what it does to the severity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// What was seen.
    pub seen: RuntimeEvidence,
    /// By how many steps it raises the severity; none where nothing but the kernel reports the problem.
    pub raise: u8,
    /// By which rule; records from before rules were data have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Raise>,
}

impl Finding {
    /// A record that begins now, with a failing statement: open, and nothing else has happened to it yet.
    pub fn opened(
        key: FindingKey,
        severity: Severity,
        control_version: u32,
        locations: Vec<Location>,
        at: UnixMillis,
    ) -> Self {
        let id = key.finding_id();
        Self {
            id,
            pattern: key.pattern_id(),
            key,
            status: Status::Open,
            base_severity: severity,
            calibration: None,
            control_version,
            statement: Some(statement_hash(id, control_version, &locations)),
            locations,
            origin: Origin::default(),
            read: Read::default(),
            observed: 1,
            opened_at: at,
            first_seen_at: at,
            changed_at: at,
            status_at: at,
            resolved_at: None,
            claimed_by: None,
            verified_at: None,
            reach: None,
            retired_at: None,
            retired_reason: None,
            reopened: 0,
            refuted: 0,
            current: true,
            unverified: None,
            unjudged: None,
            retest: None,
            runtime: None,
        }
    }

    /// The severity that counts: calibrated, else the catalog's, raised by what the kernel showed.
    pub fn severity(&self) -> Severity {
        let calibrated = self.calibration.as_ref().map_or(self.base_severity, |calibration| calibration.severity);
        let raise = self.runtime.as_ref().map_or(0, |runtime| usize::from(runtime.raise));
        let at = Severity::ALL.iter().position(|&severity| severity == calibrated).unwrap_or_default();
        Severity::ALL.get(at + raise).copied().unwrap_or(Severity::Critical)
    }
}

/// What moved a severity away from the catalog's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calibration {
    /// The severity in force.
    pub severity: Severity,
    /// Why, in one plain sentence.
    pub cause: String,
    /// Readings, rule and approver.
    pub detail: Value,
    /// Since when.
    pub at: UnixMillis,
}
