//! The state of one cluster: the state machines, and what passes between them.
//!
//! [`Posture`] judges objects, [`PodIndex`] knows where Pods run, [`Runtime`] folds what was observed there, [`Coverages`]
//! what can be looked at, [`Outbox`] holds what the aggregator has not acknowledged. None knows another: what one puts out is
//! handed to the next here. Changes are applied at once and judged together, when the owner settles.

use holdfast_controls::Kind;
use holdfast_controls::facts::Facts;
use holdfast_controls::facts::service::SERVICE;
use holdfast_controls::facts::workload::POD;
use holdfast_controls::inventory::ObjectKey;
use holdfast_model::container_observation::ObservationWindows;
use holdfast_model::digest::LedgerDigest;
use holdfast_model::kernel::NodeStatement;
use holdfast_model::{ClusterId, Coverage, DetectionBatch, UnixMillis};

use crate::outbox::{Outbox, UplinkBatch};
use crate::pod_index::{NodePods, PodIndex, ScheduledPod};
use crate::posture::{ObjectChange, Posture, PostureOutput, Uids, Versions};
use crate::runtime::{BatchId, BatchRefused, Cluster, ObservationBatch, Runtime};

mod coverages;
#[cfg(test)]
mod tests;

use coverages::Coverages;

/// How far the agent has come with its cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Kinds that are seen.
    pub kinds_seen: usize,
    /// Kinds in all.
    pub kinds: usize,
    /// Whether everything that can be seen has been listed once.
    pub synced: bool,
    /// Subjects that are judged.
    pub subjects: usize,
    /// Statements that fail.
    pub failing: usize,
    /// Objects whose facts are kept.
    pub objects: usize,
    /// Batches that have been sent since the start.
    pub sent: u64,
    /// Those of them that are committed.
    pub acknowledged: u64,
}

/// What came of settling.
#[derive(Debug, Default)]
pub struct Settled {
    /// Subjects that were judged.
    pub judged: usize,
    /// Batches of sensors that are done with: evidence of nothing.
    pub done: Vec<BatchId>,
}

/// The state of one cluster.
#[derive(Debug)]
pub struct Engine {
    posture: Posture,
    pods: PodIndex,
    runtime: Runtime,
    coverages: Coverages,
    outbox: Outbox,
}

impl Engine {
    /// Nothing is known of this cluster yet. `run` names this start of the agent: its own detection batches are numbered within
    /// it. `windows` is how long containers must have been watched before what they did not do counts.
    pub fn new(cluster: ClusterId, run: &str, windows: ObservationWindows, now: UnixMillis) -> Self {
        Self {
            posture: Posture::new(cluster, now),
            pods: PodIndex::default(),
            runtime: Runtime::new(windows),
            coverages: Coverages::default(),
            outbox: Outbox::new(run),
        }
    }

    /// The API server's minor version.
    pub fn set_server_minor(&mut self, minor: u32) {
        self.posture.set_server_minor(minor);
    }

    /// Takes in a change of the cluster's objects; of a Pod, with what the index keeps of it.
    pub fn apply(&mut self, change: ObjectChange, pod: Option<Box<ScheduledPod>>, now: UnixMillis) {
        match change {
            ObjectChange::Seen(object) => {
                let key = ObjectKey::of(&object);
                self.apply_to_posture(ObjectChange::Seen(object), now);
                self.apply_service(&key);
                if let Some(pod) = pod {
                    self.apply_pod(&key, pod, now);
                }
            }
            ObjectChange::Deleted { key, uid } => {
                self.apply_deletion(&key, &uid, now);
                self.apply_to_posture(ObjectChange::Deleted { key, uid }, now);
            }
            ObjectChange::Unreadable(_) => self.apply_to_posture(change, now),
            ObjectChange::Coverage { .. } => {
                self.apply_to_posture(change, now);
                self.runtime.peers.set_complete(self.posture.sees(&POD) && self.posture.sees(&SERVICE));
            }
        }
    }

