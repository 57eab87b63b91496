//! Mounts that a container's process made, moved, or made its root. The target is what the process asked for.

use holdfast_model::SignalKind;

use super::{Act, At, Event, Hook, Node, Reading, Sensor};
use crate::bytes::until_zero;
use crate::text::shown;

pub(super) const SENSOR: Sensor = Sensor {
    id: "mount",
    hooks: &[
        Hook::needed("mount_mount", At::Call("mount")),
        Hook::needed("mount_pivot", At::Call("pivot_root")),
        Hook::needed("mount_move", At::Call("move_mount")),
        Hook::needed("mount_open_tree", At::Call("open_tree")),
    ],
    behaviors: &[Act::Mount],
    read,
};

fn read(event: &Event<'_>, _: &Node<'_>) -> Vec<Reading> {
    let object = match event.detail {
        1 => "mount",
        2 => "move_mount",
        3 => "pivot_root",
        _ => "open_tree",
    };
    let path = shown(until_zero(event.path));
    vec![Reading { object: object.to_owned(), path, ..Reading::of(SignalKind::Mount) }]
}
