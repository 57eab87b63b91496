//! What the writer is asked to do, as data, with where each answer goes.

use std::collections::HashSet;

use holdfast_model::{
    Activity, Actor, Attestation, ClusterId, Coverage, DetectionBatch, FindingId, FindingKey, Origin, Read, RetestId,
    RetestOrder, Severity, Statement,
};
use holdfast_record::{Command, Finding, RetestCause};
use holdfast_store::{Connected, ScopeProposal, StoreError};
use serde_json::Value;
use tokio::sync::oneshot;

use super::{Outcome, WriteError};

/// One statement with its identity, ready to be decided.
#[derive(Debug, Clone)]
pub struct Stated {
    /// The finding's id, derived from the key.
    pub id: FindingId,
    /// The key; its cluster is the certificate's.
    pub key: FindingKey,
    /// What was said.
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
    /// Whether every subject of coverage has been said in this session.
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
    /// Moves its severity, or (with none) returns it to the catalog's.
    Recalibrate {
        /// The calibrated severity.
        severity: Option<Severity>,
        /// Why, in one plain sentence.
        cause: String,
        /// Readings, rule and approver.
        detail: Value,
    },
}

impl Action {
    pub(super) fn command(&self) -> Command<'_> {
        match self {
            Self::Start => Command::Start,
            Self::Claim(note) => Command::Claim { note },
            Self::WithdrawClaim => Command::WithdrawClaim,
            Self::RequestRetest(cause) => Command::RequestRetest(*cause),
            Self::Recalibrate { severity, cause, detail } => {
                Command::Recalibrate { severity: *severity, cause, detail }
            }
        }
    }
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
pub(super) struct Job {
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
    Connect { cluster: ClusterId, said: Connected, reply: Reply<u64> },
    Apply { cluster: ClusterId, batch: Box<Batch>, reply: Reply<bool> },
    Act { job: Job, reply: Reply<Finding> },
    Scope { actor: Actor, cluster: ClusterId, excluded: Vec<String>, reply: Reply<()> },
    Dispatch { cluster: ClusterId, retests: Vec<RetestId>, reply: Reply<Vec<RetestOrder>> },
    Answer { cluster: ClusterId, answer: Box<SignedAttestation>, reply: Reply<Finding> },
    Seen { cluster: ClusterId },
    Note { activity: Activity, reply: Reply<()> },
}

impl Task {
    /// Answers: with what was kept if it was committed, else with why not.
    pub(super) fn answer(self, committed: Outcome<()>) {
        match self {
            Self::Connect { reply, .. } => reply.send(committed),
            Self::Apply { reply, .. } => reply.send(committed),
            Self::Act { reply, .. } => reply.send(committed),
            Self::Scope { reply, .. } | Self::Note { reply, .. } => reply.send(committed),
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
            _ => 1,
        }
    }
}
