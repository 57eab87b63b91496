//! What a group of jobs has loaded and decided so far, in memory, until it is written at once.
//!
//! Here are the state, the one place that asks `record`, and the writing. What each kind of job does stands beside it:
//! `batch` (what agents state), `retests` (orders and answers), `scope`, `fleet`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use holdfast_controls::Control;
use holdfast_model::{Activity, Actor, ClusterId, FindingId, OnDeletion, RetestId};
use holdfast_record::calibration::Policy;
use holdfast_record::{Command, Context, Decision, Entry, Finding, Refused, RetestChange, decide};
use holdfast_store::written::{Counted, Written};
use holdfast_store::{Cluster, Retest, RetestState, StoreError, StoredReceipt, Tx};

use super::job::Task;
use super::{Outcome, WriteError, changed};
use crate::environment::SharedEnvironment;
use crate::live::LiveChange;

mod batch;
mod fleet;
mod retests;
mod scope;

type FindingRef = (ClusterId, FindingId);

/// A finding as it was and as it is now.
#[derive(Default)]
struct Loaded {
    before: Option<Counted>,
    now: Option<Finding>,
    written: bool,
    evidence: bool,
}

/// One transaction in the making.
pub(super) struct WriteGroup {
    tx: Tx,
    environment: SharedEnvironment,
    policy: Arc<Policy>,
    now: i64,
    loaded: HashMap<FindingRef, Loaded>,
    clusters: HashMap<ClusterId, Option<Cluster>>,
    excluded: HashMap<ClusterId, HashSet<String>>,
    entries: Vec<Entry>,
    retests: BTreeMap<RetestId, Retest>,
    ended: BTreeMap<ClusterId, Vec<RetestId>>,
    /// The retest that each new one takes the place of.
    follows: HashMap<RetestId, RetestId>,
    receipts: Vec<(usize, StoredReceipt)>,
    changes: Vec<LiveChange>,
    woken: BTreeSet<ClusterId>,
}

/// What is sent to others after the commit.
pub(super) struct Notifications {
    /// For the watchers.
    pub changes: Vec<LiveChange>,
    /// Clusters with a retest to send, or with room for one.
    pub woken: BTreeSet<ClusterId>,
}

impl WriteGroup {
    pub(super) fn new(tx: Tx, environment: SharedEnvironment, policy: Arc<Policy>) -> Self {
        Self {
            tx,
            now: environment.now(),
            environment,
            policy,
            loaded: HashMap::new(),
            clusters: HashMap::new(),
            excluded: HashMap::new(),
            entries: Vec::new(),
            retests: BTreeMap::new(),
            ended: BTreeMap::new(),
            follows: HashMap::new(),
            receipts: Vec::new(),
            changes: Vec::new(),
            woken: BTreeSet::new(),
        }
    }

    pub(super) fn tx(&mut self) -> &mut Tx {
        &mut self.tx
    }

    pub(super) fn now(&self) -> i64 {
        self.now
    }

    pub(super) fn notify(&mut self, change: LiveChange) {
        self.changes.push(change);
    }

    /// A stream of this cluster begins: batches count from here.
    pub(super) fn start_epoch(&mut self, cluster: ClusterId, epoch: u64) {
        if let Some(Some(known)) = self.clusters.get_mut(&cluster) {
            (known.epoch, known.sequence) = (epoch, 0);
        }
    }

    /// Loads what the tasks of this group will ask for, with few statements. Clusters are locked in the order of their ids.
    pub(super) async fn load(&mut self, tasks: &[Task]) -> Result<(), StoreError> {
        let mut wanted: BTreeMap<ClusterId, Vec<FindingId>> = BTreeMap::new();
        let mut members: Vec<FindingRef> = Vec::new();
        for task in tasks {
            match task {
                Task::Apply { cluster, batch, .. } => {
                    wanted.entry(*cluster).or_default().extend(batch.stated.iter().map(|stated| stated.id));
                }
                Task::Act { job, .. } => wanted.entry(job.cluster).or_default().push(job.finding),
                Task::Connect { cluster, .. }
                | Task::Scope { cluster, .. }
                | Task::Dispatch { cluster, .. }
                | Task::Answer { cluster, .. } => {
                    wanted.entry(*cluster).or_default();
                }
                Task::Calibrate { members: of, .. } => members.extend(of),
                Task::Seen { .. } | Task::Note { .. } | Task::Patterns { .. } | Task::Fleet { .. } => {}
            }
        }
        let held: BTreeSet<_> = wanted.keys().copied().chain(members.iter().map(|place| place.0)).collect();
        self.tx.hold_clusters(&held.into_iter().collect::<Vec<_>>()).await?;
        for (cluster, mut ids) in wanted {
            let known = self.tx.lock_cluster(cluster).await?;
            self.clusters.insert(cluster, known);
            self.excluded.insert(cluster, self.tx.excluded_namespaces(cluster).await?.into_iter().collect());
            ids.sort_unstable();
            ids.dedup();
            self.load_findings(cluster, &ids).await?;
        }
        self.load_members(members).await
    }

    async fn load_members(&mut self, mut members: Vec<FindingRef>) -> Result<(), StoreError> {
        members.sort_unstable();
        members.dedup();
        members.retain(|place| !self.loaded.contains_key(place));
        for finding in self.tx.findings_at(&members).await? {
            self.keep(finding);
        }
        Ok(())
    }

    async fn load_findings(&mut self, cluster: ClusterId, ids: &[FindingId]) -> Result<(), StoreError> {
        let missing: Vec<_> = ids.iter().copied().filter(|&id| !self.loaded.contains_key(&(cluster, id))).collect();
        for finding in self.tx.findings_by_id(cluster, &missing).await? {
            self.keep(finding);
        }
        for id in missing {
            self.loaded.entry((cluster, id)).or_default();
        }
        Ok(())
    }

