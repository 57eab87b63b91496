//! Programs started in containers: which, with which flags, and whether it is a shell, rules the node, or was not in the image.

use holdfast_model::SignalKind;

use super::{Act, At, Event, Hook, Node, Reading, Sensor};
use crate::bytes::until_zero;
use crate::masking::masked;

const PRIVILEGED: u32 = 1;
const FOREIGN: u32 = 2;
const NARROW: u32 = 4;
/// The kernel tells no tracepoint of a system call about programs of 32 bits on a machine of 64: their start is all that is
/// seen of them, but for what other hooks see.
pub(crate) const UNWATCHED: &str = "32-bit program: its system calls are not watched";
/// Started as the container's first process: what its image or its specification says that it runs.
const FIRST_PROGRAM: u32 = 8;
const SHELLS: &[&str] = &["sh", "ash", "bash", "dash", "zsh", "ksh", "mksh", "csh", "tcsh", "fish", "rbash"];
/// Programs that are a shell only if they are called as one.
const MANY_IN_ONE: &[&str] = &["busybox", "toybox"];

pub(super) const SENSOR: Sensor = Sensor {
    id: "process",
    hooks: &[
        // First: whoever is on the way into a container must be known before anything else is told.
        Hook::needed("process_room", At::Kernel("cgroup_mkdir")),
        Hook::needed("process_arrives", At::Kernel("cgroup_attach_task")),
        Hook::needed("process_forks", At::Kernel("sched_process_fork")),
        Hook::needed("process_exec", At::Kernel("sched_process_exec")),
    ],
    behaviors: &[Act::Exec],
    read,
};

fn read(event: &Event<'_>, _: &Node<'_>) -> Vec<Reading> {
    let kinds = [
        (SignalKind::ProcessStart, true),
        (SignalKind::PrivilegedStart, event.detail & PRIVILEGED != 0),
        (SignalKind::ForeignBinary, event.detail & FOREIGN != 0),
        (SignalKind::Shell, event.detail & FIRST_PROGRAM == 0 && is_shell(until_zero(event.binary), event.arguments)),
    ];
    let arguments = masked(event.arguments);
    let told = kinds.into_iter().filter(|(_, is)| *is);
    let object = if event.detail & NARROW != 0 { UNWATCHED } else { "" };
    told.map(|(kind, _)| Reading { object: object.to_owned(), arguments: arguments.clone(), ..Reading::of(kind) })
        .collect()
}

/// By the name of its file and the words of its call.
fn is_shell(program: &[u8], arguments: &[u8]) -> bool {
    let program = std::str::from_utf8(program).unwrap_or_default();
    if !MANY_IN_ONE.contains(&program) {
        return SHELLS.contains(&program);
    }
    let words = arguments.split(|byte| *byte == 0).map(|word| std::str::from_utf8(word).unwrap_or_default());
    // A login shell's name begins with a dash.
    let mut names = words.map(|word| base(word).trim_start_matches('-')).skip_while(|name| MANY_IN_ONE.contains(name));
    names.next().is_some_and(|called| SHELLS.contains(&called))
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_is_known_by_its_file_and_a_busybox_by_how_it_is_called() {
        assert!(is_shell(b"bash", b"x\0"));
        assert!(is_shell(b"busybox", b"/bin/sh\0-c\0"));
        assert!(is_shell(b"busybox", b"-ash\0"));
        assert!(is_shell(b"busybox", b"/bin/busybox\0sh\0-c\0"));
        assert!(!is_shell(b"busybox", b"sleep\0sh\0"));
        assert!(!is_shell(b"ssh", b"sh\0"));
    }
}
