//! One transaction of the writer: every task is decided, everything is written at once, and the answers go out after the
//! commit. A job that the database refuses is refused alone.

use std::sync::Arc;

use holdfast_model::{Activity, Actor, ClusterId};
use holdfast_record::calibration::Policy;
use holdfast_store::{Connected, Store, StoreError};
use serde_json::json;

use super::job::Task;
use super::write_group::{Notifications, WriteGroup};
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
pub(super) struct WriteContext {
    pub(super) store: Store,
    pub(super) environment: SharedEnvironment,
    pub(super) policy: Arc<Policy>,
}

/// Writes a group. Where one of its jobs cannot be written, each is written by itself: what one agent sends must not keep the
/// others' from the record.
pub(super) async fn commit(with: &WriteContext, mut tasks: Vec<Task>, live: &Live, sessions: &Sessions) {
    let failed = match attempt(with, &mut tasks).await {
        Ok(notifications) => return answer(tasks, notifications, live, sessions),
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

async fn one_by_one(with: &WriteContext, tasks: Vec<Task>, live: &Live, sessions: &Sessions) {
    let mut left = tasks.into_iter();
    while let Some(task) = left.next() {
        let mut alone = vec![task];
        match attempt(with, &mut alone).await {
            Ok(notifications) => answer(alone, notifications, live, sessions),
            Err(Failed::Job(error)) => refuse(alone.into_iter(), error),
            Err(Failed::Unavailable(error)) => return refuse(alone.into_iter().chain(left), error),
        }
    }
}

fn answer(tasks: Vec<Task>, notifications: Notifications, live: &Live, sessions: &Sessions) {
    tasks.into_iter().for_each(|task| task.answer(Ok(())));
    notifications.changes.into_iter().for_each(|change| live.send(change));
    notifications.woken.into_iter().for_each(|cluster| sessions.wake(cluster));
}

fn refuse(tasks: impl Iterator<Item = Task>, error: StoreError) {
    tracing::error!(error = &error as &dyn std::error::Error, "jobs could not be written");
    let error = WriteError::from(error);
    tasks.for_each(|task| task.answer(Err(error.clone())));
}

async fn attempt(with: &WriteContext, tasks: &mut [Task]) -> Result<Notifications, Failed> {
    let tx = with.store.begin().await.map_err(Failed::Unavailable)?;
    write(WriteGroup::new(tx, with.environment.clone(), with.policy.clone()), tasks).await.map_err(Failed::Job)
}

async fn write(mut group: WriteGroup, tasks: &mut [Task]) -> Result<Notifications, StoreError> {
    group.load(tasks).await?;
    for task in tasks {
        decide(&mut group, task).await?;
    }
    group.finish().await
}

/// Decides one task. A refusal is an answer; only the database's failure is an error.
async fn decide(group: &mut WriteGroup, task: &mut Task) -> Result<(), StoreError> {
    match task {
        Task::Connect { cluster, hello, reply } => reply.keep(connect(group, *cluster, hello).await),
        Task::Apply { cluster, batch, reply } => reply.keep(group.apply(*cluster, batch).await),
        Task::Act { job, reply } => {
            reply.keep(group.act(&job.actor, job.cluster, job.finding, job.action.command()).await)
        }
        Task::Scope { actor, cluster, excluded, reply } => reply.keep(group.set_scope(actor, *cluster, excluded).await),
        Task::Dispatch { cluster, retests, reply } => reply.keep(group.dispatch(*cluster, retests).await),
        Task::Answer { cluster, answer, reply } => reply.keep(group.answer(*cluster, answer).await),
        Task::Seen { cluster } => {
            let now = group.now();
            group.tx().set_last_seen(*cluster, now).await
        }
        Task::Note { activity, reply } => reply.keep(group.record(activity.clone())),
        Task::Patterns { moves, reply } => reply.keep(group.move_patterns(moves).await),
        Task::Fleet { write, reply } => reply.keep(group.keep_fleet(write).await),
        Task::Calibrate { members, why, reply } => reply.keep(group.calibrate(members, why)),
    }
}

async fn connect(group: &mut WriteGroup, cluster: ClusterId, hello: &Connected) -> Outcome<u64> {
    let known = group.tx().lock_cluster(cluster).await?;
    let known = known.filter(|cluster| cluster.revoked_at.is_none()).ok_or(WriteError::NoCluster)?;
    if let Some(other) = group.tx().cluster_by_fingerprint(&hello.fingerprint).await?
        && other.id != cluster
    {
        refused(group, cluster, "fingerprint-held", "its fingerprint is another cluster's")?;
        return Err(WriteError::FingerprintHeld { name: other.name });
    }
    if known.fingerprint.as_ref().is_some_and(|fingerprint| *fingerprint != hello.fingerprint) {
        refused(group, cluster, "fingerprint-changed", "its fingerprint is not the one that it enrolled with")?;
        return Err(WriteError::FingerprintChanged);
    }
    let now = group.now();
    let epoch = group.tx().start_epoch(cluster, hello, now).await?;
    group.tx().requeue_retests(cluster, now).await?;
    group.start_epoch(cluster, epoch);
    group.record(Activity {
        at: now,
        actor: Actor::Agent(cluster),
        event: "agent-connected".into(),
        cluster: Some(cluster),
        finding: None,
        cause: "its agent opened a stream".into(),
        detail: json!({ "epoch": epoch, "agent": hello.agent_version, "clock_offset": hello.clock_offset }),
    })?;
    group.notify(LiveChange::Cluster { cluster });
    Ok(epoch)
}

fn refused(group: &mut WriteGroup, cluster: ClusterId, event: &str, cause: &str) -> Outcome<()> {
    group.record(Activity {
        at: group.now(),
        actor: Actor::Agent(cluster),
        event: event.into(),
        cluster: Some(cluster),
        finding: None,
        cause: cause.into(),
        detail: json!({}),
    })
}
