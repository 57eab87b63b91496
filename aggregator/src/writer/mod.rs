//! The one task that changes findings. It folds whatever is waiting into one transaction, decides each job with `record`,
//! commits once, and only then answers and tells the watchers: what was acknowledged is on disk.
//!
//! A job that is refused leaves no trace, and so does one that the database refuses; a database that is away refuses the
//! whole group, and every agent sends again.

use std::sync::Arc;

use holdfast_model::{Activity, Actor, ClusterId, FindingId, PatternId, RetestId, RetestOrder};
use holdfast_record::calibration::Policy;
use holdfast_record::{Finding, Refused};
use holdfast_store::{Connected, Store, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::environment::SharedEnvironment;
use crate::live::{Live, LiveChange};
use crate::sessions::Sessions;
use group::WriteContext;

mod group;
mod job;
#[cfg(test)]
mod tests;
mod write_group;

pub use job::{Action, Batch, Complete, Moved, PatternMove, Recalibration, SignedAttestation, Stated};
use job::{FindingJob, FleetWrite, Reply, Task};

/// Jobs that may wait before a sender has to.
const QUEUE: usize = 256;
/// Most jobs in one transaction.
const GROUP_JOBS: usize = 128;
/// A transaction takes no further job once it has this many statements.
const GROUP_STATEMENTS: usize = 8192;

/// Why a job left no trace.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// The database failed; nothing of the job was kept.
    #[error("the record could not be written")]
    Store(#[source] Arc<StoreError>),
    /// The writer has ended.
    #[error("the aggregator is shutting down")]
    Stopped,
    /// There is no such cluster, or it was revoked.
    #[error("this cluster is not known here, or was revoked")]
    NoCluster,
    /// The batch belongs to a stream that another one has replaced.
    #[error("epoch {stated} is over: the current one is {current}")]
    StaleEpoch {
        /// Of the batch.
        stated: u64,
        /// The present one.
        current: u64,
    },
    /// A batch before this one is missing.
    #[error("batch {stated} came where {expected} was due")]
    Hole {
        /// Of the batch.
        stated: u64,
        /// The next one.
        expected: u64,
    },
    /// Another active cluster has this fingerprint.
    #[error(
        "the cluster {name:?} has this fingerprint already: if this is the same cluster, revoke that entry and connect \
         again; if one was cloned from the other, give the clone a kube-system namespace of its own"
    )]
    FingerprintHeld {
        /// Its name.
        name: String,
    },
    /// The credential comes from another cluster than the one that it was issued to.
    #[error(
        "this credential was issued to a cluster with another fingerprint: if the cluster was rebuilt, add it anew; if \
         the credential was copied, revoke it"
    )]
    FingerprintChanged,
    /// The lifecycle has no such arrow.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl From<StoreError> for WriteError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// Of every job.
pub type Outcome<T> = Result<T, WriteError>;

/// Where jobs are handed in. Cheap to clone; the writer ends when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Writer {
    queue: mpsc::Sender<Task>,
}

impl Writer {
    /// Starts the task.
    pub fn start(
        store: Store,
        environment: SharedEnvironment,
        policy: Arc<Policy>,
        live: Live,
        sessions: Sessions,
    ) -> (Self, JoinHandle<()>) {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let task = tokio::spawn(run(jobs, WriteContext { store, environment, policy }, live, sessions));
        (Self { queue }, task)
    }

    /// Starts the next epoch of a cluster whose agent has sent Hello.
    pub async fn connect(&self, cluster: ClusterId, hello: Connected) -> Outcome<u64> {
        self.ask(|reply| Task::Connect { cluster, hello, reply }).await
    }

    /// Applies a batch, once: true if it was new, false if it had been applied before. Returns when it is queued, so that
    /// batches keep their order; the answer comes after the commit.
    pub async fn apply(&self, cluster: ClusterId, batch: Batch) -> Outcome<Pending<bool>> {
        self.submit(|reply| Task::Apply { cluster, batch: Box::new(batch), reply }).await
    }

    /// Does something to a finding. The answer is the finding as it is now.
    pub async fn act(&self, actor: Actor, cluster: ClusterId, finding: FindingId, action: Action) -> Outcome<Finding> {
        let job = FindingJob { actor, cluster, finding, action };
        self.ask(|reply| Task::Act { job, reply }).await
    }

