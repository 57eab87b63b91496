//! What an agent's statements do to a finding. A pass or a deletion resolves and is then proved; nothing here verifies.

use holdfast_model::digest::statement_hash;
use holdfast_model::{Location, Observation, RetiredReason, Severity, Status};

use super::{Change, Context, Decision, Observed};
use crate::detection::{Detection, Source, Standing};
use crate::event::{By, Happened};
use crate::finding::{Finding, Phase};
use crate::retest::RetestCause;

/// A statement about something that has no record: only a failure makes one.
pub(super) fn unknown(context: &Context<'_>, slot: &mut Option<Finding>, observed: &Observed<'_>) -> Option<Decision> {
    let Observation::Fail { severity, locations } = &observed.statement.observation else {
        return None;
    };
    let mut change = Change::opening(context, slot.insert(first(context, observed, *severity, locations)));
    let opened =
        Happened::FindingOpened { severity: *severity, source: Source::Posture, count: 1, locations: locations.len() };
    let cause = format!("{} fails on {}", observed.key.control, observed.key.resource);
    change.event(cause, opened);
    if !context.in_scope {
        change.retire(RetiredReason::OutOfScope, "its namespace is out of scope".into());
    }
    change.done()
}

fn first(context: &Context<'_>, observed: &Observed<'_>, severity: Severity, locations: &[Location]) -> Finding {
    let version = observed.statement.control_version;
    let mut finding = Finding::opened(observed.key.clone(), severity, version, locations.to_vec(), context.now);
    (finding.state.origin, finding.state.read) = (observed.origin.clone(), observed.read.clone());
    finding
}

/// A statement about a finding that is on record.
pub(super) fn known(change: Change<'_>, observed: &Observed<'_>) -> Option<Decision> {
    match &observed.statement.observation {
        Observation::Fail { severity, locations } => fail(change, observed, *severity, locations),
        Observation::Pass => pass(change, observed),
        Observation::Gone => gone(change),
        Observation::Unknown { reason } => unjudged(change, reason),
        Observation::Withdrawn => withdrawn(change),
    }
}

fn fail(
    mut change: Change<'_>,
    observed: &Observed<'_>,
    severity: Severity,
    locations: &[Location],
) -> Option<Decision> {
    let version = observed.statement.control_version;
    let hash = statement_hash(change.finding.id, version, locations);
    if change.finding.statement() == Some(hash) && is_repeat(change.finding, observed) {
        return None;
    }
    let judged_anew = version != change.finding.state.control_version;
    let moved = change.finding.locations() != locations || judged_anew;
    let statement = Detection {
        statement: Some(hash),
        ..Detection::posture(severity, version, locations.to_vec(), change.context.now)
    };
    put(&mut change, statement);
    let state = &mut change.finding.state;
    state.observed += 1;
    state.base_severity = severity;
    state.control_version = version;
    state.origin.clone_from(observed.origin);
    state.read.clone_from(observed.read);
    state.unjudged = None;
    match change.finding.status() {
        _ if !change.context.in_scope => stay_out_of_scope(&mut change),
        Status::Open | Status::InProgress if moved => {
            let changed = Happened::FindingChanged { severity, version, locations: locations.len() };
            change.event("it fails elsewhere, or otherwise, than before", changed);
        }
        Status::Open | Status::InProgress => {}
        Status::Resolved if judged_anew => {
            change.refute(format!("version {version} of the control judges it as failing"));
        }
        Status::Resolved => change.refute("the agent has seen it failing since".into()),
        Status::Verified | Status::Retired => change.reopen("the agent sees it failing again".into()),
    }
    change.done()
}

/// The posture's present statement takes the place of its last: an agent states all locations, so nothing is folded.
fn put(change: &mut Change<'_>, mut statement: Detection) {
    change.evidence = true;
    let Some(known) = change.finding.detection_mut(&Source::Posture) else {
        return change.finding.add_detection(statement);
    };
    statement.seen.first_seen_at = known.seen.first_seen_at;
    statement.seen.count = known.seen.count.saturating_add(1);
    *known = statement;
}

