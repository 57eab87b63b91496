//! Programs that are started in containers: with which flags, and whether it is a shell, privileged over the node, or not from the
//! image.

use holdfast_model::SignalKind;

use super::{At, Behavior, Context, Event, Hook, Sensor, Signal};
use crate::bytes::until_zero;
use crate::masking::masked;

const PRIVILEGED: u32 = 1;
const FOREIGN: u32 = 2;
const NARROW: u32 = 4;
/// On a 64-bit machine the kernel's system call tracepoints leave out 32-bit programs: only their start and what other hooks report
/// is observed.
pub(crate) const NOT_OBSERVED: &str = "32-bit program: its system calls are not observed";
/// Started as the container's first process: the program of its image or its specification.
const FIRST_PROGRAM: u32 = 8;
const SHELLS: &[&str] = &["sh", "ash", "bash", "dash", "zsh", "ksh", "mksh", "csh", "tcsh", "fish", "rbash"];
/// Programs that are a shell only when they are called by its name.
const MULTI_CALL: &[&str] = &["busybox", "toybox"];

pub(super) const SENSOR: Sensor = Sensor {
    id: "process",
    hooks: &[
        // First: which processes are arriving in a container must be known before anything else is reported.
        Hook::needed("process_cgroup_made", At::Kernel("cgroup_mkdir")),
        Hook::needed("process_arrives", At::Kernel("cgroup_attach_task")),
        Hook::needed("process_forks", At::Kernel("sched_process_fork")),
        Hook::needed("process_exec", At::Kernel("sched_process_exec")),
    ],
    behaviors: &[Behavior {
        name: "EXEC",
        kinds: &[SignalKind::ProcessStart, SignalKind::PrivilegedStart, SignalKind::ForeignBinary, SignalKind::Shell],
    }],
    contributes_to: &[],
    decode,
};

fn decode(event: &Event<'_>, _: &Context<'_>) -> Vec<Signal> {
    let kinds = [
        (SignalKind::ProcessStart, true),
        (SignalKind::PrivilegedStart, event.detail & PRIVILEGED != 0),
        (SignalKind::ForeignBinary, event.detail & FOREIGN != 0),
        (SignalKind::Shell, event.detail & FIRST_PROGRAM == 0 && is_shell(until_zero(event.binary), event.arguments)),
    ];
    let arguments = masked(event.arguments);
    let signals = kinds.into_iter().filter(|(_, is)| *is);
    let object = if event.detail & NARROW != 0 { NOT_OBSERVED } else { "" };
    signals
        .map(|(kind, _)| Signal { object: object.to_owned(), arguments: arguments.clone(), ..Signal::of(kind) })
        .collect()
}

/// By the name of its file and its arguments.
fn is_shell(program: &[u8], arguments: &[u8]) -> bool {
    let program = std::str::from_utf8(program).unwrap_or_default();
    if !MULTI_CALL.contains(&program) {
        return SHELLS.contains(&program);
    }
    let words = arguments.split(|byte| *byte == 0).map(|word| std::str::from_utf8(word).unwrap_or_default());
    // The name of a login shell begins with a dash.
    let mut names = words.map(|word| base(word).trim_start_matches('-')).skip_while(|name| MULTI_CALL.contains(name));
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
