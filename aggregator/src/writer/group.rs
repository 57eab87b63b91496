//! One transaction of the writer: every task is decided, everything is written at once, and the answers go out after the
//! commit.

use holdfast_model::{Activity, Actor, ClusterId};
use holdfast_store::{Connected, Store, StoreError};
use serde_json::json;
use tokio::sync::oneshot;

use super::job::Task;
use super::work::{Told, Work};
use super::{Outcome, WriteError};
use crate::edge::SharedEdge;
use crate::live::{Live, LiveChange};
use crate::sessions::Sessions;

/// An answer that waits for the commit.
type Answer = Box<dyn FnOnce(Result<(), WriteError>) + Send>;

pub(super) async fn commit(store: &Store, edge: &SharedEdge, tasks: Vec<Task>, live: &Live, sessions: &Sessions) {
    let mut answers = Vec::with_capacity(tasks.len());
    match attempt(store, edge, tasks, &mut answers).await {
        Ok(told) => {
            answers.into_iter().for_each(|answer| answer(Ok(())));
            told.changes.into_iter().for_each(|change| live.tell(change));
            told.woken.into_iter().for_each(|cluster| sessions.wake(cluster));
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a group of jobs could not be written");
            let error = WriteError::from(error);
            answers.into_iter().for_each(|answer| answer(Err(error.clone())));
        }
    }
}

async fn attempt(
    store: &Store,
    edge: &SharedEdge,
    tasks: Vec<Task>,
    answers: &mut Vec<Answer>,
) -> Result<Told, StoreError> {
    let mut work = Work::new(store.begin().await?, edge.clone());
    work.load(&tasks).await?;
    for task in tasks {
        decide(&mut work, task, answers).await?;
    }
    work.finish().await
}

/// Decides one task. A refusal is an answer; only the database's failure is an error.
async fn decide(work: &mut Work, task: Task, answers: &mut Vec<Answer>) -> Result<(), StoreError> {
    match task {
        Task::Connect { cluster, said, reply } => later(answers, reply, connect(work, cluster, &said).await),
        Task::Apply { cluster, batch, reply } => later(answers, reply, work.apply(cluster, &batch).await),
        Task::Act { job, reply } => {
            later(answers, reply, work.act(&job.actor, job.cluster, job.finding, job.action.command()).await)
        }
        Task::Scope { actor, cluster, excluded, reply } => {
            later(answers, reply, work.set_scope(&actor, cluster, &excluded).await)
        }
        Task::Dispatch { cluster, retests, reply } => later(answers, reply, work.dispatch(cluster, &retests).await),
        Task::Answer { cluster, answer, reply } => later(answers, reply, work.answer(cluster, &answer).await),
        Task::Seen { cluster } => {
            let now = work.now();
            work.tx().set_last_seen(cluster, now).await
        }
        Task::Note { activity, reply } => later(answers, reply, work.record(activity)),
    }
}

/// Keeps the outcome until the commit. The database's failure ends the group, this task's answer included.
fn later<T: Send + 'static>(
    answers: &mut Vec<Answer>,
    reply: oneshot::Sender<Outcome<T>>,
    outcome: Outcome<T>,
) -> Result<(), StoreError> {
    let failed = match &outcome {
        Err(WriteError::Store(error)) => Some(error.clone()),
        _ => None,
    };
    answers.push(Box::new(move |committed| {
        let _ = reply.send(committed.and(outcome));
    }));
    match failed {
        Some(error) => Err(StoreError::Aborted(error)),
        None => Ok(()),
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
