//! The lifecycle of a finding: one pure function from a state and a command to the next state, its events and its retest.
//!
//! Only a positive observation closes: `verified` is reached through a verdict that answers the outstanding order and
//! nothing else. Whatever could not be looked at leaves the state as it is.
//! Statements of agents are decided in `observe`, what any other source states in `detect`, what a source no longer states in
//! `silent`, verdicts in `answer`, what people and the engagement do in `act`.

use std::fmt;

use holdfast_model::{
    Actor, Attestation, FindingKey, Method, Nonce, OnDeletion, Origin, Read, RetestId, RetiredReason, Statement,
    Status, UnixMillis,
};

use crate::calibration::{Calibration, FleetReading, Policy, Step, calibrate};
use crate::detection::{Detection, Source, Standing};
use crate::event::{By, Event, Happened};
use crate::finding::{Finding, Phase};
use crate::retest::{RetestCause, RetestChange};

mod act;
mod answer;
mod detect;
mod observe;
mod silent;
#[cfg(test)]
mod tests;

/// What a decision needs to know beyond the finding: all of it comes from the caller.
#[derive(Debug, Clone)]
pub struct Context<'a> {
    /// The aggregator's clock.
    pub now: UnixMillis,
    /// Who causes it.
    pub actor: &'a Actor,
    /// What the control says about the deletion of its subject; `Retires` for an unknown control.
    pub on_deletion: OnDeletion,
    /// Whether the control is judged by running processes, so that evidence from the kernel says how bad it is.
    pub by_processes: bool,
    /// Whether the finding's namespace is in the engagement's scope.
    pub in_scope: bool,
    /// By which severities are calibrated.
    pub policy: &'a Policy,
    /// The id of the retest, should this decision order one.
    pub fresh: RetestId,
}

/// What is asked of the record.
#[derive(Debug, Clone)]
pub enum Command<'a> {
    /// The agent states something about an object.
    Observe(Observed<'a>),
    /// Another source states that the control fails.
    Detect(Detected<'a>),
    /// A source has stated everything that fails, but not this.
    Silent(Silent<'a>),
    /// The agent answers a retest.
    Answer(Answer<'a>),
    /// The agent did not answer this retest by its deadline.
    NoAnswer {
        /// The retest.
        retest: RetestId,
        /// How often it was asked.
        attempts: u32,
    },
    /// Its owner starts to work on it.
    Start,
    /// Its owner says that it is fixed.
    Claim {
        /// The owner's words; may be empty.
        note: &'a str,
    },
    /// Its owner takes that back.
    WithdrawClaim,
    /// The platform owner takes its namespace out of scope.
    LeaveScope,
    /// The platform owner puts its namespace back into scope.
    ReturnToScope,
    /// Someone wants it looked at now.
    RequestRetest(RetestCause),
    /// Its pattern has spread this far; none where the policy has no rule for that.
    Spread(Option<&'a FleetReading>),
    /// The policy may be another than the one by which it was last calibrated.
    Recalibrate,
}

/// One statement with what it was made from.
#[derive(Debug, Clone)]
pub struct Observed<'a> {
    /// Identity of the finding; its cluster is the certificate's.
    pub key: &'a FindingKey,
    /// Where the resource comes from.
    pub origin: &'a Origin,
    /// What was read.
    pub read: &'a Read,
    /// What was seen.
    pub statement: &'a Statement,
}

/// What a source other than the posture states.
#[derive(Debug, Clone)]
pub struct Detected<'a> {
    /// Identity of the finding; its cluster is the certificate's, or that which the import is for.
    pub key: &'a FindingKey,
    /// Where the resource comes from.
    pub origin: &'a Origin,
    /// Version of the control.
    pub control_version: u32,
    /// What is stated, as it joins the finding's evidence.
    pub detection: Detection,
    /// Whether a retest can look for it: what is over leaves nothing to look at.
    pub can_look: bool,
}

/// A source that no longer states a finding which it stated.
#[derive(Debug, Clone, Copy)]
pub struct Silent<'a> {
    /// Which.
    pub source: &'a Source,
    /// Whether Holdfast itself can judge the control in this cluster.
    pub can_judge: bool,
}

/// An attestation beside the order that it answers.
#[derive(Debug, Clone)]
pub struct Answer<'a> {
    /// The order's id.
    pub retest: RetestId,
    /// The order's nonce, drawn at dispatch.
    pub nonce: Nonce,
    /// The finding's count of observations at dispatch.
    pub observed: u64,
    /// How often this retest was asked, this time included.
    pub attempts: u32,
    /// What the proof needs and the cluster could do when the claim was made.
    pub methods: &'a [Method],
    /// What the agent attests to; its signature has been checked.
    pub attestation: &'a Attestation,
}

