//! Live reads, each made once a round: the answer's bytes are hashed, its objects projected, its refusal kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_agent_core::pod_index::{self, ScheduledPod};
use holdfast_agent_core::posture::Unreadable;
use holdfast_controls::inventory::{Dependency, ObjectKey};
use holdfast_controls::{Kind, Object};
use holdfast_model::ObjectRead;
use sha2::{Digest, Sha256};
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};

use super::Limits;
use crate::api::{Answer, Api, Refusal, refusal};
use crate::cluster;
use crate::collect::split::{Items, ListMeta};
use crate::collect::{decode, path};

/// What a read came to.
#[derive(Debug, Clone)]
pub(super) enum ReadOutcome {
    /// These objects: one, or all of a list.
    Objects(Vec<Object>),
    /// The object is proved absent.
    Absent,
    /// The API server did not give it.
    Refused(Refusal),
    /// An object came that has not its kind's form.
    Unreadable(String),
    /// The API server's minor version; `None` where it does not tell.
    ServerMinor(Option<u32>),
}

/// One dependency, read.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) outcome: ReadOutcome,
    pub(super) reads: Vec<ObjectRead>,
    /// The Pods among the objects, with their nodes.
    pub(super) pods: Vec<ScheduledPod>,
}

/// The reads of one round.
pub(super) struct Round {
    api: Api,
    gate: Arc<Gate>,
    fetched: Mutex<HashMap<Dependency, Arc<OnceCell<Arc<Fetched>>>>>,
}

/// Bounds how much is asked of the API server, over all rounds.
pub(super) struct Gate {
    permits: Semaphore,
    next: Mutex<Instant>,
    apart: Duration,
    burst: u32,
}

impl Gate {
    pub(super) fn new(limits: Limits) -> Self {
        let rate = limits.reads_per_second.max(1);
        Self {
            permits: Semaphore::new(limits.concurrent_reads.max(1)),
            next: Mutex::new(Instant::now()),
            apart: Duration::from_secs(1) / rate,
            burst: rate,
        }
    }

    /// Waits for the next free slot. What was not used in the last second may be used at once.
    async fn pass(&self) -> Option<SemaphorePermit<'_>> {
        sleep_until(self.slot()).await;
        self.permits.acquire().await.ok()
    }

    fn slot(&self) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let slot = (*next).max(now.checked_sub(self.apart * self.burst).unwrap_or(now));
        *next = slot + self.apart;
        slot
    }
}

impl Fetched {
    /// Without any Pod.
    fn of(outcome: ReadOutcome, reads: Vec<ObjectRead>) -> Self {
        Self { outcome, reads, pods: Vec::new() }
    }
}

impl Round {
    pub(super) fn new(api: Api, gate: Arc<Gate>) -> Self {
        Self { api, gate, fetched: Mutex::default() }
    }

    /// Another round under the same bounds, which has read nothing yet.
    pub(super) fn afresh(&self) -> Self {
        Self::new(self.api.clone(), self.gate.clone())
    }

    /// Reads a dependency, or takes what another order of this round has read.
    pub(super) async fn fetch(&self, dependency: &Dependency) -> Arc<Fetched> {
        let cell = {
            let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
            fetched.entry(dependency.clone()).or_default().clone()
        };
        cell.get_or_init(|| async { Arc::new(self.read(dependency).await) }).await.clone()
    }

    async fn read(&self, dependency: &Dependency) -> Fetched {
        match dependency {
            Dependency::Object(key) => self.object(key).await,
            Dependency::List { kind, namespace, selector, limit } => {
                let selector = selector.as_deref();
                let selector = selector.map(|selector| format!("&labelSelector={}", path::escaped(selector)));
                let (collection, limit_or_page) =
                    (path::collection(kind, namespace.as_deref()), limit.unwrap_or(path::PAGE));
                let first = format!("{collection}?limit={limit_or_page}{}", selector.unwrap_or_default());
                self.list(kind, &first, limit.is_some()).await
            }
            Dependency::ServerVersion => self.server_version().await,
        }
    }

