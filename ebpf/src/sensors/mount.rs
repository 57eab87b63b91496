//! Mounts that a process of a container made, moved, or made its root. The target is what the process asked for.

use holdfast_model::SignalKind;

use super::{At, Behavior, Context, Event, Hook, Sensor, Signal};
use crate::bytes::until_zero;
use crate::text::escaped;

pub(super) const SENSOR: Sensor = Sensor {
    id: "mount",
    hooks: &[
        Hook::needed("mount_mount", At::Call("mount")),
        Hook::needed("mount_pivot", At::Call("pivot_root")),
        Hook::needed("mount_move", At::Call("move_mount")),
        Hook::needed("mount_open_tree", At::Call("open_tree")),
    ],
    behaviors: &[Behavior { name: "MOUNTED", kinds: &[SignalKind::Mount] }],
    contributes_to: &[],
    decode,
};

fn decode(event: &Event<'_>, _: &Context<'_>) -> Vec<Signal> {
    let object = match event.detail {
        1 => "mount",
        2 => "move_mount",
        3 => "pivot_root",
        _ => "open_tree",
    };
    let path = escaped(until_zero(event.path));
    vec![Signal { object: object.to_owned(), path, ..Signal::of(SignalKind::Mount) }]
}
