//! What a source other than the posture states becomes evidence on the same finding, beside the posture's. It opens what nobody
//! had reported and questions what counts as fixed. It proves nothing and closes nothing.

use holdfast_model::{RetiredReason, UnixMillis};

use super::{Change, Context, Decision, Detected};
use crate::detection::{Detection, Source};
use crate::event::Happened;
use crate::finding::{Finding, Phase};
use crate::retest::RetestCause;

/// Something that has no record yet.
pub(super) fn unknown(context: &Context<'_>, slot: &mut Option<Finding>, detected: Detected<'_>) -> Option<Decision> {
    let Detected { key, origin, detection, control_version, .. } = detected;
    let cause = cause(&detection);
    let opened = Happened::FindingOpened {
        severity: detection.severity,
        source: detection.source.clone(),
        count: detection.seen.count,
        locations: detection.seen.locations.len(),
    };
    let finding = slot.insert(Finding::new(key.clone(), origin.clone(), detection, control_version, context.now));
    let mut change = Change::opening(context, finding);
    change.event(cause, opened);
    if !context.in_scope {
        change.retire(RetiredReason::OutOfScope, "its namespace is out of scope".into());
    }
    change.done()
}

/// Something that is on record.
pub(super) fn known(mut change: Change<'_>, detected: Detected<'_>) -> Option<Decision> {
    let source = detected.detection.source.clone();
    let seen_at = detected.detection.seen.last_seen_at;
    let can_look = detected.can_look;
    attach(&mut change, detected.detection);
    match change.finding.state.phase {
        _ if !change.context.in_scope => {}
        Phase::Open | Phase::InProgress => {}
        // Its retest decides; what was observed meanwhile makes an answer stale.
        Phase::Resolved { at, .. } => change.finding.state.observed += u64::from(is_later(&source, seen_at, at)),
        Phase::Verified { at, .. } | Phase::Retired { at, .. } if !is_later(&source, seen_at, at) => {}
        Phase::Verified { .. } | Phase::Retired { .. } if can_look => question(&mut change, &source),
        Phase::Verified { .. } | Phase::Retired { .. } => change.reopen(again(&source)),
    }
    change.done()
}

/// Whether what was observed then speaks about the time after a claim or a proof. The agent's own stream comes in order; an
/// import may be of any age, so the time that it declares counts.
fn is_later(source: &Source, seen_at: UnixMillis, at: UnixMillis) -> bool {
    match source {
        Source::Posture | Source::Kernel => true,
        Source::Tool(_) => seen_at > at,
    }
}

/// Folds it in. The first detection of a source, and each new location, is an event; more of the same is a count.
fn attach(change: &mut Change<'_>, detection: Detection) {
    let (source, cause) = (detection.source.clone(), cause(&detection));
    let (count, locations) = (detection.seen.count, detection.seen.locations.len());
    change.evidence = true;
    let is_news = match change.finding.detection_mut(&source) {
        Some(known) => known.fold(detection),
        None => {
            change.finding.add_detection(detection);
            true
        }
    };
    if is_news {
        let happened = match source {
            Source::Posture | Source::Kernel => Happened::RuntimeEvidence { source, count, locations },
            Source::Tool(_) => Happened::ToolEvidence { source, count, locations },
        };
        change.event(cause, happened);
    }
}

/// Closed, and stated again by what may be older than the proof: looked at before anything is decided.
fn question(change: &mut Change<'_>, source: &Source) {
    if change.finding.state.retest.is_none() {
        let cause = match source {
            Source::Posture | Source::Kernel => RetestCause::RuntimeEvidence,
            Source::Tool(_) => RetestCause::ToolEvidence,
        };
        change.event(again(source), Happened::RetestRequested { cause });
        change.order(cause);
    }
}

fn again(source: &Source) -> String {
    match source {
        Source::Posture | Source::Kernel => "the kernel shows it again".to_owned(),
        Source::Tool(name) => format!("{name} reports it again"),
    }
}

fn cause(detection: &Detection) -> String {
    let who = match &detection.source {
        Source::Posture | Source::Kernel => "the kernel shows it".to_owned(),
        Source::Tool(name) => format!("{name} reports it"),
    };
    let Some(location) = detection.seen.locations.first() else { return who };
    let object = location.object.as_deref().map_or(String::new(), |object| format!("{object}, "));
    let container = location.container.as_deref().map_or(String::new(), |name| format!("container {name}, "));
    format!("{who}: {object}{container}{}: {}", location.path, location.value)
}
