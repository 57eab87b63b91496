//! The machines together: what sensors observe becomes evidence on the right finding, and is counted once.

use holdfast_controls::facts::workload::POD;
use holdfast_controls::{KINDS, project};
use holdfast_model::runtime_observation::{RuntimeObservation, SignalKind};
use holdfast_model::{CoverageState, RuntimeDetection};
use serde_json::{Value, json};

use super::*;
use crate::pod_index;

mod delivery;
mod egress;

/// An object as a collector hands it on.
fn see(engine: &mut Engine, object: &Value, now: UnixMillis) {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let group = text("apiVersion").split_once('/').map_or("", |(group, _)| group);
    let kind = Kind::find(group, text("kind")).unwrap();
    let pod = pod_index::read(kind, object.to_string().as_bytes());
    engine.apply(ObjectChange::Seen(Box::new(project(kind, object).unwrap())), pod, now);
}

fn see_every_kind(engine: &mut Engine, now: UnixMillis) {
    for kind in KINDS {
        let state = CoverageState::Seen;
        engine.apply(ObjectChange::Coverage { kind, state, reason: String::new() }, None, now);
    }
}

fn batch(node: &str, run: &str, sequence: u64, observations: Vec<RuntimeObservation>) -> ObservationBatch {
    ObservationBatch { id: BatchId { node: node.into(), run: run.into(), sequence }, observations }
}

/// The detections of the next batch.
fn detections(engine: &mut Engine) -> Vec<RuntimeDetection> {
    let batches = engine.next_batch().into_iter().flat_map(|batch| batch.detection_batches);
    batches.flat_map(|batch| batch.detections).collect()
}
