//! Namespaces that a container's process entered (setns) or made (unshare, clone), and the cgroup that it left.

use holdfast_model::SignalKind;

use super::{Act, At, Event, Hook, Node, Reading, Sensor};
use crate::bytes::until_zero;
use crate::text::shown;

const SETNS: u32 = 1;
const UNSHARE: u32 = 2;
const LEFT: u32 = 4;
/// In the order of the bits.
const SPACES: [&str; 7] = ["user", "pid", "net", "mnt", "ipc", "uts", "cgroup"];

pub(super) const SENSOR: Sensor = Sensor {
    id: "namespace",
    hooks: &[
        Hook::needed("namespace_setns", At::Call("setns")),
        Hook::needed("namespace_unshare", At::Call("unshare")),
        Hook::needed("namespace_clone", At::Kernel("sched_process_fork")),
        Hook::needed("namespace_left", At::Kernel("cgroup_attach_task")),
    ],
    behaviors: &[Act::Spaces],
    read,
};

fn read(event: &Event<'_>, _: &Node<'_>) -> Vec<Reading> {
    if event.detail == LEFT {
        let (object, path) = ("left its cgroup".to_owned(), shown(until_zero(event.path)));
        return vec![Reading { object, path, ..Reading::of(SignalKind::NamespaceEntry) }];
    }
    let is = |bit: usize| event.subject >> bit & 1 == 1;
    let names: Vec<&str> = SPACES.into_iter().enumerate().filter(|(bit, _)| is(*bit)).map(|(_, name)| name).collect();
    let names = names.join(", ");
    let object = match event.detail {
        SETNS if names.is_empty() => "setns".to_owned(),
        SETNS => format!("setns; now in the node's {names}"),
        UNSHARE => format!("unshare {names}"),
        _ => format!("clone {names}"),
    };
    vec![Reading { object: object.trim_end().to_owned(), ..Reading::of(SignalKind::NamespaceEntry) }]
}
