//! What a verdict does to a finding: the only way to `verified`.
//!
//! It counts if it answers the outstanding order, with that order's nonce, about that order's subject, and if nothing newer
//! has been observed since the order went out. On a finding that nobody called resolved, a verdict is an observation like
//! any other: it resolves, and the proof is asked for then.

use holdfast_model::{Attestation, Method, OnDeletion, Reach, RetiredReason, Status, Verdict};
use serde_json::json;

use super::{Answer, Change, Decision, Refused};
use crate::retest::{RetestCause, RetestChange, backoff};

pub(super) fn decide(change: Change<'_>, answer: &Answer<'_>) -> Result<Option<Decision>, Refused> {
    check(&change, answer)?;
    if answer.observed != change.finding.observed {
        return Ok(stale(change, answer.attestation));
    }
    if let Some(method) = missing_method(answer) {
        let why = format!("the answer lacks {method}, which the cluster could do when the claim was made");
        return Ok(ask_again(change, answer.attempts, &why, "incomplete"));
    }
    Ok(match answer.attestation.verdict {
        Verdict::Fixed => fixed(change, answer.attestation),
        Verdict::StillFailing => still_failing(change, answer),
        Verdict::WorkloadDeleted => deleted(change, answer.attestation),
        Verdict::NamespaceOutOfScope => out_of_scope(change, answer),
        Verdict::ControlChanged => control_changed(change, answer),
        Verdict::Unreachable | Verdict::Inconclusive => again(change, answer),
    })
}

fn check(change: &Change<'_>, answer: &Answer<'_>) -> Result<(), Refused> {
    let (finding, attestation) = (&change.finding, answer.attestation);
    let outstanding = finding.retest == Some(answer.retest) && attestation.retest == answer.retest;
    if !outstanding || attestation.nonce != answer.nonce {
        return Err(Refused::NotOutstanding);
    }
    let same_subject = attestation.cluster == finding.key.cluster
        && attestation.finding == finding.id
        && attestation.resource == finding.key.resource
        && attestation.control == finding.key.control;
    let same_version =
        attestation.control_version == finding.control_version || attestation.verdict == Verdict::ControlChanged;
    let proves = attestation.verdict.is_final();
    if same_subject && (same_version || !proves) { Ok(()) } else { Err(Refused::OtherSubject) }
}

/// A method that the claim could count on and a `fixed` does without: a capability lost since makes no easier pass.
fn missing_method(answer: &Answer<'_>) -> Option<Method> {
    let fixed = answer.attestation.verdict == Verdict::Fixed;
    let lacks = |method: &&Method| fixed && !answer.attestation.methods.contains(method);
    answer.methods.iter().find(lacks).copied()
}

/// Something newer than the order was observed: the answer proves nothing about now.
fn stale(mut change: Change<'_>, attestation: &Attestation) -> Option<Decision> {
    let detail = json!({ "verdict": attestation.verdict.as_str() });
    change.event("verdict-stale", "the agent observed something newer since it was asked", detail);
    change.order(RetestCause::StaleVerdict);
    change.done()
}

fn fixed(mut change: Change<'_>, attestation: &Attestation) -> Option<Decision> {
    change.finding.statement = None;
    change.finding.unjudged = None;
    match change.finding.status {
        Status::Open | Status::InProgress => {
            let detail = json!({ "by": "retest", "retest": attestation.retest });
            change.resolve(RetestCause::ObservedPass, "a retest found it passing".into(), detail);
        }
        Status::Resolved => verify(&mut change, attestation),
        Status::Verified => {
            extend(&mut change, attestation);
            confirm(&mut change, attestation);
        }
        Status::Retired => confirm(&mut change, attestation),
    }
    change.done()
}

/// A proof that goes further than the one on record takes its place; one that goes less far takes nothing away.
fn extend(change: &mut Change<'_>, attestation: &Attestation) {
    let before = change.finding.reach;
    if before.is_some_and(|reach| reach >= attestation.reach) {
        return;
    }
    change.finding.reach = Some(attestation.reach);
    let from = before.map_or("none", Reach::as_str);
    let detail = json!({ "from": from, "to": attestation.reach.as_str(), "retest": attestation.retest });
    change.event("proof-extended", attestation.reason.clone(), detail);
}

