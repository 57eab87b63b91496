//! What an agent's statements do to a finding. A pass or a deletion resolves and is then proved; nothing here verifies.

use holdfast_model::digest::statement_hash;
use holdfast_model::{Location, Observation, RetiredReason, Severity, Status};
use serde_json::json;

use super::{Change, Context, Decision, Observed};
use crate::finding::Finding;
use crate::retest::RetestCause;

/// A statement about something that has no record: only a failure makes one.
pub(super) fn unknown(context: &Context<'_>, observed: &Observed<'_>) -> Option<Decision> {
    let Observation::Fail { severity, locations } = &observed.statement.observation else {
        return None;
    };
    let mut change = Change {
        context,
        from: None,
        finding: first(context, observed, *severity, locations),
        events: Vec::new(),
        retest: crate::RetestChange::Keep,
    };
    let detail = json!({ "severity": severity.as_str(), "locations": locations.len() });
    let cause = format!("{} fails on {}", observed.key.control, observed.key.resource);
    change.event("finding-opened", cause, detail);
    if !context.in_scope {
        change.retire(RetiredReason::OutOfScope, "its namespace is out of scope".into());
    }
    change.done()
}

fn first(context: &Context<'_>, observed: &Observed<'_>, severity: Severity, locations: &[Location]) -> Finding {
    let version = observed.statement.control_version;
    let opened = Finding::opened(observed.key.clone(), severity, version, locations.to_vec(), context.now);
    Finding { origin: observed.origin.clone(), read: observed.read.clone(), ..opened }
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
    if change.finding.statement == Some(hash) && is_repeat(&change.finding, observed) {
        return None;
    }
    let judged_anew = version != change.finding.control_version;
    let moved = change.finding.locations != locations || judged_anew;
    let finding = &mut change.finding;
    finding.statement = Some(hash);
    finding.observed += 1;
    finding.base_severity = severity;
    finding.control_version = version;
    finding.locations = locations.to_vec();
    finding.origin = observed.origin.clone();
    finding.read = observed.read.clone();
    finding.unjudged = None;
    match finding.status {
        _ if !change.context.in_scope => stay_out_of_scope(&mut change),
        Status::Open | Status::InProgress if moved => {
            let detail = json!({ "locations": locations.len(), "severity": severity.as_str(), "version": version });
            change.event("finding-changed", "it fails elsewhere, or otherwise, than before", detail);
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

/// Whether a statement says only what is known: the same failure, on the same version of the object where that matters.
fn is_repeat(finding: &Finding, observed: &Observed<'_>) -> bool {
    match finding.status {
        Status::Open | Status::InProgress => finding.unjudged.is_none(),
        Status::Resolved => finding.read == *observed.read,
        Status::Verified => false,
        Status::Retired => finding.retired_reason == Some(RetiredReason::OutOfScope),
    }
}

fn stay_out_of_scope(change: &mut Change<'_>) {
    if change.finding.status != Status::Retired || change.finding.retired_reason != Some(RetiredReason::OutOfScope) {
        change.retire(RetiredReason::OutOfScope, "its namespace is out of scope".into());
    }
}

fn pass(mut change: Change<'_>, observed: &Observed<'_>) -> Option<Decision> {
    let version = observed.statement.control_version;
    let judged_anew = version != change.finding.control_version;
    match change.finding.status {
        Status::Open | Status::InProgress => {
            note_not_failing(&mut change);
            change.finding.control_version = version;
            change.finding.read = observed.read.clone();
            change.resolve(
                RetestCause::ObservedPass,
                "the agent sees it passing".into(),
                json!({ "by": "observation" }),
            );
        }
        Status::Resolved if judged_anew => {
            note_not_failing(&mut change);
            change.finding.control_version = version;
            let why = format!("version {version} of the control judges it now");
            change.finding.unverified = Some(why.clone());
            change.event("control-changed", why, json!({ "version": version }));
            change.order(RetestCause::ControlChanged);
        }
        _ if change.finding.statement.is_some() || change.finding.unjudged.is_some() => note_not_failing(&mut change),
        _ => return None,
    }
    change.done()
}

fn gone(mut change: Change<'_>) -> Option<Decision> {
    let failing = change.finding.statement.is_some();
    match change.finding.status {
        Status::Open | Status::InProgress => {
            note_not_failing(&mut change);
            let why = "the agent sees that the resource was deleted".to_owned();
            change.resolve(RetestCause::ObservedGone, why, json!({ "by": "observation" }));
        }
        Status::Verified if change.finding.current => {
            note_not_failing(&mut change);
            change.finding.current = false;
            change.event("finding-no-longer-current", "the resource was deleted after the proof", json!({}));
        }
        _ if failing => note_not_failing(&mut change),
        _ => return None,
    }
    change.done()
}

/// The agent's ledger no longer holds a failing statement. The status is another question.
fn note_not_failing(change: &mut Change<'_>) {
    change.finding.statement = None;
    change.finding.unjudged = None;
    change.finding.observed += 1;
}

/// Nobody can say: the record keeps what it knew, and why it cannot be looked at.
fn unjudged(mut change: Change<'_>, reason: &str) -> Option<Decision> {
    if change.finding.statement.is_none() && change.finding.unjudged.as_deref() == Some(reason) {
        return None;
    }
    change.finding.statement = None;
    change.finding.unjudged = Some(reason.to_owned());
    change.done()
}

/// A control that went away closes nothing that is open: a rule deleted or downgraded is no fix.
fn withdrawn(mut change: Change<'_>) -> Option<Decision> {
    let reason = "the agent no longer has this control";
    if change.finding.status == Status::Resolved {
        change.finding.statement = None;
        change.finding.unjudged = Some(reason.to_owned());
        change.retire(RetiredReason::ControlWithdrawn, "its control no longer exists".into());
        return change.done();
    }
    unjudged(change, reason)
}

/// The agent's ledger does not hold it any more, and nobody has seen why: a question, never an answer.
pub(super) fn not_repeated(mut change: Change<'_>) -> Option<Decision> {
    change.finding.statement.take()?;
    if change.finding.retest.is_none() && change.context.in_scope {
        change.event("retest-requested", "the agent no longer repeats it", json!({ "cause": "not-repeated" }));
        change.order(RetestCause::NotRepeated);
    }
    change.done()
}
