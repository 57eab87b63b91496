//! What the writer is asked to do, as data, with where each answer goes.

use std::collections::HashSet;

use holdfast_model::{
    Activity, Actor, Attestation, Band, ClusterId, Coverage, DetectionBatch, FindingId, FindingKey, Origin, PatternId,
    Read, Reading, RetestId, RetestOrder, Statement,
};
use holdfast_record::calibration::FleetReading;
use holdfast_record::{Command, Finding, RetestCause};
use holdfast_store::{Connected, Pattern, ScopeProposal, StoreError};
use tokio::sync::oneshot;

use super::{Outcome, WriteError};

/// One statement with its identity, ready to be decided.
#[derive(Debug, Clone)]
pub struct Stated {
    /// The finding's id, derived from the key.
    pub id: FindingId,
    /// The key; its cluster is the certificate's.
    pub key: FindingKey,
    /// What was stated.
    pub statement: Statement,
    /// Which of the batch's reads it was made from.
    pub report: usize,
}

/// One batch, checked.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// The stream's epoch.
    pub epoch: u64,
    /// From 1, without holes.
    pub sequence: u64,
    /// The reads and origins that the statements refer to.
    pub reports: Vec<(Read, Origin)>,
    /// The statements.
    pub stated: Vec<Stated>,
    /// What the kernel showed, each taken once.
    pub detection_batches: Vec<DetectionBatch>,
    /// Coverage that changed; each subject once.
    pub coverage: Vec<Coverage>,
    /// Whether every subject of coverage has been reported in this session.
    pub coverage_complete: bool,
    /// What labels propose.
    pub proposals: Vec<ScopeProposal>,
    /// Buckets that are complete with this batch.
    pub complete: Option<Complete>,
}

/// Buckets of which the agent has repeated everything that fails.
#[derive(Debug, Clone, Default)]
pub struct Complete {
    /// Their numbers.
    pub buckets: Vec<u8>,
    /// What was repeated since the buckets were compared, this batch included.
    pub repeated: HashSet<FindingId>,
}

/// What someone does to one finding.
#[derive(Debug, Clone)]
pub enum Action {
    /// Starts to work on it.
    Start,
    /// Says that it is fixed, with a note that may be empty.
    Claim(String),
    /// Takes that back.
    WithdrawClaim,
    /// Wants it looked at now.
    RequestRetest(RetestCause),
}

impl Action {
    pub(super) fn command(&self) -> Command<'_> {
        match self {
            Self::Start => Command::Start,
            Self::Claim(note) => Command::Claim { note },
            Self::WithdrawClaim => Command::WithdrawClaim,
            Self::RequestRetest(cause) => Command::RequestRetest(*cause),
        }
    }
}

/// What a pattern becomes, as the fleet's job planned it from the row that it read.
#[derive(Debug, Clone)]
pub struct PatternMove {
    /// The pattern as it was read: one that has changed since is left to the next pass.
    pub read: Pattern,
    /// The band that it crosses into, if it does.
    pub crosses_to: Option<Band>,
    /// What was read of the fleet.
    pub reading: Reading,
    /// Whether its findings are to be calibrated after this.
    pub members: bool,
}

/// A pattern whose findings are to be calibrated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Which.
    pub pattern: PatternId,
    /// The reading that they have from now on; none where the policy has no rule for its band.
    pub fleet: Option<FleetReading>,
}

/// Why findings are calibrated.
#[derive(Debug, Clone)]
pub enum Recalibration {
    /// Their pattern has this reading.
    Fleet(Option<FleetReading>),
    /// The policy may be another.
    Policy,
}

/// Keeps the fleet's patterns.
#[derive(Debug)]
pub(super) enum FleetWrite {
    /// Patterns that can only be isolated are settled, at most so many.
    SettleIsolated { at_most_active: u64, limit: u32 },
    /// The findings of these are calibrated.
    Settle(Vec<PatternId>),
    /// All findings are calibrated by this policy.
    PolicyApplied(String),
}

