//! A finding: the one record of (cluster, resource, control).
//!
//! Its identity never changes. Its state is what the lifecycle decides, stored in one serialised form; what belongs to one
//! status alone lives in that status. Its detections are the evidence, stored one by one. Only the room `record` decides what
//! any of it becomes; the store keeps it, the API shows it.

use holdfast_model::digest::{StatementHash, statement_hash};
use holdfast_model::{
    Actor, FindingId, FindingKey, Location, Origin, PatternId, Reach, Read, RetestId, RetiredReason, Severity, Status,
    UnixMillis,
};
use serde::{Deserialize, Serialize};

use crate::calibration::{Calibration, Factor, FleetReading};
use crate::detection::{Detection, Source};

/// One primary record for one (cluster, resource, control).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Derived from the key.
    pub id: FindingId,
    /// Derived from the key without its cluster.
    pub pattern: PatternId,
    /// The identity.
    pub key: FindingKey,
    /// Where it stands, and what led there.
    pub state: State,
    /// The evidence, at most one of each source, in the order of their sources.
    pub detections: Vec<Detection>,
}

/// Everything about a finding but its identity and its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Its status, with what belongs to that status alone.
    pub phase: Phase,
    /// Severity by the catalog, as the last failing statement gave it.
    pub base_severity: Severity,
    /// The calibration in force, if any rule of the policy applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Since when that calibration is in force; the last change where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibrated_at: Option<UnixMillis>,
    /// How far its pattern has spread, where that is in a band with a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetReading>,
    /// Version of the control that Holdfast's last judgement used.
    pub control_version: u32,
    /// Where the resource comes from.
    pub origin: Origin,
    /// Which version of the object Holdfast last looked at.
    pub read: Read,
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
    /// How often it came back after it had been verified or retired.
    pub reopened: u32,
    /// How often a claim was refuted.
    pub refuted: u32,
    /// Why the agent cannot judge it at present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unjudged: Option<String>,
    /// The retest under way, if any: the only one whose verdict counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retest: Option<RetestId>,
}

/// A status with its data. [`Status`] is the same without, for queries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum Phase {
    /// Reported, and nobody says otherwise.
    Open,
    /// Its owner works on it.
    InProgress,
    /// Claimed or observed to be fixed, and not proved yet: a retest is under way.
    Resolved {
        /// Since when.
        at: UnixMillis,
        /// Who says that it is fixed; none where Holdfast observed it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        claimed_by: Option<Actor>,
        /// Why it could not be proved yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unverified: Option<String>,
    },
    /// Proved fixed by a retest.
    Verified {
        /// When.
        at: UnixMillis,
        /// Since when it had been resolved.
        resolved_at: UnixMillis,
        /// How far the proof went.
        reach: Reach,
        /// Whether the proof still describes something that exists: false once the subject was deleted.
        current: bool,
    },
    /// Ended without a fix.
    Retired {
        /// When.
        at: UnixMillis,
        /// Why.
        reason: RetiredReason,
    },
}

impl Phase {
    /// Without its data.
    pub const fn status(&self) -> Status {
        match self {
            Self::Open => Status::Open,
            Self::InProgress => Status::InProgress,
            Self::Resolved { .. } => Status::Resolved,
            Self::Verified { .. } => Status::Verified,
            Self::Retired { .. } => Status::Retired,
        }
    }

    /// Since when it is closed, if it is.
    pub const fn closed_at(&self) -> Option<UnixMillis> {
        match self {
            Self::Verified { at, .. } | Self::Retired { at, .. } => Some(*at),
            Self::Open | Self::InProgress | Self::Resolved { .. } => None,
        }
    }
}

impl Finding {
    /// A record that begins now, with its first detection: open, and nothing else has happened to it yet.
    pub fn new(key: FindingKey, origin: Origin, detection: Detection, control_version: u32, at: UnixMillis) -> Self {
        Self {
            id: key.finding_id(),
            pattern: key.pattern_id(),
            key,
            state: State {
                phase: Phase::Open,
                base_severity: detection.severity,
                calibration: None,
                calibrated_at: None,
                fleet: None,
                control_version,
                origin,
                read: Read::default(),
                observed: 1,
                opened_at: at,
                first_seen_at: at,
                changed_at: at,
                status_at: at,
                reopened: 0,
                refuted: 0,
                unjudged: None,
                retest: None,
            },
            detections: vec![detection],
        }
    }

