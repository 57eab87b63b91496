//! RuntimeDetection batches that have not been acknowledged. A batch never changes once it is made, so that the aggregator recognises it
//! when it is sent again. Of what the agent observed itself one batch is made at a time; the rest is folded by finding meanwhile.

use std::collections::{BTreeMap, VecDeque};

use holdfast_model::limits::BATCH_BYTES;
use holdfast_model::{DetectionBatch, Resource, RuntimeDetection};

use crate::size;

/// Detections in one batch of the agent's own: each is some ten kilobytes at most.
const DETECTIONS: usize = 16;

#[derive(Debug, Default)]
pub(super) struct DetectionQueue {
    batches: VecDeque<DetectionBatch>,
    /// The agent's own observations, by finding.
    own: BTreeMap<(Resource, String), RuntimeDetection>,
    /// This start of the agent: its own batches are numbered within it.
    run: String,
    sequence: u64,
    /// Whether an own batch is queued or sent, and not acknowledged.
    is_own_pending: bool,
}

impl DetectionQueue {
    pub(super) fn new(run: &str) -> Self {
        Self { run: run.to_owned(), ..Self::default() }
    }

    /// Folds it into what waits about the same finding.
    pub(super) fn add_own(&mut self, detection: RuntimeDetection) {
        let key = (detection.resource.clone(), detection.control.as_str().to_owned());
        match self.own.get_mut(&key) {
            Some(waiting) => _ = waiting.seen.fold(&detection.seen),
            None => _ = self.own.insert(key, detection),
        }
    }

    pub(super) fn push(&mut self, batch: DetectionBatch) {
        self.batches.push_back(batch);
    }

    /// Whether nothing could be taken now.
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty() && (self.own.is_empty() || self.is_own_pending)
    }

    /// The first batches, as many as half a message holds, and one at least.
    pub(super) fn take(&mut self) -> Vec<DetectionBatch> {
        self.make_own();
        let (mut bytes, mut taken) = (0, Vec::new());
        while let Some(batch) = self.batches.pop_front() {
            bytes += size::detection_batch(&batch);
            if bytes > BATCH_BYTES && !taken.is_empty() {
                self.batches.push_front(batch);
                break;
            }
            taken.push(batch);
        }
        taken
    }

    fn make_own(&mut self) {
        if self.own.is_empty() || self.is_own_pending {
            return;
        }
        let taken = std::iter::from_fn(|| self.own.pop_first()).take(DETECTIONS);
        let detections = taken.map(|(_, detection)| detection).collect();
        self.sequence += 1;
        self.is_own_pending = true;
        let (source, run, sequence) = (String::new(), self.run.clone(), self.sequence);
        self.batches.push_back(DetectionBatch { source, run, sequence, detections });
    }

    /// These have been sent and not acknowledged: they come first again, in their order.
    pub(super) fn put_back(&mut self, batches: Vec<DetectionBatch>) {
        batches.into_iter().rev().for_each(|batch| self.batches.push_front(batch));
    }

    pub(super) fn acknowledged(&mut self, batch: &DetectionBatch) {
        if batch.source.is_empty() {
            self.is_own_pending = false;
        }
    }
}
