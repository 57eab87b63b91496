//! Whether a container changed its own root file system. Rings of io_uring open files past every call that is watched: whoever
//! makes one counts as having changed it, and `object` says so.

use holdfast_model::SignalKind;

use super::{Act, At, Event, Hook, Node, Reading, Sensor};

const PAST_CALLS: u32 = 2;
/// What `object` says of a ring.
pub(crate) const RING: &str = "io_uring";

pub(super) const SENSOR: Sensor = Sensor {
    id: "root",
    hooks: &[
        call("mkdirat"),
        call("unlinkat"),
        call("renameat2"),
        call("symlinkat"),
        call("linkat"),
        call("mknodat"),
        call("fchmod"),
        call("fchmodat"),
        call("fchown"),
        call("fchownat"),
        call("truncate"),
        call("utimensat"),
        call("setxattr"),
        call("lsetxattr"),
        call("fsetxattr"),
        call("removexattr"),
        call("lremovexattr"),
        call("fremovexattr"),
        Hook::needed("root_bind", At::Call("bind")),
        // What newer machines never had, and what older kernels have not yet.
        older("mkdir"),
        older("rmdir"),
        older("unlink"),
        older("rename"),
        older("renameat"),
        older("symlink"),
        older("link"),
        older("mknod"),
        older("chmod"),
        older("chown"),
        older("lchown"),
        older("utime"),
        older("utimes"),
        older("futimesat"),
        older("fchmodat2"),
        older("setxattrat"),
        older("removexattrat"),
        Hook::optional("root_ring", At::Call("io_uring_setup")),
    ],
    behaviors: &[Act::RootChanged],
    read,
};

const fn call(name: &'static str) -> Hook {
    Hook::needed("root_call", At::Call(name))
}

const fn older(name: &'static str) -> Hook {
    Hook::optional("root_call", At::Call(name))
}

fn read(event: &Event<'_>, _: &Node<'_>) -> Vec<Reading> {
    let object = if event.detail & PAST_CALLS != 0 { RING.to_owned() } else { String::new() };
    vec![Reading { object, ..Reading::of(SignalKind::RootWrite) }]
}