    fn apply_to_posture(&mut self, change: ObjectChange, now: UnixMillis) {
        for output in self.posture.apply(change, now) {
            match output {
                PostureOutput::KindCoverage(coverage) => self.outbox.add_coverage(coverage),
                PostureOutput::ObjectCoverage(coverage) => self.cover(coverage),
                PostureOutput::Proposal(proposal) => self.outbox.add_proposal(proposal),
            }
        }
    }

    /// A Service's addresses, as the inventory has it now.
    fn apply_service(&mut self, key: &ObjectKey) {
        let object = self.posture.inventory().get(key).filter(|_| *key.kind == SERVICE);
        if let (Some(Facts::Service(service)), Some(namespace)) = (object.map(|it| &it.facts), &key.namespace) {
            self.runtime.peers.put_service(namespace, &key.name, service);
        }
    }

    fn apply_deletion(&mut self, key: &ObjectKey, uid: &str, now: UnixMillis) {
        let cluster = Cluster { posture: &self.posture, pods: &self.pods };
        self.runtime.remember_pod(cluster, uid, now);
        self.pods.delete(key, uid);
        self.runtime.peers.remove_pod(uid);
        // The same name may be another Service by now.
        let is_this = self.posture.inventory().get(key).is_some_and(|known| known.meta.uid == uid);
        if let Some(namespace) = key.namespace.as_deref().filter(|_| is_this && *key.kind == SERVICE) {
            self.runtime.peers.remove_service(namespace, &key.name);
        }
    }

    fn apply_pod(&mut self, key: &ObjectKey, pod: Box<ScheduledPod>, now: UnixMillis) {
        if pod.ended {
            let cluster = Cluster { posture: &self.posture, pods: &self.pods };
            self.runtime.remember_pod(cluster, &pod.uid, now);
        }
        let owner = self.posture.inventory().subject_of(key).cloned();
        let pod = self.pods.apply(key, pod, owner);
        self.runtime.apply_addresses(&pod);
    }

    /// Takes in the coverage of something that others look at: kept, and sent again in every session.
    pub fn cover(&mut self, coverage: Coverage) {
        self.coverages.apply(coverage.clone());
        self.outbox.add_coverage(coverage);
    }

    /// The coverage of everything that others look at has been taken in once: a row of the record that is not among it is about
    /// something that no longer exists.
    pub fn complete_coverage(&mut self) {
        if self.coverages.complete() {
            self.outbox.complete_coverage();
        }
    }

    /// A list of this kind has ended. Answers the objects that are known and were not in it.
    pub fn listed(&mut self, kind: &'static Kind, seen: &Uids) -> Vec<(ObjectKey, String)> {
        self.posture.listed(kind, seen)
    }

    /// The versions of the objects of a kind that are held.
    pub fn versions(&self, kind: &'static Kind) -> Versions {
        self.posture.versions(kind)
    }

    /// A retest has read these (uid, resourceVersion).
    pub fn retested(&mut self, reads: Vec<(String, String)>) {
        self.posture.retested(reads);
    }

    /// Takes in what the kernel of a node shows.
    pub fn apply_statement(&mut self, statement: &NodeStatement, now: UnixMillis) {
        self.confirm_ended(statement);
        let cluster = Cluster { posture: &self.posture, pods: &self.pods };
        let detections = self.runtime.apply_statement(cluster, statement, now);
        detections.into_iter().for_each(|detection| self.outbox.add_detection(detection));
    }

    /// A Pod that is listed no more, and of which a node that was read completely shows nothing, has ended.
    fn confirm_ended(&mut self, statement: &NodeStatement) {
        let is_shown = |uid: &str| statement.containers.iter().any(|container| container.pod == uid);
        for uid in statement.pods.iter().filter(|uid| statement.incomplete.is_none() && !is_shown(uid)) {
            self.pods.confirm_ended(&statement.node, uid);
        }
    }

