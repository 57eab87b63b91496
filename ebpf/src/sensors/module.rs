//! Kernel modules that a container's process loaded.

use holdfast_model::SignalKind;

use super::{Act, At, Event, Hook, Node, Reading, Sensor};
use crate::bytes::until_zero;
use crate::text::shown;

pub(super) const SENSOR: Sensor = Sensor {
    id: "module",
    hooks: &[Hook::needed("module_load", At::Kernel("module_load"))],
    behaviors: &[Act::Module],
    read,
};

fn read(event: &Event<'_>, _: &Node<'_>) -> Vec<Reading> {
    vec![Reading { object: shown(until_zero(event.path)), ..Reading::of(SignalKind::ModuleLoad) }]
}
