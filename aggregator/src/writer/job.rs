//! What the writer is asked to do, as data, with where each answer goes.

use std::collections::HashSet;

use holdfast_model::{
    Activity, Actor, ClusterId, Coverage, Detection, FindingId, FindingKey, Origin, Read, RetestId, RetestOrder,
    Severity, Statement, Testimony,
};
use holdfast_record::{Command, Finding, RetestCause};
use holdfast_store::{Connected, ScopeProposal};
use serde_json::Value;
use tokio::sync::oneshot;

use super::Outcome;

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
    /// What the kernel showed.
    pub detections: Vec<Detection>,
    /// Coverage that changed; each subject once.
    pub coverage: Vec<Coverage>,
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
pub struct SignedTestimony {
    /// What the agent swears to.
    pub testimony: Testimony,
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

type Reply<T> = oneshot::Sender<Outcome<T>>;

#[derive(Debug)]
pub(super) enum Task {
    Connect { cluster: ClusterId, said: Connected, reply: Reply<u64> },
    Apply { cluster: ClusterId, batch: Box<Batch>, reply: Reply<bool> },
    Act { job: Job, reply: Reply<Finding> },
    Scope { actor: Actor, cluster: ClusterId, excluded: Vec<String>, reply: Reply<()> },
    Dispatch { cluster: ClusterId, retests: Vec<RetestId>, reply: Reply<Vec<RetestOrder>> },
    Answer { cluster: ClusterId, answer: Box<SignedTestimony>, reply: Reply<Finding> },
    Seen { cluster: ClusterId },
    Note { activity: Activity, reply: Reply<()> },
}

impl Task {
    /// About how many rows it touches.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Apply { batch, .. } => batch.stated.len().max(1),
            Self::Dispatch { retests, .. } => retests.len().max(1),
            _ => 1,
        }
    }
}