    async fn server_version(&self) -> Fetched {
        let path = cluster::VERSION_PATH.to_owned();
        match self.ask(&path).await {
            Ok(answer) => {
                let outcome = match cluster::server_version(&answer) {
                    Ok(version) => ReadOutcome::ServerMinor(version.minor),
                    Err(refused) => ReadOutcome::Refused(refused),
                };
                Fetched::of(outcome, vec![read_of(path, &answer, "", "")])
            }
            Err(refused) => Fetched::of(ReadOutcome::Refused(refused), Vec::new()),
        }
    }

    async fn object(&self, key: &ObjectKey) -> Fetched {
        let path = path::object(key);
        let answer = match self.ask(&path).await {
            Ok(answer) => answer,
            Err(refused) => return Fetched::of(ReadOutcome::Refused(refused), Vec::new()),
        };
        if !answer.status.is_success() {
            let absent = answer.proves_absence_of(&key.name);
            let outcome = if absent { ReadOutcome::Absent } else { ReadOutcome::Refused(refusal(&answer)) };
            return Fetched::of(outcome, vec![read_of(path, &answer, "", "")]);
        }
        // An object that does not name itself is unreadable below, and is recorded by its hash alone.
        let identity = decode::identity(&answer.body).unwrap_or_default();
        let outcome = match decode::object(key.kind, &answer.body) {
            Ok(object) => ReadOutcome::Objects(vec![*object]),
            Err(unreadable) => ReadOutcome::Unreadable(format!("{} {}: {}", key.kind, key.name, unreadable.problem)),
        };
        let pods = pod_index::read(key.kind, &answer.body).map(|pod| *pod).into_iter().collect();
        let reads = vec![read_of(path, &answer, &identity.uid, &identity.resource_version)];
        Fetched { outcome, reads, pods }
    }

    /// Every page of a list, or only its first.
    async fn list(&self, kind: &'static Kind, first: &str, only_first: bool) -> Fetched {
        let (mut reads, mut objects, mut pods) = (Vec::new(), Vec::new(), Vec::new());
        let mut path = first.to_owned();
        loop {
            let answer = match self.ask(&path).await {
                Ok(answer) => answer,
                Err(refused) => return Fetched::of(ReadOutcome::Refused(refused), reads),
            };
            match page(kind, &answer, &mut pods) {
                Ok((found, meta)) => {
                    reads.push(read_of(path, &answer, "", &meta.resource_version));
                    objects.extend(found);
                    let Some(next) = meta.next().filter(|_| !only_first) else {
                        return Fetched { outcome: ReadOutcome::Objects(objects), reads, pods };
                    };
                    path = format!("{first}&continue={}", path::escaped(next));
                }
                Err(outcome) => {
                    reads.push(read_of(path, &answer, "", ""));
                    return Fetched::of(outcome, reads);
                }
            }
        }
    }

    async fn ask(&self, path: &str) -> Result<Answer, Refusal> {
        let _permit = self.gate.pass().await;
        self.api.get(path).await
    }
}

fn page(
    kind: &'static Kind,
    answer: &Answer,
    pods: &mut Vec<ScheduledPod>,
) -> Result<(Vec<Object>, ListMeta), ReadOutcome> {
    if !answer.status.is_success() {
        return Err(ReadOutcome::Refused(refusal(answer)));
    }
    let (mut items, mut found) = (Items::default(), Vec::new());
    let fed = items.feed(&answer.body, |item| {
        pods.extend(pod_index::read(kind, item).map(|pod| *pod));
        found.push(decode::object(kind, item));
    });
    let meta = fed.and_then(|()| items.finish()).map_err(ReadOutcome::Refused)?;
    let objects: Result<Vec<_>, _> = found.into_iter().map(|object| object.map(|object| *object)).collect();
    let named = |unreadable: Unreadable| format!("{kind} {}: {}", unreadable.key.name, unreadable.problem);
    objects.map(|objects| (objects, meta)).map_err(|unreadable| ReadOutcome::Unreadable(named(unreadable)))
}

fn read_of(path: String, answer: &Answer, uid: &str, resource_version: &str) -> ObjectRead {
    ObjectRead {
        path,
        status: answer.status.as_u16(),
        uid: uid.to_owned(),
        resource_version: resource_version.to_owned(),
        hash: Sha256::digest(&answer.body).to_vec(),
    }
}