    /// The same from a failing statement of the posture, which the agent's ledger holds from then on.
    pub fn opened(
        key: FindingKey,
        severity: Severity,
        control_version: u32,
        locations: Vec<Location>,
        at: UnixMillis,
    ) -> Self {
        let statement = statement_hash(key.finding_id(), control_version, &locations);
        let detection =
            Detection { statement: Some(statement), ..Detection::posture(severity, control_version, locations, at) };
        Self::new(key, Origin::default(), detection, control_version, at)
    }

    /// Its status.
    pub const fn status(&self) -> Status {
        self.state.phase.status()
    }

    /// The severity in force: calibrated, else the catalog's.
    pub fn severity(&self) -> Severity {
        let State { calibration, base_severity, .. } = &self.state;
        calibration.as_ref().map_or(*base_severity, |calibration| calibration.severity)
    }

    /// Everything that is read for its severity. `by_processes` says whether its control is judged by running processes: what
    /// merely shows the use of something open moves nothing, and neither does the kernel's evidence alone.
    pub fn readings(&self, by_processes: bool) -> Vec<Factor> {
        let kernel = self.kernel().filter(|_| by_processes && self.detection(&Source::Posture).is_some());
        let runtime = kernel.map(|kernel| Factor::Runtime { since: kernel.seen.first_seen_at });
        runtime.into_iter().chain(self.state.fleet.clone().map(Factor::Fleet)).collect()
    }

    /// How far its proof went, while it is verified.
    pub const fn reach(&self) -> Option<Reach> {
        match self.state.phase {
            Phase::Verified { reach, .. } => Some(reach),
            _ => None,
        }
    }

    /// When it was claimed or observed to be fixed.
    pub const fn resolved_at(&self) -> Option<UnixMillis> {
        match self.state.phase {
            Phase::Resolved { at, .. } | Phase::Verified { resolved_at: at, .. } => Some(at),
            _ => None,
        }
    }

    /// When it was proved fixed.
    pub const fn verified_at(&self) -> Option<UnixMillis> {
        match self.state.phase {
            Phase::Verified { at, .. } => Some(at),
            _ => None,
        }
    }

    /// Why it ended without a fix.
    pub const fn retired_reason(&self) -> Option<RetiredReason> {
        match self.state.phase {
            Phase::Retired { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// Why a resolved finding could not be proved yet.
    pub fn unverified(&self) -> Option<&str> {
        match &self.state.phase {
            Phase::Resolved { unverified, .. } => unverified.as_deref(),
            _ => None,
        }
    }

    /// Whether what a proof describes still exists.
    pub const fn is_current(&self) -> bool {
        !matches!(self.state.phase, Phase::Verified { current: false, .. })
    }

    /// Where it fails: by the first source that still states it, else by the first that did.
    pub fn locations(&self) -> &[Location] {
        let standing = self.detections.iter().find(|detection| detection.is_standing());
        standing.or(self.detections.first()).map_or(&[], |detection| &detection.seen.locations)
    }

    /// What this source states or has stated.
    pub fn detection(&self, source: &Source) -> Option<&Detection> {
        self.detections.iter().find(|detection| detection.source == *source)
    }

    /// The hash by which the agent's ledger holds it: the aggregator's side of the ledger digest.
    pub fn statement(&self) -> Option<StatementHash> {
        self.detection(&Source::Posture).and_then(|posture| posture.statement)
    }

    /// What the kernel shows of it, unless a proof that reached the processes has ended that.
    pub fn kernel(&self) -> Option<&Detection> {
        self.detection(&Source::Kernel).filter(|kernel| kernel.is_standing())
    }

    pub(crate) fn detection_mut(&mut self, source: &Source) -> Option<&mut Detection> {
        self.detections.iter_mut().find(|detection| detection.source == *source)
    }

    /// Adds the first detection of its source, in its place.
    pub(crate) fn add_detection(&mut self, detection: Detection) {
        let at = self.detections.partition_point(|known| known.source < detection.source);
        self.detections.insert(at, detection);
    }
}
