//! What people, the engagement and calibration do to a finding.

use holdfast_model::{RetiredReason, Status};

use super::{Change, Decision, Refused};
use crate::calibration::FleetReading;
use crate::event::{By, Happened};
use crate::finding::Phase;
use crate::retest::RetestCause;

type Outcome = Result<Option<Decision>, Refused>;

pub(super) fn start(mut change: Change<'_>) -> Outcome {
    match change.finding.status() {
        Status::Open => {
            change.finding.state.phase = Phase::InProgress;
            change.event("its owner works on it", Happened::FindingStarted {});
            Ok(change.done())
        }
        Status::InProgress => Ok(None),
        other => Err(Refused::NotFrom(other)),
    }
}

pub(super) fn claim(mut change: Change<'_>, note: &str) -> Outcome {
    match change.finding.status() {
        Status::Open | Status::InProgress => {
            let by = By::Claim { note: note.to_owned() };
            let claimed_by = Some(change.context.actor.clone());
            change.resolve(claimed_by, RetestCause::Claim, "its owner says that it is fixed".into(), by);
            Ok(change.done())
        }
        other => Err(Refused::NotFrom(other)),
    }
}

pub(super) fn withdraw_claim(mut change: Change<'_>) -> Outcome {
    match change.finding.state.phase {
        Phase::Resolved { claimed_by: Some(_), .. } => {}
        Phase::Resolved { .. } => return Err(Refused::NothingClaimed),
        _ => return Err(Refused::NotFrom(change.finding.status())),
    }
    change.finding.state.phase = Phase::InProgress;
    change.end_retest();
    change.event("its owner takes the claim back", Happened::ClaimWithdrawn {});
    Ok(change.done())
}

pub(super) fn leave_scope(mut change: Change<'_>) -> Option<Decision> {
    if !change.finding.status().is_active() {
        return None;
    }
    change.retire(RetiredReason::OutOfScope, "the platform owner took its namespace out of scope".into());
    change.done()
}

pub(super) fn return_to_scope(mut change: Change<'_>) -> Option<Decision> {
    if change.finding.retired_reason() != Some(RetiredReason::OutOfScope) {
        return None;
    }
    let cause = RetestCause::ReturnedToScope;
    change.event("its namespace is back in scope", Happened::RetestRequested { cause });
    change.order(RetestCause::ReturnedToScope);
    change.done()
}

/// A look that nobody asked for is only for what is verified, and never replaces a retest that is under way.
pub(super) fn request_retest(mut change: Change<'_>, cause: RetestCause) -> Option<Decision> {
    let idle = change.finding.status() == Status::Verified && change.finding.state.retest.is_none();
    if matches!(cause, RetestCause::Periodic | RetestCause::MethodGained) && !idle {
        return None;
    }
    change.event("a fresh look is wanted", Happened::RetestRequested { cause });
    change.order(cause);
    change.done()
}

/// The fleet's part of its severity. The same reading under the same policy changes nothing.
pub(super) fn spread(change: Change<'_>, fleet: Option<&FleetReading>) -> Option<Decision> {
    let known = std::mem::replace(&mut change.finding.state.fleet, fleet.cloned());
    let is_same = known.as_ref() == fleet
        && super::calibration(change.context, change.finding) == change.finding.state.calibration;
    if is_same {
        return None;
    }
    change.done()
}
