//! Whether a container changed its own root file system. An io_uring opens files without any system call that is observed: a
//! container that sets one up counts as having changed its root, and `object` says so.

use holdfast_model::SignalKind;

use super::{At, Behavior, Context, Event, Hook, Sensor, Signal};

const PAST_CALLS: u32 = 2;
/// `object` where an io_uring was set up.
pub(crate) const IO_URING: &str = "io_uring";

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
        // Calls that newer architectures have never had, and calls that older kernels do not have.
        optional("mkdir"),
        optional("rmdir"),
        optional("unlink"),
        optional("rename"),
        optional("renameat"),
        optional("symlink"),
        optional("link"),
        optional("mknod"),
        optional("chmod"),
        optional("chown"),
        optional("lchown"),
        optional("utime"),
        optional("utimes"),
        optional("futimesat"),
        optional("fchmodat2"),
        optional("setxattrat"),
        optional("removexattrat"),
        Hook::optional("root_ring", At::Call("io_uring_setup")),
    ],
    behaviors: &[Behavior { name: "ROOT_CHANGED", kinds: &[SignalKind::RootWrite] }],
    contributes_to: &[],
    decode,
};

const fn call(name: &'static str) -> Hook {
    Hook::needed("root_call", At::Call(name))
}

const fn optional(name: &'static str) -> Hook {
    Hook::optional("root_call", At::Call(name))
}

fn decode(event: &Event<'_>, _: &Context<'_>) -> Vec<Signal> {
    let object = if event.detail & PAST_CALLS != 0 { IO_URING.to_owned() } else { String::new() };
    vec![Signal { object, ..Signal::of(SignalKind::RootWrite) }]
}