/// Whether a statement adds nothing to what is known: the same failure, on the same version of the object where that matters.
fn is_repeat(finding: &Finding, observed: &Observed<'_>) -> bool {
    match finding.state.phase {
        Phase::Open | Phase::InProgress => finding.state.unjudged.is_none(),
        Phase::Resolved { .. } => finding.state.read == *observed.read,
        Phase::Verified { .. } => false,
        Phase::Retired { reason, .. } => reason == RetiredReason::OutOfScope,
    }
}

fn stay_out_of_scope(change: &mut Change<'_>) {
    if change.finding.retired_reason() != Some(RetiredReason::OutOfScope) {
        change.retire(RetiredReason::OutOfScope, "its namespace is out of scope".into());
    }
}

fn pass(mut change: Change<'_>, observed: &Observed<'_>) -> Option<Decision> {
    let version = observed.statement.control_version;
    let judged_anew = version != change.finding.state.control_version;
    match change.finding.status() {
        Status::Open | Status::InProgress => {
            note_not_failing(&mut change);
            change.finding.state.control_version = version;
            change.finding.state.read.clone_from(observed.read);
            change.resolve(None, RetestCause::ObservedPass, "the agent sees it passing".into(), By::Observation);
        }
        Status::Resolved if judged_anew => {
            note_not_failing(&mut change);
            change.finding.state.control_version = version;
            let why = format!("version {version} of the control judges it now");
            change.leave_unverified(&why);
            change.event(why, Happened::ControlChanged { version });
            change.order(RetestCause::ControlChanged);
        }
        _ if is_stated(change.finding) => note_not_failing(&mut change),
        _ => return None,
    }
    change.done()
}

fn gone(mut change: Change<'_>) -> Option<Decision> {
    let is_stated = is_stated(change.finding);
    match &mut change.finding.state.phase {
        Phase::Open | Phase::InProgress => {
            note_not_failing(&mut change);
            let why = "the agent sees that the resource was deleted".to_owned();
            change.resolve(None, RetestCause::ObservedGone, why, By::Observation);
        }
        Phase::Verified { current, .. } if *current => {
            *current = false;
            note_not_failing(&mut change);
            change.event("the resource was deleted after the proof", Happened::FindingNoLongerCurrent {});
        }
        _ if is_stated => note_not_failing(&mut change),
        _ => return None,
    }
    change.done()
}

/// Whether the posture holds anything against it, or cannot judge it.
fn is_stated(finding: &Finding) -> bool {
    let posture = finding.detection(&Source::Posture);
    finding.state.unjudged.is_some()
        || posture.is_some_and(|posture| posture.standing != Standing::Ended || posture.statement.is_some())
}

/// The agent's ledger no longer holds a failing statement. The status is another question.
fn note_not_failing(change: &mut Change<'_>) {
    change.end_detection(&Source::Posture);
    change.finding.state.unjudged = None;
    change.finding.state.observed += 1;
}

/// The agent cannot judge it: the record keeps what it knew, and why it cannot be looked at.
fn unjudged(mut change: Change<'_>, reason: &str) -> Option<Decision> {
    if change.finding.statement().is_none() && change.finding.state.unjudged.as_deref() == Some(reason) {
        return None;
    }
    cannot_judge(&mut change, reason);
    change.done()
}

/// The ledger holds nothing of what cannot be judged; the detection stands until something else is observed.
fn cannot_judge(change: &mut Change<'_>, reason: &str) {
    change.finding.state.unjudged = Some(reason.to_owned());
    if let Some(posture) = change.finding.detection_mut(&Source::Posture) {
        change.evidence |= posture.statement.take().is_some();
    }
}

/// A control that went away closes nothing that is open: a rule deleted or downgraded is no fix.
fn withdrawn(mut change: Change<'_>) -> Option<Decision> {
    let reason = "the agent no longer has this control";
    if change.finding.status() == Status::Resolved {
        cannot_judge(&mut change, reason);
        change.retire(RetiredReason::ControlWithdrawn, "its control no longer exists".into());
        return change.done();
    }
    unjudged(change, reason)
}
