//! How much a value takes on the wire, at most. The core knows no message, and must close a batch before it is too large: the
//! bounds count what any length-prefixed encoding takes, and the conversion in `agent/` is tested against them.

use holdfast_model::{
    Coverage, DetectionBatch, Location, Observation, Origin, Read, Report, Resource, RuntimeDetection, Statement,
};

use crate::pod_index::ScheduledPod;

/// A tag and an integer of 64 bits.
const INTEGER: usize = 11;
/// A tag and the length of a nested message: both ends refuse a message of which it would take more.
const NESTED: usize = 6;

/// A report with its statements.
pub fn report(report: &Report) -> usize {
    let Report { resource: about, read: Read { uid, resource_version, hash }, origin: from, statements } = report;
    let read = NESTED + text(uid) + text(resource_version) + NESTED + hash.len();
    NESTED + resource(about) + read + origin(from) + statements.iter().map(statement).sum::<usize>()
}

/// One statement of a report.
pub fn statement(statement: &Statement) -> usize {
    let observation = match &statement.observation {
        Observation::Fail { severity, locations: at } => text(severity.as_str()) + locations(at),
        Observation::Unknown { reason } => text(reason),
        Observation::Pass | Observation::Gone | Observation::Withdrawn => 0,
    };
    NESTED + text(statement.control.as_str()) + INTEGER + NESTED + observation
}

/// A detection batch with its detections.
pub fn detection_batch(batch: &DetectionBatch) -> usize {
    NESTED + text(&batch.source) + text(&batch.run) + INTEGER + detections(&batch.detections)
}

/// Detections.
pub fn detections(detections: &[RuntimeDetection]) -> usize {
    detections.iter().map(detection).sum()
}

fn detection(detection: &RuntimeDetection) -> usize {
    let names = text(detection.control.as_str()) + text(detection.severity.as_str());
    let seen = locations(&detection.seen.locations) + 3 * INTEGER;
    NESTED + resource(&detection.resource) + origin(&detection.origin) + names + INTEGER + seen
}

/// A coverage state.
pub fn coverage(coverage: &Coverage) -> usize {
    NESTED + text(&coverage.subject) + text(coverage.state.as_str()) + text(&coverage.reason) + INTEGER
}

/// A scope proposal.
pub fn proposal(namespace: &str, label: &str, value: &str) -> usize {
    NESTED + text(namespace) + text(label) + text(value)
}

/// A Pod as its node is sent it.
pub fn pod(pod: &ScheduledPod) -> usize {
    let containers = pod.containers.iter();
    let containers =
        containers.map(|c| NESTED + text(&c.name) + text(&c.id) + text(c.role) + text(&c.image)).sum::<usize>();
    let names = text(&pod.uid) + optional(&pod.static_uid) + text(&pod.namespace) + text(&pod.name);
    NESTED + names + pod.owner.as_ref().map_or(0, resource) + containers
}

fn resource(resource: &Resource) -> usize {
    let Resource { group, kind, namespace, name } = resource;
    NESTED + text(group) + text(kind) + optional(namespace) + text(name)
}

fn origin(origin: &Origin) -> usize {
    let Origin { owner, manager, release, chart } = origin;
    NESTED + [owner, manager, release, chart].into_iter().map(optional).sum::<usize>()
}

fn locations(locations: &[Location]) -> usize {
    let one =
        |at: &Location| NESTED + text(&at.path) + text(&at.value) + optional(&at.container) + optional(&at.object);
    locations.iter().map(one).sum()
}

fn optional(value: &Option<String>) -> usize {
    value.as_deref().map_or(0, text)
}

fn text(value: &str) -> usize {
    NESTED + value.len()
}