/// What a command that changes something leads to, beside the finding that it changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What happened, in order.
    pub events: Vec<Event>,
    /// What becomes of its retest.
    pub retest: RetestChange,
    /// Whether its detections changed.
    pub evidence: bool,
}

/// Why a command has no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is no such finding.
    Unknown,
    /// From this status there is no such arrow.
    NotFrom(Status),
    /// Nobody claimed that it is fixed: Holdfast saw it passing by itself.
    NothingClaimed,
    /// The answer belongs to no outstanding order.
    NotOutstanding,
    /// The answer is about another cluster, finding, resource or control than its order.
    OtherSubject,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("there is no such finding"),
            Self::NotFrom(status) => write!(f, "a finding that is {status} does not allow this"),
            Self::NothingClaimed => f.write_str("nobody claimed that it is fixed: Holdfast saw it passing by itself"),
            Self::NotOutstanding => f.write_str("the answer belongs to no outstanding retest"),
            Self::OtherSubject => f.write_str("the answer is about something else than its order"),
        }
    }
}

impl std::error::Error for Refused {}

/// Decides one command and changes the finding in place. After a refusal, and after `None`, it is as it was: nothing happened
/// and nothing is to be written.
pub fn decide(
    context: &Context<'_>,
    finding: &mut Option<Finding>,
    command: Command<'_>,
) -> Result<Option<Decision>, Refused> {
    let known = match (command, finding.as_mut()) {
        (Command::Observe(observed), None) => return Ok(observe::unknown(context, finding, &observed)),
        (Command::Detect(detected), None) => return Ok(detect::unknown(context, finding, detected)),
        (_, None) => return Err(Refused::Unknown),
        (command, Some(known)) => (command, Change::of(context, known)),
    };
    match known {
        (Command::Observe(observed), change) => Ok(observe::known(change, &observed)),
        (Command::Detect(detected), change) => Ok(detect::known(change, detected)),
        (Command::Silent(silent), change) => Ok(silent::decide(change, silent)),
        (Command::Answer(answer), change) => answer::decide(change, &answer),
        (Command::NoAnswer { retest, attempts }, change) => answer::missing(change, retest, attempts),
        (Command::Start, change) => act::start(change),
        (Command::Claim { note }, change) => act::claim(change, note),
        (Command::WithdrawClaim, change) => act::withdraw_claim(change),
        (Command::LeaveScope, change) => Ok(act::leave_scope(change)),
        (Command::ReturnToScope, change) => Ok(act::return_to_scope(change)),
        (Command::RequestRetest(cause), change) => Ok(act::request_retest(change, cause)),
        (Command::Spread(fleet), change) => Ok(act::spread(change, fleet)),
        (Command::Recalibrate, change) => {
            let fleet = change.finding.state.fleet.clone();
            Ok(act::spread(change, fleet.as_ref()))
        }
    }
}

/// The calibration of a finding by the policy in force; none where no rule applies.
fn calibration(context: &Context<'_>, finding: &Finding) -> Option<Calibration> {
    let readings = finding.readings(context.by_processes);
    if readings.is_empty() {
        return None;
    }
    let calibration = calibrate(finding.state.base_severity, &readings, context.policy);
    Some(calibration).filter(|calibration| !calibration.steps.is_empty())
}

/// A decision in the making: the finding as it becomes, and what led to it.
struct Change<'c> {
    context: &'c Context<'c>,
    from: Option<Status>,
    finding: &'c mut Finding,
    events: Vec<Event>,
    retest: RetestChange,
    evidence: bool,
}

impl<'c> Change<'c> {
    fn of(context: &'c Context<'c>, finding: &'c mut Finding) -> Self {
        let from = Some(finding.status());
        Self { context, from, finding, events: Vec::new(), retest: RetestChange::Keep, evidence: false }
    }

