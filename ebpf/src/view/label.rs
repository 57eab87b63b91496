//! The label that a security module (AppArmor, SELinux) gave a process: a file of /proc that needs no right to trace. Where
//! no module is at work there is none, and nothing is asked.

use super::proc::start_of;
use super::record::Task;
use crate::text::shown;

/// Adds labels to the processes of containers.
pub(super) fn add(tasks: &mut [Task]) {
    if of("self").is_none() {
        return;
    }
    for task in tasks.iter_mut().filter(|task| !matches!(task.owner, Some(crate::Owner::Host))) {
        let label = of(&task.pid.to_string());
        // The number may have been given to another process since.
        task.standing.lsm_label = label.filter(|_| start_of(task.pid).is_some_and(|start| start.is_of(task.started)));
    }
}

fn of(pid: &str) -> Option<String> {
    let label = std::fs::read(format!("/proc/{pid}/attr/current")).ok()?;
    let label = label.trim_ascii_end();
    let label = label.strip_suffix(b"\0").unwrap_or(label);
    (!label.is_empty()).then(|| shown(label))
}