/// An answer to a retest with what makes it a receipt.
#[derive(Debug, Clone)]
pub struct SignedAttestation {
    /// What the agent attests to.
    pub attestation: Attestation,
    /// Its canonical bytes, as text.
    pub text: String,
    /// The agent's signature over them.
    pub signature: Vec<u8>,
    /// The agent's certificate, DER.
    pub certificate: Vec<u8>,
}

/// An action with who does it to what.
#[derive(Debug)]
pub(super) struct FindingJob {
    pub actor: Actor,
    pub cluster: ClusterId,
    pub finding: FindingId,
    pub action: Action,
}

/// Where an answer goes, and the answer itself while it waits for the commit.
#[derive(Debug)]
pub(super) struct Reply<T> {
    to: oneshot::Sender<Outcome<T>>,
    outcome: Option<Outcome<T>>,
}

impl<T> Reply<T> {
    pub(super) fn to(to: oneshot::Sender<Outcome<T>>) -> Self {
        Self { to, outcome: None }
    }

    /// Keeps the outcome. A refusal is an answer; the database's failure ends the transaction.
    pub(super) fn keep(&mut self, outcome: Outcome<T>) -> Result<(), StoreError> {
        let failed = match &outcome {
            Err(WriteError::Store(error)) => Err(StoreError::Aborted(error.clone())),
            _ => Ok(()),
        };
        self.outcome = Some(outcome);
        failed
    }

    fn send(self, committed: Outcome<()>) {
        let outcome = committed.and_then(|()| self.outcome.unwrap_or(Err(WriteError::Stopped)));
        // Whoever asked may wait no more; what was committed stays.
        let _gone = self.to.send(outcome);
    }
}

#[derive(Debug)]
pub(super) enum Task {
    Connect { cluster: ClusterId, hello: Connected, reply: Reply<u64> },
    Apply { cluster: ClusterId, batch: Box<Batch>, reply: Reply<bool> },
    Act { job: FindingJob, reply: Reply<Finding> },
    Scope { actor: Actor, cluster: ClusterId, excluded: Vec<String>, reply: Reply<()> },
    Dispatch { cluster: ClusterId, retests: Vec<RetestId>, reply: Reply<Vec<RetestOrder>> },
    Answer { cluster: ClusterId, answer: Box<SignedAttestation>, reply: Reply<Finding> },
    Seen { cluster: ClusterId },
    Note { activity: Activity, reply: Reply<()> },
    Patterns { moves: Vec<PatternMove>, reply: Reply<Vec<Moved>> },
    Fleet { write: FleetWrite, reply: Reply<u64> },
    Calibrate { members: Vec<(ClusterId, FindingId)>, why: Recalibration, reply: Reply<()> },
}

impl Task {
    /// Answers: with what was kept if it was committed, else with why not.
    pub(super) fn answer(self, committed: Outcome<()>) {
        match self {
            Self::Connect { reply, .. } => reply.send(committed),
            Self::Apply { reply, .. } => reply.send(committed),
            Self::Act { reply, .. } => reply.send(committed),
            Self::Scope { reply, .. } | Self::Note { reply, .. } | Self::Calibrate { reply, .. } => {
                reply.send(committed)
            }
            Self::Patterns { reply, .. } => reply.send(committed),
            Self::Fleet { reply, .. } => reply.send(committed),
            Self::Dispatch { reply, .. } => reply.send(committed),
            Self::Answer { reply, .. } => reply.send(committed),
            Self::Seen { .. } => {}
        }
    }

    /// About how many rows it touches.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Apply { batch, .. } => batch.stated.len().max(1),
            Self::Dispatch { retests, .. } => retests.len().max(1),
            Self::Calibrate { members, .. } => members.len().max(1),
            Self::Patterns { moves, .. } => moves.len().max(1),
            _ => 1,
        }
    }
}
