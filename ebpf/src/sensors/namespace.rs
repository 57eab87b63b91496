//! Namespaces that a process of a container entered (setns) or made (unshare, clone), and moves out of its cgroup.

use holdfast_model::SignalKind;

use super::{At, Behavior, Context, Event, Hook, Sensor, Signal};
use crate::bytes::until_zero;
use crate::text::escaped;

const SETNS: u32 = 1;
const UNSHARE: u32 = 2;
const LEFT: u32 = 4;
/// In the order of the bits.
const NAMESPACES: [&str; 7] = ["user", "pid", "net", "mnt", "ipc", "uts", "cgroup"];

pub(super) const SENSOR: Sensor = Sensor {
    id: "namespace",
    hooks: &[
        Hook::needed("namespace_setns", At::Call("setns")),
        Hook::needed("namespace_unshare", At::Call("unshare")),
        Hook::needed("namespace_clone", At::Kernel("sched_process_fork")),
        Hook::needed("namespace_left", At::Kernel("cgroup_attach_task")),
    ],
    behaviors: &[Behavior { name: "NAMESPACES_CHANGED", kinds: &[SignalKind::NamespaceEntry] }],
    contributes_to: &[],
    decode,
};

fn decode(event: &Event<'_>, _: &Context<'_>) -> Vec<Signal> {
    if event.detail == LEFT {
        let (object, path) = ("left its cgroup".to_owned(), escaped(until_zero(event.path)));
        return vec![Signal { object, path, ..Signal::of(SignalKind::NamespaceEntry) }];
    }
    let is = |bit: usize| event.subject >> bit & 1 == 1;
    let names: Vec<&str> =
        NAMESPACES.into_iter().enumerate().filter(|(bit, _)| is(*bit)).map(|(_, name)| name).collect();
    let names = names.join(", ");
    let object = match event.detail {
        SETNS if names.is_empty() => "setns".to_owned(),
        SETNS => format!("setns; now in the node's {names}"),
        UNSHARE => format!("unshare {names}"),
        _ => format!("clone {names}"),
    };
    vec![Signal { object: object.trim_end().to_owned(), ..Signal::of(SignalKind::NamespaceEntry) }]
}
