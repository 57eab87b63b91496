//! What a group of jobs has loaded and decided so far, in memory, until it is written at once.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use holdfast_controls::Control;
use holdfast_model::{
    Activity, Actor, ClusterId, FindingId, Nonce, OnDeletion, Resource, RetestId, RetestOrder, Severity, Status,
};
use holdfast_record::lifecycle::{Answer, Observed};
use holdfast_record::{Command, Context, Decision, Entry, Finding, Refused, RetestChange, decide};
use holdfast_store::finding::Written;
use holdfast_store::{Cluster, Retest, RetestState, StoreError, StoredReceipt, Tx};

use super::job::{Batch, Complete, SignedTestimony, Stated, Task};
use super::{Outcome, WriteError, changed};
use crate::edge::SharedEdge;
use crate::live::LiveChange;

/// How long an answer may take before the question is put again.
const DEADLINE_MILLIS: i64 = 30_000;

type Place = (ClusterId, FindingId);

/// A finding as it was and as it is now.
struct Slot {
    before: Option<(Status, Severity)>,
    now: Option<Finding>,
    written: bool,
}

/// One transaction in the making.
pub(super) struct Work {
    tx: Tx,
    edge: SharedEdge,
    now: i64,
    slots: HashMap<Place, Slot>,
    clusters: HashMap<ClusterId, Option<Cluster>>,
    excluded: HashMap<ClusterId, HashSet<String>>,
    entries: Vec<Entry>,
    retests: BTreeMap<RetestId, Retest>,
    ended: BTreeMap<ClusterId, Vec<RetestId>>,
    receipts: Vec<(usize, StoredReceipt)>,
    changes: Vec<LiveChange>,
    woken: BTreeSet<ClusterId>,
}

/// What others are told after the commit.
pub(super) struct Told {
    /// For the watchers.
    pub changes: Vec<LiveChange>,
    /// Clusters with a retest to send, or with room for one.
    pub woken: BTreeSet<ClusterId>,
}

impl Work {
    pub(super) fn new(tx: Tx, edge: SharedEdge) -> Self {
        Self {
            tx,
            now: edge.now(),
            edge,
            slots: HashMap::new(),
            clusters: HashMap::new(),
            excluded: HashMap::new(),
            entries: Vec::new(),
            retests: BTreeMap::new(),
            ended: BTreeMap::new(),
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

    pub(super) fn tell(&mut self, change: LiveChange) {
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
                Task::Seen { .. } | Task::Note { .. } => {}
            }
        }
        for (cluster, mut ids) in wanted {
            let known = self.tx.lock_cluster(cluster).await?;
            self.clusters.insert(cluster, known);
            self.excluded.insert(cluster, self.tx.excluded_namespaces(cluster).await?.into_iter().collect());
            ids.sort_unstable();
            ids.dedup();
            self.load_findings(cluster, &ids).await?;
        }
        Ok(())
    }

    async fn load_findings(&mut self, cluster: ClusterId, ids: &[FindingId]) -> Result<(), StoreError> {
        let missing: Vec<_> = ids.iter().copied().filter(|&id| !self.slots.contains_key(&(cluster, id))).collect();
        for finding in self.tx.findings_by_id(cluster, &missing).await? {
            self.keep(finding);
        }
        for id in missing {
            self.slots.entry((cluster, id)).or_insert(Slot { before: None, now: None, written: false });
        }
        Ok(())
    }

    /// A finding as the database has it, unless this group knows better.
    fn keep(&mut self, finding: Finding) {
        let before = Some((finding.status, finding.severity()));
        let place = (finding.key.cluster, finding.id);
        self.slots.entry(place).or_insert(Slot { before, now: Some(finding), written: false });
    }

    fn finding(&self, cluster: ClusterId, id: FindingId) -> Option<&Finding> {
        self.slots.get(&(cluster, id)).and_then(|slot| slot.now.as_ref())
    }

    /// A cluster that is known and not revoked: whatever its agent says, on whichever replica, is refused from then on.
    fn member(&self, cluster: ClusterId) -> Outcome<&Cluster> {
        let known = self.clusters.get(&cluster).and_then(Option::as_ref).filter(|known| known.revoked_at.is_none());
        known.ok_or(WriteError::NoCluster)
    }

