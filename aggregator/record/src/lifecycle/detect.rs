//! What the kernel showed becomes evidence on the same finding, beside the posture's. It opens what nobody had reported,
//! raises the severity by a named rule where the posture reports it too, and questions what was said to be fixed. It proves
//! nothing and closes nothing.

use holdfast_model::detection::RuntimeEvidence;
use holdfast_model::{RetiredReason, Status};
use serde_json::json;

use super::{Change, Context, Decision, Detected};
use crate::finding::{Finding, Runtime};
use crate::retest::RetestCause;

/// Something that has no record yet.
pub(super) fn unknown(context: &Context<'_>, detected: &Detected<'_>) -> Option<Decision> {
    let seen = detected.seen.clone();
    let (key, locations) = (detected.key.clone(), seen.locations.clone());
    let opened = Finding::opened(key, detected.severity, detected.control_version, locations, context.now);
    let finding = Finding {
        origin: detected.origin.clone(),
        // The ledger of the posture knows nothing of it.
        statement: None,
        runtime: Some(Runtime { seen, raise: 0, by: None }),
        ..opened
    };
    let mut change = Change { context, from: None, finding, events: Vec::new(), retest: crate::RetestChange::Keep };
    let detail = json!({ "severity": detected.severity.as_str(), "source": "runtime", "count": detected.seen.count });
    change.event("finding-opened", cause(detected.seen), detail);
    if !context.in_scope {
        change.retire(RetiredReason::OutOfScope, "its namespace is out of scope".into());
    }
    change.done()
}

/// Something that is on record.
pub(super) fn known(mut change: Change<'_>, detected: &Detected<'_>) -> Option<Decision> {
    attach(&mut change, detected);
    match change.finding.status {
        _ if !change.context.in_scope => {}
        Status::Open | Status::InProgress => {}
        // Its retest looks at the same processes; what was seen meanwhile makes an answer stale.
        Status::Resolved => change.finding.observed += 1,
        Status::Verified | Status::Retired if detected.can_look => question(&mut change),
        Status::Verified | Status::Retired => change.reopen("the kernel shows it again".into()),
    }
    change.done()
}

/// Folds it in. The first sight, and each new place, is an event; more of the same is a count. Only what a control itself is
/// asked about the kernel raises the severity: what merely shows the use of something open is there to be read.
fn attach(change: &mut Change<'_>, detected: &Detected<'_>) {
    let seen = detected.seen;
    let before = change.finding.severity();
    let is_news = match &mut change.finding.runtime {
        Some(known) => known.seen.fold(seen),
        None => {
            let by = detected.raise.clone().filter(|_| change.finding.statement.is_some() && detected.can_look);
            let raise = by.as_ref().map_or(0, |by| by.steps);
            change.finding.runtime = Some(Runtime { seen: seen.clone(), raise, by });
            true
        }
    };
    if is_news {
        change.event("runtime-evidence", cause(seen), json!({ "count": seen.count, "places": seen.locations.len() }));
    }
    let after = change.finding.severity();
    let by = change.finding.runtime.as_ref().and_then(|runtime| runtime.by.clone());
    if let Some(by) = by.filter(|_| before != after) {
        let detail = json!({ "from": before.as_str(), "to": after.as_str(), "reading": by.facts(seen.count) });
        change.event("severity-recalibrated", by.rationale, detail);
    }
}

/// Closed, and seen again by what may be older than the proof: looked at before anything is said.
fn question(change: &mut Change<'_>) {
    if change.finding.retest.is_none() {
        let cause = RetestCause::RuntimeEvidence;
        change.event("retest-requested", "the kernel shows it again", json!({ "cause": cause.as_str() }));
        change.order(cause);
    }
}

fn cause(seen: &RuntimeEvidence) -> String {
    let Some(place) = seen.locations.first() else { return "the kernel shows it".to_owned() };
    let object = place.object.as_deref().map_or(String::new(), |object| format!("{object}, "));
    let container = place.container.as_deref().map_or(String::new(), |name| format!("container {name}, "));
    format!("the kernel shows it: {object}{container}{}: {}", place.path, place.value)
}
