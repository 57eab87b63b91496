//! Kernel modules that a process of a container loaded.

use holdfast_model::SignalKind;

use super::{At, Behavior, Context, Event, Hook, Sensor, Signal};
use crate::bytes::until_zero;
use crate::text::escaped;

pub(super) const SENSOR: Sensor = Sensor {
    id: "module",
    hooks: &[Hook::needed("module_load", At::Kernel("module_load"))],
    behaviors: &[Behavior { name: "MODULE", kinds: &[SignalKind::ModuleLoad] }],
    contributes_to: &[],
    decode,
};

fn decode(event: &Event<'_>, _: &Context<'_>) -> Vec<Signal> {
    vec![Signal { object: escaped(until_zero(event.path)), ..Signal::of(SignalKind::ModuleLoad) }]
}