    /// Applies a batch, if it is the next one of the current epoch.
    pub(super) async fn apply(&mut self, cluster: ClusterId, batch: &Batch) -> Outcome<bool> {
        let known = self.member(cluster)?;
        if batch.epoch != known.epoch {
            return Err(WriteError::StaleEpoch { stated: batch.epoch, current: known.epoch });
        }
        if batch.sequence <= known.sequence {
            return Ok(false);
        }
        if batch.sequence != known.sequence + 1 {
            return Err(WriteError::Hole { stated: batch.sequence, expected: known.sequence + 1 });
        }
        let actor = Actor::Agent(cluster);
        for stated in &batch.stated {
            self.observe(&actor, stated, batch)?;
        }
        if let Some(complete) = &batch.complete {
            self.miss(&actor, cluster, complete).await?;
        }
        self.surroundings(cluster, batch).await?;
        if let Some(Some(known)) = self.clusters.get_mut(&cluster) {
            known.sequence = batch.sequence;
        }
        Ok(true)
    }

    async fn surroundings(&mut self, cluster: ClusterId, batch: &Batch) -> Outcome<()> {
        self.tx.put_coverage(cluster, &batch.coverage).await?;
        for proposal in &batch.proposals {
            self.tx.put_scope_proposal(cluster, proposal).await?;
        }
        if !batch.coverage.is_empty() || !batch.proposals.is_empty() {
            self.tell(LiveChange::Cluster { cluster });
        }
        Ok(self.tx.set_applied(cluster, batch.epoch, batch.sequence, self.now).await?)
    }

    fn observe(&mut self, actor: &Actor, stated: &Stated, batch: &Batch) -> Outcome<()> {
        let Some((read, origin)) = batch.reports.get(stated.report) else { return Ok(()) };
        let observed = Observed { key: &stated.key, origin, read, statement: &stated.statement };
        self.decide(actor, (stated.key.cluster, stated.id), Command::Observe(observed), None)
    }