fn deleted(mut change: Change<'_>, attestation: &Attestation) -> Option<Decision> {
    change.finding.statement = None;
    change.finding.unjudged = None;
    match (change.finding.status, change.context.on_deletion) {
        (Status::Open | Status::InProgress, _) => {
            let detail = json!({ "by": "retest", "retest": attestation.retest });
            change.resolve(RetestCause::ObservedGone, "a retest found the resource deleted".into(), detail);
        }
        (Status::Resolved, OnDeletion::Fixes) => verify(&mut change, attestation),
        (Status::Resolved, OnDeletion::Retires) => {
            change.retire(RetiredReason::Deleted, "the resource is proved absent, which is no fix".into());
        }
        (Status::Verified, _) => {
            change.finding.current = false;
            confirm(&mut change, attestation);
        }
        (Status::Retired, _) => confirm(&mut change, attestation),
    }
    change.done()
}

/// resolved → verified.
fn verify(change: &mut Change<'_>, attestation: &Attestation) {
    change.finding.status = Status::Verified;
    change.finding.verified_at = Some(change.context.now);
    change.finding.reach = Some(attestation.reach);
    change.finding.current = attestation.verdict == Verdict::Fixed;
    change.finding.unverified = None;
    if attestation.reach == Reach::Running {
        change.finding.runtime = None;
    }
    change.end_retest();
    change.event("finding-verified", attestation.reason.clone(), evidence(attestation));
}

/// A retest that agrees with where the finding already stands.
fn confirm(change: &mut Change<'_>, attestation: &Attestation) {
    change.end_retest();
    change.event("retest-confirmed", attestation.reason.clone(), evidence(attestation));
}

fn evidence(attestation: &Attestation) -> serde_json::Value {
    json!({
        "retest": attestation.retest,
        "verdict": attestation.verdict.as_str(),
        "reach": attestation.reach.as_str(),
        "reads": attestation.reads.len(),
    })
}

fn still_failing(mut change: Change<'_>, answer: &Answer<'_>) -> Option<Decision> {
    let attestation = answer.attestation;
    change.finding.locations = attestation.locations.clone();
    let in_scope = change.context.in_scope;
    match change.finding.status {
        Status::Resolved => change.refute(format!("the retest found it failing: {}", attestation.reason)),
        Status::Verified | Status::Retired if in_scope => {
            change.reopen(format!("a retest found it failing: {}", attestation.reason));
        }
        _ => confirm(&mut change, attestation),
    }
    // The objects pass: no watch will tell when the last such process has gone, so it is looked at until then.
    if attestation.reach == Reach::Running && change.finding.status.is_active() && in_scope {
        change.order_after(RetestCause::ProcessDisagreed, answer.attempts);
    }
    change.done()
}

/// The scope is the platform owner's to decide: an agent's word for it counts only where the engagement agrees.
fn out_of_scope(mut change: Change<'_>, answer: &Answer<'_>) -> Option<Decision> {
    if change.context.in_scope {
        return again(change, answer);
    }
    if change.finding.status.is_active() {
        change.retire(RetiredReason::OutOfScope, "its namespace is out of scope".into());
    } else {
        confirm(&mut change, answer.attestation);
    }
    change.done()
}

fn control_changed(mut change: Change<'_>, answer: &Answer<'_>) -> Option<Decision> {
    let version = answer.attestation.control_version;
    if version == 0 || version == change.finding.control_version {
        return again(change, answer);
    }
    change.finding.control_version = version;
    change.event("control-changed", answer.attestation.reason.clone(), json!({ "version": version }));
    if change.finding.status.is_active() {
        change.finding.unverified = Some(format!("version {version} of the control has yet to judge it"));
    }
    change.order(RetestCause::ControlChanged);
    change.done()
}

/// No answer, or none that settles it: asked again later, listed as unverified meanwhile.
fn again(change: Change<'_>, answer: &Answer<'_>) -> Option<Decision> {
    let verdict = answer.attestation.verdict.as_str();
    ask_again(change, answer.attempts, &answer.attestation.reason, verdict)
}

/// No answer by the deadline.
pub(super) fn missing(
    change: Change<'_>,
    retest: holdfast_model::RetestId,
    attempts: u32,
) -> Result<Option<Decision>, Refused> {
    if change.finding.retest != Some(retest) {
        return Err(Refused::NotOutstanding);
    }
    Ok(ask_again(change, attempts, "the agent did not answer in time", "none"))
}

fn ask_again(mut change: Change<'_>, attempts: u32, reason: &str, verdict: &str) -> Option<Decision> {
    if change.finding.status == Status::Resolved {
        change.finding.unverified = Some(reason.to_owned());
    }
    let due_at = change.context.now + backoff(attempts);
    change.retest = RetestChange::Again { due_at };
    let detail = json!({ "verdict": verdict, "attempts": attempts, "due_at": due_at });
    change.event("retest-unsettled", reason, detail);
    change.done()
}
