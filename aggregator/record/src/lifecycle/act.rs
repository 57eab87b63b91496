//! What people, the engagement and calibration do to a finding.

use holdfast_model::{RetiredReason, Severity, Status};
use serde_json::{Value, json};

use super::{Change, Decision, Refused};
use crate::finding::{Calibration, Phase};
use crate::retest::RetestCause;

type Outcome = Result<Option<Decision>, Refused>;

pub(super) fn start(mut change: Change<'_>) -> Outcome {
    match change.finding.status() {
        Status::Open => {
            change.finding.state.phase = Phase::InProgress;
            change.event("finding-started", "its owner works on it", json!({}));
            Ok(change.done())
        }
        Status::InProgress => Ok(None),
        other => Err(Refused::NotFrom(other)),
    }
}

pub(super) fn claim(mut change: Change<'_>, note: &str) -> Outcome {
    match change.finding.status() {
        Status::Open | Status::InProgress => {
            let detail = json!({ "by": "claim", "note": note });
            let claimed_by = Some(change.context.actor.clone());
            change.resolve(claimed_by, RetestCause::Claim, "its owner says that it is fixed".into(), detail);
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
    change.event("claim-withdrawn", "its owner takes the claim back", json!({}));
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
    let detail = json!({ "cause": RetestCause::ReturnedToScope.as_str() });
    change.event("retest-requested", "its namespace is back in scope", detail);
    change.order(RetestCause::ReturnedToScope);
    change.done()
}

/// A look that nobody asked for is only for what is verified, and never replaces a retest that is under way.
pub(super) fn request_retest(mut change: Change<'_>, cause: RetestCause) -> Option<Decision> {
    let idle = change.finding.status() == Status::Verified && change.finding.state.retest.is_none();
    if matches!(cause, RetestCause::Periodic | RetestCause::MethodGained) && !idle {
        return None;
    }
    change.event("retest-requested", "a fresh look is wanted", json!({ "cause": cause.as_str() }));
    change.order(cause);
    change.done()
}

pub(super) fn recalibrate(
    mut change: Change<'_>,
    severity: Option<Severity>,
    cause: &str,
    detail: &Value,
) -> Option<Decision> {
    if change.finding.state.calibration.as_ref().map(|calibration| calibration.severity) == severity {
        return None;
    }
    let from = change.finding.severity();
    let at = change.context.now;
    change.finding.state.calibration =
        severity.map(|severity| Calibration { severity, cause: cause.to_owned(), detail: detail.clone(), at });
    let to = change.finding.severity();
    change.event(
        "severity-recalibrated",
        cause,
        json!({ "from": from.as_str(), "to": to.as_str(), "reading": detail }),
    );
    change.done()
}