    /// A finding as the database has it, unless this group knows better.
    fn keep(&mut self, finding: Finding) {
        let before = Some(Counted::of(&finding));
        let place = (finding.key.cluster, finding.id);
        self.loaded.entry(place).or_insert(Loaded { before, now: Some(finding), ..Loaded::default() });
    }

    fn finding(&self, cluster: ClusterId, id: FindingId) -> Option<&Finding> {
        self.loaded.get(&(cluster, id)).and_then(|slot| slot.now.as_ref())
    }

    /// A cluster that is known and not revoked: whatever its agent sends, on whichever replica, is refused from then on.
    fn member(&self, cluster: ClusterId) -> Outcome<&Cluster> {
        let known = self.clusters.get(&cluster).and_then(Option::as_ref).filter(|known| known.revoked_at.is_none());
        known.ok_or(WriteError::NoCluster)
    }

    /// Does what someone wants done to a finding.
    pub(super) async fn act(
        &mut self,
        actor: &Actor,
        cluster: ClusterId,
        id: FindingId,
        command: Command<'_>,
    ) -> Outcome<Finding> {
        self.decide(actor, (cluster, id), command, None)?;
        Ok(self.finding(cluster, id).cloned().ok_or(Refused::Unknown)?)
    }

    /// Keeps an event.
    pub(super) fn record(&mut self, activity: Activity) -> Outcome<()> {
        let entry = Entry::of(activity).map_err(|source| StoreError::Form { operation: "record event", source })?;
        self.entries.push(entry);
        Ok(())
    }

    /// Decides one command on one finding and keeps what follows. `answering` is the retest that this settles or delays.
    fn decide(
        &mut self,
        actor: &Actor,
        place: FindingRef,
        command: Command<'_>,
        answering: Option<Retest>,
    ) -> Outcome<()> {
        let known = self.finding(place.0, place.1);
        let subject = match (&command, known) {
            (Command::Observe(observed), _) => Some(observed.key),
            (Command::Detect(detected), _) => Some(detected.key),
            (_, finding) => finding.map(|finding| &finding.key),
        };
        let key = subject.ok_or(Refused::Unknown)?;
        let fresh = match known {
            Some(_) => self.environment.draw().ok_or(WriteError::Stopped)?,
            None => [0; 16],
        };
        let control = Control::find(key.control.as_str());
        let running = control.and_then(|control| control.running);
        let policy = self.policy.clone();
        let context = Context {
            now: self.now,
            actor,
            on_deletion: control.map_or(OnDeletion::Retires, |control| control.on_deletion),
            by_processes: running.is_some_and(batch::is_of_processes),
            in_scope: self.in_scope(place.0, &key.resource),
            policy: &policy,
            fresh: RetestId::from_bytes(fresh),
        };
        let outstanding = known.and_then(|finding| finding.state.retest);
        let slot = self.loaded.entry(place).or_default();
        match decide(&context, &mut slot.now, command)? {
            Some(decision) => {
                slot.written = true;
                slot.evidence |= decision.evidence;
                self.changes.extend(slot.now.as_ref().map(changed));
                self.accept(actor, place, decision, outstanding, answering)
            }
            None => {
                self.retests.extend(answering.map(|retest| (retest.id, retest)));
                Ok(())
            }
        }
    }

    fn accept(
        &mut self,
        actor: &Actor,
        place: FindingRef,
        decision: Decision,
        outstanding: Option<RetestId>,
        answering: Option<Retest>,
    ) -> Outcome<()> {
        let Decision { events, retest, .. } = decision;
        let answered = answering.as_ref().map(|retest| retest.id);
        if let Some(mut row) = answering {
            if let RetestChange::Again { due_at } = retest {
                (row.state, row.due_at) = (RetestState::Waiting, due_at);
            }
            self.retests.insert(row.id, row);
        }
        if let RetestChange::Order { .. } | RetestChange::End = retest {
            let replaced = outstanding.filter(|&id| Some(id) != answered);
            self.ended.entry(place.0).or_default().extend(replaced);
        }
        if let RetestChange::Order { retest: id, cause, attempts } = retest {
            self.retests.insert(id, retests::requested(id, place, cause, attempts, self.now));
            self.follows.extend(answered.or(outstanding).map(|before| (id, before)));
            self.woken.insert(place.0);
        }
        for event in events {
            let activity = event.activity(self.now, actor, place.0, place.1);
            self.record(activity.map_err(|source| StoreError::Form { operation: "record event", source })?)?;
        }
        Ok(())
    }

    /// Writes everything and commits.
    pub(super) async fn finish(mut self) -> Result<Notifications, StoreError> {
        let mut written = Vec::with_capacity(self.loaded.len());
        for Loaded { before, now, evidence, .. } in self.loaded.values().filter(|slot| slot.written) {
            written.extend(now.as_ref().map(|after| Written { before: *before, after, evidence: *evidence }));
        }
        self.tx.write_findings(&written).await?;
        let ids = self.tx.add_events(&self.entries).await?;
        self.settle_methods().await?;
        let retests: Vec<_> = std::mem::take(&mut self.retests).into_values().collect();
        self.tx.write_retests(&retests).await?;
        for (cluster, ended) in &self.ended {
            self.tx.end_retests(*cluster, ended).await?;
        }
        for (event, mut receipt) in self.receipts {
            if let Some(&id) = ids.get(event) {
                receipt.event = id;
                self.tx.add_receipt(&receipt).await?;
            }
        }
        self.tx.commit().await?;
        Ok(Notifications { changes: self.changes, woken: self.woken })
    }
}
