//! Batches of what sensors observed: a node's batch becomes one detection batch under the same number.
//!
//! It is acknowledged when the aggregator has committed the detection batch, which is counted once however often it is sent; so a
//! leader that dies loses nothing of it and its successor counts nothing twice. A batch waits a little for Pods that the watch
//! has not reported yet.

use std::collections::BTreeMap;

use holdfast_controls::Control;
use holdfast_controls::running::behavior;
use holdfast_model::limits::BATCH_BYTES;
use holdfast_model::runtime_observation::RuntimeObservation;
use holdfast_model::{Occurrences, Origin, Resource, RuntimeDetection, UnixMillis};

use super::{Observed, detection, egress};
use crate::size;

/// How long a batch waits for Pods that are not known. The watch may be a moment behind the kernel.
pub(super) const PATIENCE_MILLIS: UnixMillis = 10_000;
/// How long at least, whatever its node's clock says.
pub(super) const MOMENT_MILLIS: UnixMillis = 1_000;
/// Batches of one node, each of another run, that may wait: one, unless its agent starts again and again.
const RUNS: usize = 4;

/// Which batch of which node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId {
    /// The node, as its certificate names it.
    pub node: String,
    /// The run that the sequence counts in: a boot of the node, and a start of its agent.
    pub run: String,
    /// Number of the batch within the run.
    pub sequence: u64,
}

/// What the sensors of one node observed.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservationBatch {
    /// Which batch it is.
    pub id: BatchId,
    /// The observations.
    pub observations: Vec<RuntimeObservation>,
}

/// Why a batch is not taken in: its node sends it again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchRefused {
    /// A node sends one batch of a run at a time.
    #[error("it came before the last one was acknowledged")]
    Overlaps,
    /// Too many runs.
    #[error("too many runs of this node's agent wait for the aggregator")]
    TooManyRuns,
}

/// Batches by node and run: of a run one at a time.
#[derive(Debug, Default)]
pub(super) struct ObservationBatches(BTreeMap<(String, String), WaitingBatch>);

/// A batch that waits for its Pods, or for its commit.
#[derive(Debug)]
struct WaitingBatch {
    sequence: u64,
    observations: Vec<RuntimeObservation>,
    since: UnixMillis,
    /// It has become a detection batch.
    is_taken: bool,
}

impl ObservationBatches {
    pub(super) fn add(&mut self, batch: ObservationBatch, now: UnixMillis) -> Result<(), BatchRefused> {
        let ObservationBatch { id: BatchId { node, run, sequence }, observations } = batch;
        let of_node = self.0.keys().filter(|(known, _)| *known == node).count();
        match self.0.get(&(node.clone(), run.clone())) {
            Some(known) if known.sequence == sequence => return Ok(()),
            Some(_) => return Err(BatchRefused::Overlaps),
            None if of_node >= RUNS => return Err(BatchRefused::TooManyRuns),
            None => {}
        }
        self.0.insert((node, run), WaitingBatch { sequence, observations, since: now, is_taken: false });
        Ok(())
    }

    /// The batches that wait no longer.
    pub(super) fn take_ready(
        &mut self,
        is_known: impl Fn(&str, &str) -> bool,
        now: UnixMillis,
    ) -> Vec<(BatchId, Vec<RuntimeObservation>)> {
        let mut ready = Vec::new();
        for ((node, run), batch) in self.0.iter_mut().filter(|(_, batch)| !batch.is_taken) {
            if batch.is_ready(|uid| is_known(node, uid), now) {
                batch.is_taken = true;
                let id = BatchId { node: node.clone(), run: run.clone(), sequence: batch.sequence };
                ready.push((id, std::mem::take(&mut batch.observations)));
            }
        }
        ready
    }

    pub(super) fn acknowledge(&mut self, id: &BatchId) -> bool {
        let key = (id.node.clone(), id.run.clone());
        let is_waiting = self.0.get(&key).is_some_and(|batch| batch.sequence == id.sequence);
        is_waiting && self.0.remove(&key).is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl WaitingBatch {
    fn is_ready(&self, is_known: impl Fn(&str) -> bool, now: UnixMillis) -> bool {
        let waited = now - self.since;
        // The Pod of an observation that is old would be known by now: many unknown ones do not hold back those behind them.
        let is_fresh = |it: &RuntimeObservation| waited < MOMENT_MILLIS || now - it.first < PATIENCE_MILLIS;
        waited >= PATIENCE_MILLIS || !self.observations.iter().any(|it| is_fresh(it) && !is_known(&it.pod))
    }
}

impl Observed<'_> {
    /// What one batch is evidence of, folded by finding.
    pub(super) fn detections(
        &self,
        node: &str,
        observations: &[RuntimeObservation],
        now: UnixMillis,
    ) -> Vec<RuntimeDetection> {
        let mut folded: BTreeMap<(Resource, &'static str), (&'static Control, Occurrences)> = BTreeMap::new();
        for observation in observations {
            let Some((owner, control, seen)) = self.evidence(node, observation, now) else { continue };
            match folded.get_mut(&(owner.clone(), control.id)) {
                Some((_, known)) => _ = known.fold(&seen),
                None => _ = folded.insert((owner, control.id), (control, seen)),
            }
        }
        let posture = self.cluster.posture;
        let folded = folded.into_iter().map(|((owner, _), (control, seen))| detection(posture, owner, control, seen));
        bounded(folded.collect())
    }

    fn evidence(
        &self,
        node: &str,
        observation: &RuntimeObservation,
        now: UnixMillis,
    ) -> Option<(Resource, &'static Control, Occurrences)> {
        let (pod, specification) = self.pod(node, &observation.pod)?;
        let by_pod = || Some((pod.owner.clone()?, behavior::evidence(observation, specification)?));
        let by_namespace = || egress::evidence(self, observation, pod);
        let (resource, (control, fact)) = by_pod().or_else(by_namespace)?;
        let container = pod.containers.iter().find(|known| known.id == observation.container && !known.id.is_empty());
        let name = container.map(|known| known.name.as_str());
        let seen = Occurrences {
            count: observation.count,
            first_seen_at: observation.first.min(now),
            last_seen_at: observation.last.min(now),
            ..Occurrences::once(vec![behavior::location(observation, fact, node, &pod.name, name)], now)
        };
        Some((resource, control, seen))
    }
}

/// A detection batch is sent whole: one that would fill a message leaves without the origins, which the posture reports too.
fn bounded(mut detections: Vec<RuntimeDetection>) -> Vec<RuntimeDetection> {
    if size::detections(&detections) > BATCH_BYTES {
        detections.iter_mut().for_each(|detection| detection.origin = Origin::default());
    }
    detections
}