    /// Replaces the list of namespaces that are left out of a cluster's scope; its findings follow.
    pub async fn set_scope(&self, actor: Actor, cluster: ClusterId, excluded: Vec<String>) -> Outcome<()> {
        self.ask(|reply| Task::Scope { actor, cluster, excluded, reply }).await
    }

    /// Draws nonces for these retests and notes them as sent. The answer are the orders to send; a retest that is no
    /// longer wanted has none.
    pub async fn dispatch(&self, cluster: ClusterId, retests: Vec<RetestId>) -> Outcome<Vec<RetestOrder>> {
        self.ask(|reply| Task::Dispatch { cluster, retests, reply }).await
    }

    /// Records the answer to a retest. Its signature has been checked. Queued in order, as batches are.
    pub async fn answer(&self, cluster: ClusterId, answer: SignedAttestation) -> Outcome<Pending<Finding>> {
        self.submit(|reply| Task::Answer { cluster, answer: Box::new(answer), reply }).await
    }

    /// Notes with the next group that the agent of a cluster has sent something.
    pub async fn seen(&self, cluster: ClusterId) -> Outcome<()> {
        self.queue.send(Task::Seen { cluster }).await.map_err(|_| WriteError::Stopped)
    }

    /// Records something that changes no finding.
    pub async fn note(&self, activity: Activity) -> Outcome<()> {
        self.ask(|reply| Task::Note { activity, reply }).await
    }

    /// Keeps what patterns become. The answer are those whose findings are to be calibrated now; what has changed since it was
    /// read is left out.
    pub async fn move_patterns(&self, moves: Vec<PatternMove>) -> Outcome<Vec<Moved>> {
        self.ask(|reply| Task::Patterns { moves, reply }).await
    }

    /// Calibrates these findings, whichever clusters they are of, in one transaction.
    pub async fn calibrate(&self, members: Vec<(ClusterId, FindingId)>, why: Recalibration) -> Outcome<()> {
        self.ask(|reply| Task::Calibrate { members, why, reply }).await
    }

    /// The findings of these patterns have been calibrated.
    pub async fn settle_patterns(&self, patterns: Vec<PatternId>) -> Outcome<()> {
        self.ask(|reply| Task::Fleet { write: FleetWrite::Settle(patterns), reply }).await.map(|_| ())
    }

    /// Settles patterns that can only be isolated, at most so many; the answer is how many.
    pub async fn settle_isolated(&self, at_most_active: u64, limit: u32) -> Outcome<u64> {
        let write = FleetWrite::SettleIsolated { at_most_active, limit };
        self.ask(|reply| Task::Fleet { write, reply }).await
    }

    /// All findings have been calibrated by this policy.
    pub async fn policy_applied(&self, policy: String) -> Outcome<()> {
        self.ask(|reply| Task::Fleet { write: FleetWrite::PolicyApplied(policy), reply }).await.map(|_| ())
    }

    async fn ask<T>(&self, task: impl FnOnce(Reply<T>) -> Task) -> Outcome<T> {
        self.submit(task).await?.outcome().await
    }

    async fn submit<T>(&self, task: impl FnOnce(Reply<T>) -> Task) -> Outcome<Pending<T>> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(task(Reply::to(reply))).await.map_err(|_| WriteError::Stopped)?;
        Ok(Pending { answer })
    }
}

/// A job that is queued. Dropping it does not take the job back.
#[derive(Debug)]
pub struct Pending<T> {
    answer: oneshot::Receiver<Outcome<T>>,
}

impl<T> Pending<T> {
    /// Waits for the commit.
    pub async fn outcome(self) -> Outcome<T> {
        self.answer.await.map_err(|_| WriteError::Stopped)?
    }
}

async fn run(mut jobs: mpsc::Receiver<Task>, with: WriteContext, live: Live, sessions: Sessions) {
    while let Some(first) = jobs.recv().await {
        let mut weight = first.weight();
        let mut tasks = vec![first];
        while tasks.len() < GROUP_JOBS && weight < GROUP_STATEMENTS {
            let Ok(next) = jobs.try_recv() else { break };
            weight += next.weight();
            tasks.push(next);
        }
        group::commit(&with, tasks, &live, &sessions).await;
    }
}

/// Tells the watchers what a finding has become.
fn changed(finding: &Finding) -> LiveChange {
    LiveChange::Finding {
        finding: finding.id,
        cluster: finding.key.cluster,
        status: finding.status(),
        severity: finding.severity(),
    }
}
