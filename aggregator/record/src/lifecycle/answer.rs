//! What a verdict does to a finding: the only way to `verified`.
//!
//! It counts if it answers the outstanding order, with that order's nonce, about that order's subject, and if nothing newer
//! has been observed since the order went out. On a finding that nobody called resolved, a verdict is an observation like
//! any other: it resolves, and the proof is asked for then.

use holdfast_model::{Attestation, Method, Occurrences, OnDeletion, Reach, RetestId, RetiredReason, Status, Verdict};

use super::{Answer, Change, Decision, Refused};
use crate::detection::{Detection, Source, Standing};
use crate::event::{By, Happened, Proof};
use crate::finding::Phase;
use crate::retest::{RetestCause, RetestChange, backoff};

pub(super) fn decide(change: Change<'_>, answer: &Answer<'_>) -> Result<Option<Decision>, Refused> {
    check(&change, answer)?;
    if answer.observed != change.finding.state.observed {
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
    let outstanding = finding.state.retest == Some(answer.retest) && attestation.retest == answer.retest;
    if !outstanding || attestation.nonce != answer.nonce {
        return Err(Refused::NotOutstanding);
    }
    let same_subject = attestation.cluster == finding.key.cluster
        && attestation.finding == finding.id
        && attestation.resource == finding.key.resource
        && attestation.control == finding.key.control;
    let same_version =
        attestation.control_version == finding.state.control_version || attestation.verdict == Verdict::ControlChanged;
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
    let verdict = attestation.verdict;
    change.event("the agent observed something newer since it was asked", Happened::VerdictStale { verdict });
    change.order(RetestCause::StaleVerdict);
    change.done()
}

fn fixed(mut change: Change<'_>, attestation: &Attestation) -> Option<Decision> {
    end_posture(&mut change);
    match change.finding.status() {
        Status::Open | Status::InProgress => {
            let by = By::Retest { retest: attestation.retest };
            change.resolve(None, RetestCause::ObservedPass, "a retest found it passing".into(), by);
        }
        Status::Resolved => verify(&mut change, attestation),
        Status::Verified => {
            extend(&mut change, attestation);
            confirm(&mut change, attestation);
            dispute(&mut change);
        }
        Status::Retired => {
            confirm(&mut change, attestation);
            dispute(&mut change);
        }
    }
    change.done()
}

/// The objects pass or are gone: the posture holds nothing against it, and could judge it.
fn end_posture(change: &mut Change<'_>) {
    change.end_detection(&Source::Posture);
    change.finding.state.unjudged = None;
}

/// A proof that goes further than the one on record takes its place; one that goes less far takes nothing away.
fn extend(change: &mut Change<'_>, attestation: &Attestation) {
    let Phase::Verified { reach, .. } = &mut change.finding.state.phase else { return };
    if *reach >= attestation.reach {
        return;
    }
    let from = std::mem::replace(reach, attestation.reach);
    let (to, retest) = (attestation.reach, attestation.retest);
    change.event(attestation.reason.clone(), Happened::ProofExtended { from, to, retest });
}

/// What other tools reported after it was closed, and a retest has just found otherwise, is disputed evidence.
fn dispute(change: &mut Change<'_>) {
    let Some(closed_at) = change.finding.state.phase.closed_at() else { return };
    let mut disputed = Vec::new();
    for detection in &mut change.finding.detections {
        let later = matches!(detection.source, Source::Tool(_)) && detection.is_later_than(closed_at);
        if later && detection.standing == Standing::Stands {
            detection.standing = Standing::Disputed;
            disputed.push(detection.source.clone());
        }
    }
    for source in disputed {
        change.evidence = true;
        let why = format!("{source} reports it, and a retest made after that found it passing");
        change.event(why, Happened::DetectionDisputed { source });
    }
}

fn deleted(mut change: Change<'_>, attestation: &Attestation) -> Option<Decision> {
    end_posture(&mut change);
    match (change.finding.status(), change.context.on_deletion) {
        (Status::Open | Status::InProgress, _) => {
            let by = By::Retest { retest: attestation.retest };
            change.resolve(None, RetestCause::ObservedGone, "a retest found the resource deleted".into(), by);
        }
        (Status::Resolved, OnDeletion::Fixes) => verify(&mut change, attestation),
        (Status::Resolved, OnDeletion::Retires) => {
            change.retire(RetiredReason::Deleted, "the resource is proved absent, which is no fix".into());
        }
        (Status::Verified | Status::Retired, _) => {
            if let Phase::Verified { current, .. } = &mut change.finding.state.phase {
                *current = false;
            }
            confirm(&mut change, attestation);
            dispute(&mut change);
        }
    }
    change.done()
}

/// resolved → verified.
fn verify(change: &mut Change<'_>, attestation: &Attestation) {
    let at = change.context.now;
    change.finding.state.phase = Phase::Verified {
        at,
        resolved_at: change.finding.resolved_at().unwrap_or(at),
        reach: attestation.reach,
        current: attestation.verdict == Verdict::Fixed,
    };
    if attestation.reach == Reach::Running {
        change.end_detection(&Source::Kernel);
    }
    change.end_retest();
    change.event(attestation.reason.clone(), Happened::FindingVerified(proof(attestation)));
}

/// A retest that agrees with where the finding already stands.
fn confirm(change: &mut Change<'_>, attestation: &Attestation) {
    change.end_retest();
    change.event(attestation.reason.clone(), Happened::RetestConfirmed(proof(attestation)));
}

fn proof(attestation: &Attestation) -> Proof {
    let Attestation { retest, verdict, reach, reads, .. } = attestation;
    Proof { retest: *retest, verdict: *verdict, reach: *reach, reads: reads.len() }
}

fn still_failing(mut change: Change<'_>, answer: &Answer<'_>) -> Option<Decision> {
    let attestation = answer.attestation;
    attach(&mut change, attestation);
    let in_scope = change.context.in_scope;
    match change.finding.status() {
        Status::Resolved => change.refute(format!("the retest found it failing: {}", attestation.reason)),
        Status::Verified | Status::Retired if in_scope => {
            change.reopen(format!("a retest found it failing: {}", attestation.reason));
        }
        _ => confirm(&mut change, attestation),
    }
    // The objects pass: no watch reports when the last such process has ended, so it is retested until then.
    if attestation.reach == Reach::Running && change.finding.status().is_active() && in_scope {
        change.order_after(RetestCause::ProcessDisagreed, answer.attempts);
    }
    change.done()
}

/// What a retest found failing is evidence of the source that it looked through: the objects, or the processes where those
/// pass. The agent's ledger is not touched by it.
fn attach(change: &mut Change<'_>, attestation: &Attestation) {
    change.evidence = true;
    let (now, version) = (change.context.now, attestation.control_version);
    let (severity, locations) = (change.finding.state.base_severity, attestation.locations.clone());
    if attestation.reach == Reach::Running {
        let seen = Detection::kernel(severity, version, Occurrences::once(locations, now));
        match change.finding.detection_mut(&Source::Kernel) {
            Some(known) => _ = known.fold(seen),
            None => change.finding.add_detection(seen),
        }
        return;
    }
    match change.finding.detection_mut(&Source::Posture) {
        Some(known) => {
            known.standing = Standing::Stands;
            (known.seen.locations, known.seen.last_seen_at) = (locations, now);
        }
        None => change.finding.add_detection(Detection::posture(severity, version, locations, now)),
    }
}

/// The scope is the platform owner's to decide: an agent's verdict about it counts only where the engagement agrees.
fn out_of_scope(mut change: Change<'_>, answer: &Answer<'_>) -> Option<Decision> {
    if change.context.in_scope {
        return again(change, answer);
    }
    if change.finding.status().is_active() {
        change.retire(RetiredReason::OutOfScope, "its namespace is out of scope".into());
    } else {
        confirm(&mut change, answer.attestation);
    }
    change.done()
}

fn control_changed(mut change: Change<'_>, answer: &Answer<'_>) -> Option<Decision> {
    let version = answer.attestation.control_version;
    if version == 0 || version == change.finding.state.control_version {
        return again(change, answer);
    }
    change.finding.state.control_version = version;
    change.event(answer.attestation.reason.clone(), Happened::ControlChanged { version });
    change.leave_unverified(&format!("version {version} of the control has yet to judge it"));
    change.order(RetestCause::ControlChanged);
    change.done()
}

/// No answer, or none that settles it: asked again later, listed as unverified meanwhile.
fn again(change: Change<'_>, answer: &Answer<'_>) -> Option<Decision> {
    let verdict = answer.attestation.verdict.as_str();
    ask_again(change, answer.attempts, &answer.attestation.reason, verdict)
}

/// No answer by the deadline.
pub(super) fn missing(change: Change<'_>, retest: RetestId, attempts: u32) -> Result<Option<Decision>, Refused> {
    if change.finding.state.retest != Some(retest) {
        return Err(Refused::NotOutstanding);
    }
    Ok(ask_again(change, attempts, "the agent did not answer in time", "none"))
}

fn ask_again(mut change: Change<'_>, attempts: u32, reason: &str, verdict: &'static str) -> Option<Decision> {
    change.leave_unverified(reason);
    let due_at = change.context.now + backoff(attempts);
    change.retest = RetestChange::Again { due_at };
    change.event(reason, Happened::RetestUnsettled { verdict, attempts, due_at });
    change.done()
}
