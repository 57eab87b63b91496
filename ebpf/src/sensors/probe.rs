//! The heartbeat probe: a thread that the agent itself names must come back through hook, ring buffer and decoder.

use super::{At, Behavior, Context, Event, Hook, Sensor, Signal};

/// What the driver knows its own event by.
pub(super) const PROBE: Behavior = Behavior { name: "PROBE", kinds: &[] };

pub(super) const SENSOR: Sensor = Sensor {
    id: "probe",
    hooks: &[Hook::needed("probe_renamed", At::Kernel("task_rename"))],
    behaviors: &[PROBE],
    contributes_to: &[],
    decode,
};

/// The driver itself waits for the event; it is no runtime observation.
fn decode(_: &Event<'_>, _: &Context<'_>) -> Vec<Signal> {
    Vec::new()
}
