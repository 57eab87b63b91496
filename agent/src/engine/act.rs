//! What sensors saw, as evidence under the top owner of the Pod that did it: a node's batch becomes one detection batch.
//!
//! It is acknowledged when the aggregator has committed the detection batch, which is counted once however often it is said; so a
//! leader that dies loses nothing of it and its successor counts nothing twice. What came of Pods that the watch has not
//! shown yet waits a little for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_controls::running::behavior;
use holdfast_controls::{Control, facts::pod::PodSpec};
use holdfast_model::runtime_observation::RuntimeObservation;
use holdfast_model::{DetectionBatch, Occurrences, Origin, Resource, RuntimeDetection, UnixMillis};
use holdfast_proto::{convert, limits};
use prost::Message;

use super::Engine;
use crate::places::Placed;
use crate::relay::NodeObservations;

/// The largest record that is looked at.
const RECORD_BYTES: usize = 64 * 1024;
/// How long a batch waits for Pods that are not known. The watch may be a moment behind the kernel.
const PATIENCE_MILLIS: UnixMillis = 10_000;
/// How long at least, whatever its node's clock says.
const MOMENT_MILLIS: UnixMillis = 1_000;
/// Batches of one node, each of another run, that may wait: one, unless its agent starts again and again.
const RUNS: usize = 4;

/// A batch that waits for its Pods, or for its commit.
#[derive(Debug)]
pub(super) struct Batch {
    from: NodeObservations,
    observations: Vec<RuntimeObservation>,
    since: UnixMillis,
    /// It has become a detection batch.
    packed: bool,
}

/// Batches by node and run: of a run one at a time.
pub(super) type Batches = BTreeMap<(String, String), Batch>;

impl Engine {
    /// Takes in what the sensors of a node saw. The same batch again only has another one waiting for its answer.
    pub fn sight(&mut self, from: NodeObservations, now: UnixMillis) {
        let key = (from.node.clone(), from.run.clone());
        if let Some(known) = self.sighted.get_mut(&key) {
            if known.from.sequence == from.sequence {
                known.from.kept = from.kept;
            } else {
                tracing::warn!(node = from.node, "a batch of observations came before the last one was answered");
            }
            return;
        }
        if self.sighted.keys().filter(|(node, _)| *node == from.node).count() >= RUNS {
            tracing::warn!(node = from.node, "too many runs of this node's agent wait for the aggregator");
            return;
        }
        let observations = from.records.iter().filter_map(|record| read(&from.node, record)).collect();
        self.sighted.insert(key, Batch { from, observations, since: now, packed: false });
    }

    /// Makes detection batches of the batches whose Pods are known by now, or have been waited for long enough.
    pub(super) fn pack(&mut self, now: UnixMillis) {
        if !self.synced {
            return;
        }
        let is_ready = |batch: &Batch| {
            let waited = now - batch.since;
            // Whose act is that old would be known by now: many that nobody knows do not hold back those that come behind.
            let is_fresh =
                |observation: &RuntimeObservation| waited < MOMENT_MILLIS || now - observation.first < PATIENCE_MILLIS;
            let is_unknown = |observation: &RuntimeObservation| self.did(&batch.from.node, &observation.pod).is_none();
            waited >= PATIENCE_MILLIS || !batch.observations.iter().any(|it| is_fresh(it) && is_unknown(it))
        };
        let waiting = self.sighted.iter().filter(|(_, batch)| !batch.packed && is_ready(batch));
        let ready: Vec<_> = waiting.map(|(key, _)| key.clone()).collect();
        for key in ready {
            let Some(batch) = self.sighted.get_mut(&key) else { continue };
            batch.packed = true;
            let (source, run, sequence) = (key.0.clone(), key.1.clone(), batch.from.sequence);
            let observations = std::mem::take(&mut batch.observations);
            let detections = self.detections(&source, &observations, now);
            if detections.is_empty() {
                self.settled(&source, &run, sequence);
            } else {
                self.outbox.pack(DetectionBatch { source, run, sequence, detections });
            }
        }
    }

