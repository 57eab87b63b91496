//! The proof of an open eye: a thread that the agent names itself must come back through hook, ring and decoder.

use super::{Act, At, Event, Hook, Node, Reading, Sensor};

pub(super) const SENSOR: Sensor = Sensor {
    id: "canary",
    hooks: &[Hook::needed("canary_sings", At::Kernel("task_rename"))],
    behaviors: &[Act::Canary],
    read,
};

/// The driver itself waits for it; it is nobody's runtime observation.
fn read(_: &Event<'_>, _: &Node<'_>) -> Vec<Reading> {
    Vec::new()
}