    /// A record that begins with this decision.
    fn opening(context: &'c Context<'c>, finding: &'c mut Finding) -> Self {
        Self { from: None, evidence: true, ..Self::of(context, finding) }
    }

    fn done(mut self) -> Option<Decision> {
        self.calibrate();
        self.finding.state.changed_at = self.context.now;
        if self.from != Some(self.finding.status()) {
            self.finding.state.status_at = self.context.now;
        }
        Some(Decision { events: self.events, retest: self.retest, evidence: self.evidence })
    }

    fn event(&mut self, cause: impl Into<String>, happened: Happened) {
        self.events.push(Event { cause: cause.into(), happened });
    }

    /// What the severity is computed from may have changed, and so may the policy: it follows.
    fn calibrate(&mut self) {
        let after = calibration(self.context, self.finding);
        let state = &mut self.finding.state;
        if after == state.calibration {
            return;
        }
        let from = state.calibration.as_ref().map_or(state.base_severity, |before| before.severity);
        let to = after.as_ref().map_or(state.base_severity, |after| after.severity);
        let before = std::mem::replace(&mut state.calibration, after);
        state.calibrated_at = Some(self.context.now);
        if from != to {
            let calibration = self.finding.state.calibration.clone();
            let why = match &calibration {
                None => "no rule of the policy moves the severity now".to_owned(),
                Some(after) => after.news(before.as_ref()).map_or("a rule applies no longer".to_owned(), Step::cause),
            };
            self.event(why, Happened::SeverityRecalibrated { from, to, calibration });
        }
    }

    /// Orders a retest; one under way before it no longer counts.
    fn order(&mut self, cause: RetestCause) {
        self.order_after(cause, 0);
    }

    /// The same after so many attempts in vain, which make it wait.
    fn order_after(&mut self, cause: RetestCause, attempts: u32) {
        self.finding.state.retest = Some(self.context.fresh);
        self.retest = RetestChange::Order { retest: self.context.fresh, cause, attempts };
    }

    fn end_retest(&mut self) {
        if self.finding.state.retest.take().is_some() {
            self.retest = RetestChange::End;
        }
    }

    /// What this source stated holds no longer.
    fn end_detection(&mut self, source: &Source) {
        if let Some(detection) = self.finding.detection_mut(source) {
            self.evidence |= detection.standing != Standing::Ended || detection.statement.is_some();
            (detection.standing, detection.statement) = (Standing::Ended, None);
        }
    }

    /// open, in progress → resolved, with its retest.
    fn resolve(&mut self, claimed_by: Option<Actor>, cause: RetestCause, why: String, by: By) {
        self.finding.state.phase = Phase::Resolved { at: self.context.now, claimed_by, unverified: None };
        self.event(why, Happened::FindingResolved(by));
        self.order(cause);
    }

    /// Why a resolved finding could not be proved yet. Any other has nothing to prove.
    fn leave_unverified(&mut self, why: &str) {
        if let Phase::Resolved { unverified, .. } = &mut self.finding.state.phase {
            *unverified = Some(why.to_owned());
        }
    }

    /// resolved → open: whoever stated that it is fixed was wrong.
    fn refute(&mut self, why: String) {
        let claimed = matches!(self.finding.state.phase, Phase::Resolved { claimed_by: Some(_), .. });
        self.finding.state.phase = Phase::Open;
        self.finding.state.refuted += 1;
        self.end_retest();
        let locations = self.finding.locations().len();
        self.event(why, Happened::ClaimRefuted { claimed, locations });
    }

    /// verified, retired → open: the same record returns.
    fn reopen(&mut self, why: String) {
        let from = self.finding.status();
        let state = &mut self.finding.state;
        state.phase = Phase::Open;
        state.opened_at = self.context.now;
        state.reopened += 1;
        let count = state.reopened;
        let locations = self.finding.locations().len();
        self.end_retest();
        self.event(why, Happened::FindingReopened { from, count, locations });
    }

    /// Any status → retired: it ends without a fix.
    fn retire(&mut self, reason: RetiredReason, why: String) {
        let from = self.finding.status();
        self.finding.state.phase = Phase::Retired { at: self.context.now, reason };
        self.end_retest();
        self.event(why, Happened::FindingRetired { from, reason });
    }
}
