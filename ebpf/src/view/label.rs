//! The label that a security module (AppArmor, SELinux) gave a process: a file of /proc that needs no right to trace. Without such
//! a module there are no labels, and nothing is read.

use super::proc::start_of;
use super::record::Task;
use crate::text::escaped;

/// Adds labels to the processes of containers.
pub(super) fn add(tasks: &mut [Task]) {
    if of("self").is_none() {
        return;
    }
    for task in tasks.iter_mut().filter(|task| !matches!(task.owner, Some(crate::Owner::Host))) {
        let label = of(&format!("{}/task/{}", task.pid, task.tid));
        // The pid may belong to another process by now.
        let is_same = || start_of(task.pid, task.tid).is_some_and(|start| start.is_of(task.started));
        task.privileges.lsm_label = label.filter(|_| is_same());
    }
}

fn of(thread: &str) -> Option<String> {
    let label = std::fs::read(format!("/proc/{thread}/attr/current")).ok()?;
    let label = label.trim_ascii_end();
    let label = label.strip_suffix(b"\0").unwrap_or(label);
    (!label.is_empty()).then(|| escaped(label))
}