    /// Asks about everything in these buckets that fails by the record and that the agent did not repeat.
    async fn miss(&mut self, actor: &Actor, cluster: ClusterId, complete: &Complete) -> Outcome<()> {
        for &bucket in &complete.buckets {
            let mut missed = self.tx.failing_in_bucket(cluster, bucket).await?;
            missed.retain(|id| !complete.repeated.contains(id));
            self.load_findings(cluster, &missed).await?;
            for id in missed {
                self.decide(actor, (cluster, id), Command::NotRepeated, None)?;
            }
        }
        Ok(())
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

    /// Replaces the scope; the findings of every namespace that left or came back follow.
    pub(super) async fn set_scope(&mut self, actor: &Actor, cluster: ClusterId, excluded: &[String]) -> Outcome<()> {
        let after: HashSet<String> = excluded.iter().cloned().collect();
        let before = self.excluded.insert(cluster, after.clone()).unwrap_or_default();
        let mut sorted: Vec<_> = after.iter().cloned().collect();
        sorted.sort_unstable();
        self.tx.set_excluded_namespaces(cluster, &sorted, self.now).await?;
        let mut moved: Vec<_> = before.symmetric_difference(&after).collect();
        moved.sort_unstable();
        for namespace in moved {
            let left = after.contains(namespace);
            for finding in self.tx.findings_in(cluster, namespace).await? {
                let id = finding.id;
                self.keep(finding);
                let command = if left { Command::LeaveScope } else { Command::ReturnToScope };
                self.decide(actor, (cluster, id), command, None)?;
            }
        }
        self.record(Activity {
            at: self.now,
            actor: actor.clone(),
            event: "scope-set".into(),
            cluster: Some(cluster),
            finding: None,
            cause: "the platform owner set which namespaces are left out".into(),
            detail: serde_json::json!({ "excluded": sorted }),
        })?;
        self.tell(LiveChange::Cluster { cluster });
        Ok(())
    }

    /// Draws a nonce for each retest that is still wanted. One that was out past its deadline pauses first.
    pub(super) async fn dispatch(&mut self, cluster: ClusterId, ids: &[RetestId]) -> Outcome<Vec<RetestOrder>> {
        self.member(cluster)?;
        let rows = self.tx.retests_by_id(cluster, ids).await?;
        let findings: Vec<_> = rows.iter().map(|retest| retest.finding).collect();
        self.load_findings(cluster, &findings).await?;
        let mut orders = Vec::with_capacity(rows.len());
        for retest in rows {
            let open = matches!(retest.state, RetestState::Waiting | RetestState::Sent);
            if !open || retest.due_at > self.now {
                continue;
            }
            if self.finding(cluster, retest.finding).is_none_or(|finding| finding.retest != Some(retest.id)) {
                self.ended.entry(cluster).or_default().push(retest.id);
            } else if retest.state == RetestState::Sent {
                self.expire(retest)?;
            } else {
                orders.extend(self.order(retest));
            }
        }
        Ok(orders)
    }

    fn expire(&mut self, retest: Retest) -> Outcome<()> {
        let command = Command::NoAnswer { retest: retest.id, attempts: retest.attempts };
        let place = (retest.cluster, retest.finding);
        self.decide(&Actor::Holdfast("retest".into()), place, command, Some(retest))
    }

    fn order(&mut self, mut retest: Retest) -> Option<RetestOrder> {
        let finding = self.finding(retest.cluster, retest.finding)?;
        let nonce = Nonce::from_bytes(self.edge.draw()?);
        let order = RetestOrder {
            retest: retest.id,
            nonce,
            resource: finding.key.resource.clone(),
            uid: finding.read.uid.clone(),
            control: finding.key.control.clone(),
            control_version: finding.control_version,
        };
        retest.observed = finding.observed;
        retest.state = RetestState::Sent;
        retest.attempts += 1;
        retest.nonce = Some(nonce);
        retest.sent_at = Some(self.now);
        retest.due_at = self.now + DEADLINE_MILLIS;
        self.retests.insert(retest.id, retest);
        Some(order)
    }

    /// Records an answer: the verdict, and the testimony as a receipt if it settles something. One that comes after its
    /// deadline counts as long as no other nonce was drawn: reads that take long must not be asked for again for ever.
    pub(super) async fn answer(&mut self, cluster: ClusterId, answer: &SignedTestimony) -> Outcome<Finding> {
        self.member(cluster)?;
        let testimony = &answer.testimony;
        let row = match self.retests.get(&testimony.retest) {
            Some(row) => Some(row.clone()).filter(|row| row.cluster == cluster),
            None => self.tx.retests_by_id(cluster, &[testimony.retest]).await?.pop(),
        };
        let open = |row: &Retest| matches!(row.state, RetestState::Sent | RetestState::Waiting);
        let mut retest = row.filter(open).ok_or(Refused::NotOutstanding)?;
        // Used up with this answer, whatever comes of it.
        let nonce = retest.nonce.take().ok_or(Refused::NotOutstanding)?;
        let id = retest.finding;
        self.load_findings(cluster, &[id]).await?;
        let (attempts, observed) = (retest.attempts, retest.observed);
        retest.state = RetestState::Answered;
        retest.answered_at = Some(self.now);
        retest.verdict = Some(testimony.verdict);
        retest.reason = Some(testimony.reason.clone());
        retest.reach = Some(testimony.reach);
        let command = Command::Answer(Answer { retest: retest.id, nonce, observed, attempts, testimony });
        self.decide(&Actor::Agent(cluster), (cluster, id), command, Some(retest))?;
        if self.retests.get(&testimony.retest).is_some_and(|row| row.state == RetestState::Answered) {
            self.receipt(cluster, id, answer);
        }
        self.woken.insert(cluster);
        self.tell(LiveChange::Retest { retest: testimony.retest, finding: id, verdict: testimony.verdict });
        Ok(self.finding(cluster, id).cloned().ok_or(Refused::Unknown)?)
    }

    /// The receipt belongs to the event that the verdict caused: the last one so far.
    fn receipt(&mut self, cluster: ClusterId, finding: FindingId, answer: &SignedTestimony) {
        let Some(event) = self.entries.len().checked_sub(1) else { return };
        let receipt = StoredReceipt {
            cluster,
            retest: answer.testimony.retest,
            finding,
            testimony: answer.text.clone(),
            agent_signature: answer.signature.clone(),
            agent_certificate: answer.certificate.clone(),
            recorded_at: self.now,
            event: holdfast_store::EventId::default(),
            receipt: None,
        };
        self.receipts.push((event, receipt));
    }

    /// Keeps an event.
    pub(super) fn record(&mut self, activity: Activity) -> Outcome<()> {
        let entry = Entry::of(activity).map_err(|source| StoreError::Form { operation: "record event", source })?;
        self.entries.push(entry);
        Ok(())
    }

    /// Decides one command on one finding and keeps what follows. `answering` is the retest that this settles or delays.
    fn decide(&mut self, actor: &Actor, place: Place, command: Command<'_>, answering: Option<Retest>) -> Outcome<()> {
        let slot = self.slots.get(&place).and_then(|slot| slot.now.as_ref());
        let subject = match (&command, slot) {
            (Command::Observe(observed), _) => Some(observed.key),
            (_, finding) => finding.map(|finding| &finding.key),
        };
        let key = subject.ok_or(Refused::Unknown)?;
        let fresh = match slot {
            Some(_) => self.edge.draw().ok_or(WriteError::Stopped)?,
            None => [0; 16],
        };
        let context = Context {
            now: self.now,
            actor,
            on_deletion: Control::find(key.control.as_str()).map_or(OnDeletion::Retires, |control| control.on_deletion),
            in_scope: self.in_scope(place.0, &key.resource),
            fresh: RetestId::from_bytes(fresh),
        };
        let outstanding = slot.and_then(|finding| finding.retest);
        match decide(&context, slot, command)? {
            Some(decision) => self.accept(place, decision, outstanding, answering),
            None => {
                self.retests.extend(answering.map(|retest| (retest.id, retest)));
                Ok(())
            }
        }
    }

    fn in_scope(&self, cluster: ClusterId, resource: &Resource) -> bool {
        let namespace = match &resource.namespace {
            Some(namespace) => Some(namespace),
            None if resource.group.is_empty() && resource.kind == "Namespace" => Some(&resource.name),
            None => None,
        };
        let excluded = self.excluded.get(&cluster);
        !namespace.is_some_and(|namespace| excluded.is_some_and(|excluded| excluded.contains(namespace)))
    }

    fn accept(
        &mut self,
        place: Place,
        decision: Decision,
        outstanding: Option<RetestId>,
        answering: Option<Retest>,
    ) -> Outcome<()> {
        let Decision { finding, events, retest } = decision;
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
        if let RetestChange::Order { retest: id, cause } = retest {
            self.retests.insert(id, requested(id, place, cause, self.now));
            self.woken.insert(place.0);
        }
        for event in events {
            self.record(event)?;
        }
        self.changes.push(changed(&finding));
        let slot = self.slots.entry(place).or_insert(Slot { before: None, now: None, written: false });
        (slot.now, slot.written) = (Some(finding), true);
        Ok(())
    }

    /// Writes everything and commits.
    pub(super) async fn finish(mut self) -> Result<Told, StoreError> {
        let dirty = self.slots.values().filter(|slot| slot.written);
        let written: Vec<_> =
            dirty.filter_map(|slot| slot.now.as_ref().map(|after| Written { before: slot.before, after })).collect();
        self.tx.write_findings(&written).await?;
        let ids = self.tx.add_events(&self.entries).await?;
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
        Ok(Told { changes: self.changes, woken: self.woken })
    }
}

fn requested(id: RetestId, place: Place, cause: holdfast_record::RetestCause, now: i64) -> Retest {
    Retest {
        id,
        cluster: place.0,
        finding: place.1,
        cause,
        state: RetestState::Waiting,
        requested_at: now,
        due_at: now,
        attempts: 0,
        nonce: None,
        observed: 0,
        sent_at: None,
        answered_at: None,
        verdict: None,
        reason: None,
        reach: None,
    }
}
