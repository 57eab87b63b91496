//! One transaction of the writer: every task is decided, everything is written at once, and the answers go out after the
//! commit. A job that the database refuses is refused alone.

use std::sync::Arc;

use holdfast_model::{Activity, Actor, ClusterId};
use holdfast_record::calibration::Policy;
use holdfast_store::{Connected, Store, StoreError};
use serde_json::json;

use super::job::Task;
use super::work::{Told, Work};
use super::{Outcome, WriteError};
use crate::environment::SharedEnvironment;
use crate::live::{Live, LiveChange};
use crate::sessions::Sessions;

/// Why a transaction came to nothing.
enum Failed {
    /// The database takes none now.
    Unavailable(StoreError),
    /// One of its jobs cannot be written.
    Job(StoreError),
}

/// What a group is written with.
pub(super) struct With {
    pub(super) store: Store,
    pub(super) environment: SharedEnvironment,
    pub(super) policy: Arc<Policy>,
}

/// Writes a group. Where one of its jobs cannot be written, each is written by itself: what one agent says must not keep the
/// others' from the record.
pub(super) async fn commit(with: &With, mut tasks: Vec<Task>, live: &Live, sessions: &Sessions) {
    let failed = match attempt(with, &mut tasks).await {
        Ok(told) => return answer(tasks, told, live, sessions),
        Err(failed) => failed,
    };
    match failed {
        Failed::Job(error) if tasks.len() > 1 => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a group of jobs is written one by one");
            one_by_one(with, tasks, live, sessions).await;
        }
        Failed::Job(error) | Failed::Unavailable(error) => refuse(tasks.into_iter(), error),
    }
}

async fn one_by_one(with: &With, tasks: Vec<Task>, live: &Live, sessions: &Sessions) {
    let mut left = tasks.into_iter();
    while let Some(task) = left.next() {
        let mut alone = vec![task];
        match attempt(with, &mut alone).await {
            Ok(told) => answer(alone, told, live, sessions),
            Err(Failed::Job(error)) => refuse(alone.into_iter(), error),
            Err(Failed::Unavailable(error)) => return refuse(alone.into_iter().chain(left), error),
        }
    }
}

fn answer(tasks: Vec<Task>, told: Told, live: &Live, sessions: &Sessions) {
    tasks.into_iter().for_each(|task| task.answer(Ok(())));
    told.changes.into_iter().for_each(|change| live.tell(change));
    told.woken.into_iter().for_each(|cluster| sessions.wake(cluster));
}

fn refuse(tasks: impl Iterator<Item = Task>, error: StoreError) {
    tracing::error!(error = &error as &dyn std::error::Error, "jobs could not be written");
    let error = WriteError::from(error);
    tasks.for_each(|task| task.answer(Err(error.clone())));
}

async fn attempt(with: &With, tasks: &mut [Task]) -> Result<Told, Failed> {
    let tx = with.store.begin().await.map_err(Failed::Unavailable)?;
    write(Work::new(tx, with.environment.clone(), with.policy.clone()), tasks).await.map_err(Failed::Job)
}

async fn write(mut work: Work, tasks: &mut [Task]) -> Result<Told, StoreError> {
    work.load(tasks).await?;
    for task in tasks {
        decide(&mut work, task).await?;
    }
    work.finish().await
}

/// Decides one task. A refusal is an answer; only the database's failure is an error.
async fn decide(work: &mut Work, task: &mut Task) -> Result<(), StoreError> {
    match task {
        Task::Connect { cluster, said, reply } => reply.keep(connect(work, *cluster, said).await),
        Task::Apply { cluster, batch, reply } => reply.keep(work.apply(*cluster, batch).await),
        Task::Act { job, reply } => {
            reply.keep(work.act(&job.actor, job.cluster, job.finding, job.action.command()).await)
        }
        Task::Scope { actor, cluster, excluded, reply } => reply.keep(work.set_scope(actor, *cluster, excluded).await),
        Task::Dispatch { cluster, retests, reply } => reply.keep(work.dispatch(*cluster, retests).await),
        Task::Answer { cluster, answer, reply } => reply.keep(work.answer(*cluster, answer).await),
        Task::Seen { cluster } => {
            let now = work.now();
            work.tx().set_last_seen(*cluster, now).await
        }
        Task::Note { activity, reply } => reply.keep(work.record(activity.clone())),
        Task::Patterns { moves, reply } => reply.keep(work.move_patterns(moves).await),
        Task::Fleet { write, reply } => reply.keep(work.keep_fleet(write).await),
        Task::Calibrate { members, why, reply } => reply.keep(work.calibrate(members, why)),
    }
}

async fn connect(work: &mut Work, cluster: ClusterId, said: &Connected) -> Outcome<u64> {
    let known = work.tx().lock_cluster(cluster).await?;
    let known = known.filter(|cluster| cluster.revoked_at.is_none()).ok_or(WriteError::NoCluster)?;
    if let Some(other) = work.tx().cluster_by_fingerprint(&said.fingerprint).await?
        && other.id != cluster
    {
        refused(work, cluster, "fingerprint-held", "its fingerprint is another cluster's")?;
        return Err(WriteError::FingerprintHeld { name: other.name });
    }
    if known.fingerprint.as_ref().is_some_and(|fingerprint| *fingerprint != said.fingerprint) {
        refused(work, cluster, "fingerprint-changed", "its fingerprint is not the one that it enrolled with")?;
        return Err(WriteError::FingerprintChanged);
    }
    let now = work.now();
    let epoch = work.tx().start_epoch(cluster, said, now).await?;
    work.tx().requeue_retests(cluster, now).await?;
    work.start_epoch(cluster, epoch);
    work.record(Activity {
        at: now,
        actor: Actor::Agent(cluster),
        event: "agent-connected".into(),
        cluster: Some(cluster),
        finding: None,
        cause: "its agent opened a stream".into(),
        detail: json!({ "epoch": epoch, "agent": said.agent_version, "clock_offset": said.clock_offset }),
    })?;
    work.tell(LiveChange::Cluster { cluster });
    Ok(epoch)
}

fn refused(work: &mut Work, cluster: ClusterId, event: &str, cause: &str) -> Outcome<()> {
    work.record(Activity {
        at: work.now(),
        actor: Actor::Agent(cluster),
        event: event.into(),
        cluster: Some(cluster),
        finding: None,
        cause: cause.into(),
        detail: json!({}),
    })
}
