//! A sensor that only the unit tests have: it proves that a sensor costs three files, its own two and the list in `mod.rs`. It
//! reports a kind of signal that no other file knows.

use holdfast_model::SignalKind;

use super::{At, Behavior, Context, Event, Hook, Sensor, Signal};

const FAKED: SignalKind = SignalKind::known("faked-signal");

pub(super) const SENSOR: Sensor = Sensor {
    id: "fake",
    hooks: &[Hook::needed("fake_exit", At::Kernel("sched_process_exit"))],
    behaviors: &[Behavior { name: "FAKED", kinds: &[FAKED] }],
    contributes_to: &[],
    decode,
};

fn decode(_: &Event<'_>, _: &Context<'_>) -> Vec<Signal> {
    vec![Signal { object: "exit".to_owned(), ..Signal::of(FAKED) }]
}
