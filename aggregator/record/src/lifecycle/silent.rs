//! What it does to a finding that a source no longer states it. Which of the three meanings a source's silence has is decided
//! in [`silence`]; none of them closes anything that Holdfast can look at.

use holdfast_model::Status;

use super::{Change, Decision, Silent};
use crate::detection::{Silence, Source, silence};
use crate::event::{By, Happened};
use crate::retest::RetestCause;

pub(super) fn decide(change: Change<'_>, silent: Silent<'_>) -> Option<Decision> {
    match silence(silent.source) {
        Silence::Asks => ask(change, silent.source),
        Silence::MeansNothing => None,
        Silence::EndsDetection => end(change, silent),
    }
}

/// The agent's ledger does not hold it any more, and nobody has observed why.
fn ask(mut change: Change<'_>, source: &Source) -> Option<Decision> {
    change.finding.detection_mut(source)?.statement.take()?;
    change.evidence = true;
    if change.finding.state.retest.is_none() && change.context.in_scope {
        request(&mut change, RetestCause::NotRepeated, "the agent no longer repeats it".into());
    }
    change.done()
}

/// A complete import of the same scope does not report it any more.
fn end(mut change: Change<'_>, Silent { source, can_judge }: Silent<'_>) -> Option<Decision> {
    change.finding.detection(source).filter(|detection| detection.is_standing())?;
    change.end_detection(source);
    let why = format!("{source} no longer reports it");
    let alone = !change.finding.detections.iter().any(|detection| detection.is_standing());
    let is_open = matches!(change.finding.status(), Status::Open | Status::InProgress);
    if is_open && alone && !can_judge {
        change.resolve(None, RetestCause::NotReported, why, By::Import { source: source.clone() });
    } else if is_open && alone && change.finding.state.retest.is_none() && change.context.in_scope {
        request(&mut change, RetestCause::NotReported, why);
    }
    change.done()
}

fn request(change: &mut Change<'_>, cause: RetestCause, why: String) {
    change.event(why, Happened::RetestRequested { cause });
    change.order(cause);
}
