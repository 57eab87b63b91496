//! The lifecycle of a finding: one pure function from a state and a command to the next state, its events and its retest.
//!
//! Only a positive observation closes: `verified` is reached through a verdict that answers the outstanding order and
//! nothing else. Whatever could not be looked at leaves the state as it is.
//! Statements of agents are decided in `observe`, what the kernel showed in `detect`, verdicts in `answer`, what people and the
//! engagement do in `act`.

use std::fmt;

use holdfast_model::{
    Activity, Actor, Attestation, FindingKey, Method, Nonce, OnDeletion, Origin, Read, RetestId, RuntimeEvidence,
    Severity, Statement, Status, UnixMillis,
};
use serde_json::{Value, json};

use crate::calibration::Raise;
use crate::finding::Finding;
use crate::retest::{RetestCause, RetestChange};

mod act;
mod answer;
mod detect;
mod observe;
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
    /// Whether the finding's namespace is in the engagement's scope.
    pub in_scope: bool,
    /// The id of the retest, should this decision order one.
    pub fresh: RetestId,
}

/// What is asked of the record.
#[derive(Debug, Clone)]
pub enum Command<'a> {
    /// The agent states something.
    Observe(Observed<'a>),
    /// The kernel shows something.
    Detect(Detected<'a>),
    /// The agent has repeated everything that fails in this finding's bucket, but not this.
    NotRepeated,
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
    /// A calibration moves its severity, or (with none) returns it to the catalog's.
    Recalibrate {
        /// The calibrated severity.
        severity: Option<Severity>,
        /// Why, in one plain sentence.
        cause: &'a str,
        /// Readings, rule and approver.
        detail: &'a Value,
    },
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

/// Something that the kernel showed.
#[derive(Debug, Clone)]
pub struct Detected<'a> {
    /// Identity of the finding; its cluster is the certificate's.
    pub key: &'a FindingKey,
    /// Where the resource comes from.
    pub origin: &'a Origin,
    /// Severity by the catalog.
    pub severity: Severity,
    /// Version of the control.
    pub control_version: u32,
    /// What was seen since it was last told.
    pub seen: &'a RuntimeEvidence,
    /// Whether a retest can look for it: an act that is over leaves nothing to look at.
    pub can_look: bool,
    /// What that does to the severity, by the policy in force.
    pub raise: Option<Raise>,
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

/// The outcome of a command that changes something.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The finding from now on.
    pub finding: Finding,
    /// What happened, in order.
    pub events: Vec<Activity>,
    /// What becomes of its retest.
    pub retest: RetestChange,
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

/// Decides one command. `None` means that nothing changes: nothing is to be written and nothing happened.
pub fn decide(
    context: &Context<'_>,
    finding: Option<&Finding>,
    command: Command<'_>,
) -> Result<Option<Decision>, Refused> {
    if let Command::Observe(observed) = command {
        return Ok(match finding {
            Some(finding) => observe::known(Change::of(context, finding), &observed),
            None => observe::unknown(context, &observed),
        });
    }
    if let Command::Detect(detected) = command {
        return Ok(match finding {
            Some(finding) => detect::known(Change::of(context, finding), &detected),
            None => detect::unknown(context, &detected),
        });
    }
    let change = Change::of(context, finding.ok_or(Refused::Unknown)?);
    match command {
        Command::Observe(_) | Command::Detect(_) | Command::NotRepeated => Ok(observe::not_repeated(change)),
        Command::Answer(answer) => answer::decide(change, &answer),
        Command::NoAnswer { retest, attempts } => answer::missing(change, retest, attempts),
        Command::Start => act::start(change),
        Command::Claim { note } => act::claim(change, note),
        Command::WithdrawClaim => act::withdraw_claim(change),
        Command::LeaveScope => Ok(act::leave_scope(change)),
        Command::ReturnToScope => Ok(act::return_to_scope(change)),
        Command::RequestRetest(cause) => Ok(act::request_retest(change, cause)),
        Command::Recalibrate { severity, cause, detail } => Ok(act::recalibrate(change, severity, cause, detail)),
    }
}

/// A decision in the making: the next state and what led to it.
struct Change<'c> {
    context: &'c Context<'c>,
    from: Option<Status>,
    finding: Finding,
    events: Vec<Activity>,
    retest: RetestChange,
}

impl<'c> Change<'c> {
    fn of(context: &'c Context<'c>, finding: &Finding) -> Self {
        Self {
            context,
            from: Some(finding.status),
            finding: finding.clone(),
            events: Vec::new(),
            retest: RetestChange::Keep,
        }
    }

    fn done(mut self) -> Option<Decision> {
        self.finding.changed_at = self.context.now;
        if self.from != Some(self.finding.status) {
            self.finding.status_at = self.context.now;
        }
        Some(Decision { finding: self.finding, events: self.events, retest: self.retest })
    }

    fn event(&mut self, event: &str, cause: impl Into<String>, detail: Value) {
        self.events.push(Activity {
            at: self.context.now,
            actor: self.context.actor.clone(),
            event: event.to_owned(),
            cluster: Some(self.finding.key.cluster),
            finding: Some(self.finding.id),
            cause: cause.into(),
            detail,
        });
    }

    /// Orders a retest; one under way before it no longer counts.
    fn order(&mut self, cause: RetestCause) {
        self.order_after(cause, 0);
    }

    /// The same after so many attempts in vain, which make it wait.
    fn order_after(&mut self, cause: RetestCause, attempts: u32) {
        self.finding.retest = Some(self.context.fresh);
        self.retest = RetestChange::Order { retest: self.context.fresh, cause, attempts };
    }

    fn end_retest(&mut self) {
        if self.finding.retest.take().is_some() {
            self.retest = RetestChange::End;
        }
    }

    /// open, in progress → resolved, with its retest.
    fn resolve(&mut self, cause: RetestCause, why: String, detail: Value) {
        self.finding.status = Status::Resolved;
        self.finding.resolved_at = Some(self.context.now);
        self.finding.unverified = None;
        self.event("finding-resolved", why, detail);
        self.order(cause);
    }

    /// resolved → open: whoever said that it is fixed was wrong.
    fn refute(&mut self, why: String) {
        let claimed = self.finding.claimed_by.take();
        self.finding.status = Status::Open;
        self.finding.resolved_at = None;
        self.finding.unverified = None;
        self.finding.refuted += 1;
        self.end_retest();
        let detail = json!({ "claimed": claimed.is_some(), "locations": self.finding.locations.len() });
        self.event("claim-refuted", why, detail);
    }

    /// verified, retired → open: the same record returns.
    fn reopen(&mut self, why: String) {
        let from = self.finding.status;
        let finding = &mut self.finding;
        finding.status = Status::Open;
        finding.opened_at = self.context.now;
        finding.reopened += 1;
        finding.current = true;
        (finding.resolved_at, finding.claimed_by, finding.unverified) = (None, None, None);
        (finding.verified_at, finding.reach) = (None, None);
        (finding.retired_at, finding.retired_reason) = (None, None);
        let detail = json!({ "from": from.as_str(), "count": finding.reopened, "locations": finding.locations.len() });
        self.end_retest();
        self.event("finding-reopened", why, detail);
    }

    /// Any status → retired: it ends without a fix.
    fn retire(&mut self, reason: holdfast_model::RetiredReason, why: String) {
        let from = self.finding.status;
        self.finding.status = Status::Retired;
        self.finding.retired_at = Some(self.context.now);
        self.finding.retired_reason = Some(reason);
        (self.finding.verified_at, self.finding.reach) = (None, None);
        self.finding.unverified = None;
        self.end_retest();
        self.event("finding-retired", why, json!({ "from": from.as_str(), "reason": reason.as_str() }));
    }
}