    /// The aggregator has committed this detection batch: a node may forget what it was made of.
    pub(super) fn settled(&mut self, source: &str, run: &str, sequence: u64) {
        let key = (source.to_owned(), run.to_owned());
        if self.sighted.get(&key).is_some_and(|batch| batch.from.sequence == sequence)
            && let Some(batch) = self.sighted.remove(&key)
        {
            // A node that is gone says it again, and hears that it was taken.
            let _gone = batch.from.kept.send(());
        }
    }

    /// What one batch shows, folded by finding.
    fn detections(&self, node: &str, observations: &[RuntimeObservation], now: UnixMillis) -> Vec<RuntimeDetection> {
        let mut folded: BTreeMap<(Resource, &'static str), (&'static Control, Occurrences)> = BTreeMap::new();
        for observation in observations {
            let Some((owner, control, seen)) = self.evidence_of(node, observation, now) else { continue };
            match folded.get_mut(&(owner.clone(), control.id)) {
                Some((_, known)) => _ = known.fold(&seen),
                None => _ = folded.insert((owner, control.id), (control, seen)),
            }
        }
        let folded = folded.into_iter().map(|((owner, _), (control, seen))| self.detection(owner, control, seen));
        fit(folded.collect())
    }

    fn evidence_of(
        &self,
        node: &str,
        observation: &RuntimeObservation,
        now: UnixMillis,
    ) -> Option<(Resource, &'static Control, Occurrences)> {
        let (placed, spec) = self.did(node, &observation.pod)?;
        let own = || Some((placed.owner.clone()?, behavior::evidence(observation, spec)?));
        let outward = || self.outward(observation, &placed).map(|(about, control, fact)| (about, (control, fact)));
        let (about, (control, fact)) = own().or_else(outward)?;
        let container =
            placed.containers.iter().find(|known| known.id == observation.container && !known.id.is_empty());
        let name = container.map(|known| known.name.as_str());
        let seen = Occurrences {
            count: observation.count,
            first_seen_at: observation.first.min(now),
            last_seen_at: observation.last.min(now),
            ..Occurrences::once(vec![behavior::location(observation, fact, node, &placed.name, name)], now)
        };
        Some((about, control, seen))
    }

    /// The Pod of this node, alive or gone since a short while, with what it was asked to be.
    fn did(&self, node: &str, uid: &str) -> Option<(Arc<Placed>, &PodSpec)> {
        let placed = self.places.of_cgroup(uid).filter(|placed| placed.owner.is_some());
        let alive = placed.and_then(|placed| self.specification(&placed).map(|spec| (placed.clone(), spec)));
        let known = alive.or_else(|| self.departed.get(uid).map(|(placed, spec)| (placed.clone(), spec)));
        known.filter(|(placed, _)| placed.node == node)
    }
}

fn read(node: &str, record: &[u8]) -> Option<RuntimeObservation> {
    if record.len() > RECORD_BYTES {
        return None;
    }
    let read = serde_json::from_slice::<RuntimeObservation>(record);
    read.inspect_err(|error| tracing::debug!(node, %error, "a record of a sensor is no observation")).ok()
}

/// A detection batch leaves whole: one that would fill a message leaves without the origins, which the posture tells as well.
fn fit(mut detections: Vec<RuntimeDetection>) -> Vec<RuntimeDetection> {
    let bytes = |detections: &[RuntimeDetection]| -> usize {
        detections.iter().map(|detection| convert::detection_to_wire(detection).encoded_len() + 8).sum()
    };
    if bytes(&detections) > limits::BATCH_BYTES {
        detections.iter_mut().for_each(|detection| detection.origin = Origin::default());
    }
    detections
}

#[cfg(test)]
mod tests;