    /// Takes in what the sensors of a node observed.
    pub fn apply_batch(&mut self, batch: ObservationBatch, now: UnixMillis) -> Result<(), BatchRefused> {
        self.runtime.apply_batch(batch, now)
    }

    /// Judges what has changed since the last call.
    pub fn settle(&mut self, now: UnixMillis) -> Settled {
        let outbox = &mut self.outbox;
        let judged = self.posture.settle(now, |report| outbox.add_report(report));
        let inventory = self.posture.inventory();
        for pod in self.pods.assign_owners(|key| inventory.subject_of(key).cloned()) {
            self.runtime.apply_addresses(&pod);
        }
        let cluster = Cluster { posture: &self.posture, pods: &self.pods };
        let batches = self.runtime.settle(cluster, now);
        batches.detections.into_iter().for_each(|batch| self.outbox.add_detection_batch(batch));
        Settled { judged, done: batches.done }
    }

    /// Whether everything that can be seen has been listed, and was not judged as such yet.
    pub fn is_about_to_sync(&self, now: UnixMillis) -> bool {
        self.posture.is_about_to_sync(now)
    }

    /// Whether everything that can be seen has been listed once.
    pub fn is_synced(&self) -> bool {
        self.posture.is_synced()
    }

    /// A new session with the aggregator. Answers the ledger's root, or none while the first lists are under way.
    pub fn restart(&mut self) -> Option<[u8; 32]> {
        // Coverage is in no digest, and little: a record that was restored from an older copy gets all of it again.
        self.posture.kind_coverage().for_each(|coverage| self.outbox.add_coverage(coverage));
        self.coverages.all().for_each(|coverage| self.outbox.add_coverage(coverage.clone()));
        let ledger = self.posture.ledger();
        self.outbox.restart(|resource, control| ledger.fails_on(resource, control));
        if self.coverages.is_complete() {
            self.outbox.complete_coverage();
        }
        self.is_synced().then(|| ledger.digest().root())
    }

    /// The digest over all failing statements.
    pub fn digest(&self) -> &LedgerDigest {
        self.posture.ledger().digest()
    }

    /// The aggregator holds something else in these buckets: everything that fails in them is sent again.
    pub fn resync(&mut self, buckets: Vec<u8>) {
        let failing = self.posture.ledger().failing_in(&buckets);
        self.outbox.resync(buckets, failing);
    }

    /// The next batch, up to the wire's limit; `None` when there is nothing to send. Call after [`Engine::settle`].
    pub fn next_batch(&mut self) -> Option<UplinkBatch> {
        let posture = &self.posture;
        let fails = |resource: &_, control: &str| posture.ledger().fails_on(resource, control);
        self.outbox.next_batch(|resource| posture.evaluate(resource), fails)
    }

    /// Everything up to this batch has been committed. Answers the batches of sensors that are done with.
    pub fn acknowledge(&mut self, sequence: u64) -> Vec<BatchId> {
        let committed = self.outbox.acknowledge(sequence).into_iter();
        let ids = committed.map(|DetectionBatch { source: node, run, sequence, .. }| BatchId { node, run, sequence });
        ids.filter(|id| self.runtime.acknowledge(id)).collect()
    }

    /// The nodes whose Pods have changed since the last call, with their Pods now.
    pub fn take_pod_changes(&mut self) -> Vec<(String, NodePods)> {
        self.pods.take_changes()
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        let (kinds, kinds_seen) = self.posture.kind_counts();
        let (sent, acknowledged) = self.outbox.counts();
        let inventory = self.posture.inventory();
        Progress {
            kinds_seen,
            kinds,
            synced: self.is_synced(),
            subjects: inventory.subjects().count(),
            failing: self.posture.ledger().failing(),
            objects: inventory.len(),
            sent,
            acknowledged,
        }
    }
}
