//! Whether a container shows none of a control's behaviors: it was watched from its own start, without a gap, for long enough.
//! A behavior counts for as long as the container lives that showed it: only its end undoes it.

use holdfast_model::{SignalKind, UnixMillis};

use super::allowance::time;
use super::{ObservedContainer, behavior};
use crate::catalog::Control;
use crate::facts::pod::short;
use crate::process::RuntimeVerdict;

/// One verdict a behavior, or one for the whole container.
pub(super) fn judge(control: &Control, kinds: &[SignalKind], seen: &ObservedContainer<'_>) -> Vec<RuntimeVerdict> {
    let Some(watched) = &seen.container.observation else {
        return vec![RuntimeVerdict::Unread("no sensor watches it".into())];
    };
    let done: Vec<RuntimeVerdict> = watched
        .behaviors
        .iter()
        .filter(|done| kinds.contains(&done.kind))
        .filter(|done| match seen.listed {
            Some(pod) => behavior::control_for(done.kind, &done.object, pod).is_some_and(|of| of.id == control.id),
            None => true,
        })
        .map(|done| RuntimeVerdict::Contradicts(fact(done, watched.until)))
        .collect();
    if !done.is_empty() {
        return done;
    }
    let (seen_for, window) = (watched.millis(), seen.windows.idle_after);
    let open = if let Some(gap) = watched.gap(kinds) {
        format!("what it did may have been missed: {gap}")
    } else if !watched.from_start {
        "it has not been watched from its start".to_owned()
    } else if seen_for < window {
        format!("it has been watched for {} of {}", time(seen_for), time(window))
    } else {
        return vec![RuntimeVerdict::Agrees];
    };
    vec![RuntimeVerdict::Unread(open.into())]
}

/// `shell by sh (pid 4711) 7 times, last 12 s before`.
fn fact(done: &holdfast_model::container_observation::ObservedBehavior, until: UnixMillis) -> String {
    let object = if done.object.is_empty() { String::new() } else { format!(" ({})", short(&done.object)) };
    let times = if done.count == 1 { "once".to_owned() } else { format!("{} times", done.count) };
    let ago = time((until - done.last).max(0));
    format!("{}{object} by {} (pid {}) {times}, the last {ago} ago", done.kind, short(&done.name), done.pid)
}
