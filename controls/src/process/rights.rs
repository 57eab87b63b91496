//! What rules of several controls ask of a process: which capabilities it holds, and which namespaces of its node it is in.
//!
//! Capabilities count against a node only in the host's user namespace: a process that makes a namespace of its own, as
//! browsers and image builders do, has every capability inside it and none outside. Where the specification is known, such
//! processes agree; where it is not, the namespace may or may not be the Pod's, and they count as unread.

use holdfast_model::kernel::Namespaces;

use super::Process;
use super::RuntimeVerdict::{self, Agrees, Contradicts, Unread};
use super::capability::{self, names};

/// What runtimes give a container that asks for nothing: the fourteen of containerd and Docker. CRI-O gives fewer.
pub(crate) const BY_DEFAULT: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// It is in another namespace of this sort than its node.
pub(crate) fn has_own_namespace(what: &str, process: &Process<'_>, of: impl Fn(&Namespaces) -> u32) -> RuntimeVerdict {
    match (of(&process.privileges.namespaces), of(process.host)) {
        (0, _) | (_, 0) => Unread("its namespaces could not be read".into()),
        (its, hosts) if its == hosts => Contradicts(format!("its {what} namespace is the node's ({its})")),
        _ => Agrees,
    }
}

/// It holds none but these capabilities.
pub(crate) fn holds_only(process: &Process<'_>, allowed: u64) -> RuntimeVerdict {
    let beyond = reach(process) & !allowed;
    judge_capabilities(process, || match beyond {
        0 => Agrees,
        _ => Contradicts(format!("{} has {}", held_in(process, beyond), names(beyond))),
    })
}

/// Capabilities of the host's user namespace count; those of another one reach nothing of the node.
pub(crate) fn judge_capabilities(process: &Process<'_>, judge: impl FnOnce() -> RuntimeVerdict) -> RuntimeVerdict {
    match (process.privileges.namespaces.user, process.host.user) {
        (0, _) | (_, 0) => Unread("its user namespace could not be read".into()),
        (its, hosts) if its == hosts => judge(),
        _ if process.spec.is_some() => Agrees,
        _ => Unread("it has a user namespace of its own, and no specification says whether it should".into()),
    }
}

/// Everything that it has or that an exec could still gain.
pub(crate) fn reach(process: &Process<'_>) -> u64 {
    let privileges = process.privileges;
    privileges.effective | privileges.permitted | privileges.bounding
}

/// The strongest of its sets that holds one of these, as /proc calls it.
pub(crate) fn held_in(process: &Process<'_>, capabilities: u64) -> &'static str {
    let privileges = process.privileges;
    if privileges.effective & capabilities != 0 {
        "CapEff"
    } else if privileges.permitted & capabilities != 0 {
        "CapPrm"
    } else {
        "CapBnd"
    }
}

pub(crate) fn default_set() -> u64 {
    capability::set(BY_DEFAULT)
}
