//! Statements that have not been sent: by subject, what each control's last statement was.
//!
//! A failure is kept by name only: its locations are judged when it is sent, and after a reconnect the digests decide which
//! failures are sent again. What ends a failure is in no digest and is kept as it is.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_controls::Control;
use holdfast_controls::evaluate::{Answer, Judgement};
use holdfast_model::limits::BATCH_BYTES;
use holdfast_model::{Observation, Origin, Read, Report, Resource, Statement};

use crate::{ledger, size};

/// The statements that are pending about one subject.
#[derive(Debug, Clone, Default)]
pub(super) struct PendingReport {
    /// What was read for it last.
    read: Read,
    /// Where it comes from.
    origin: Origin,
    /// By control id.
    pub(super) statements: BTreeMap<&'static str, PendingStatement>,
}

/// One statement that is pending.
#[derive(Debug, Clone)]
pub(super) enum PendingStatement {
    /// The control fails; the locations are judged when it is sent.
    Fails,
    /// It failed and does no more: exactly this.
    Ended(&'static Control, Observation),
}

/// The statements that are pending about all subjects, and the resync that is under way.
#[derive(Debug, Default)]
pub(super) struct PendingReports {
    by_subject: BTreeMap<Resource, PendingReport>,
    resync: BTreeMap<Resource, BTreeSet<&'static str>>,
}

impl PendingReports {
    /// A later statement takes the place of an earlier one about the same control.
    pub(super) fn add(&mut self, report: Report) {
        let pending = self.by_subject.entry(report.resource).or_default();
        (pending.read, pending.origin) = (report.read, report.origin);
        for statement in report.statements {
            let Some(control) = Control::find(statement.control.as_str()) else { continue };
            let statement = match statement.observation {
                Observation::Fail { .. } => PendingStatement::Fails,
                ended => PendingStatement::Ended(control, ended),
            };
            pending.statements.insert(control.id, statement);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_subject.is_empty() && self.resync.is_empty()
    }

    pub(super) fn is_resyncing(&self) -> bool {
        !self.resync.is_empty()
    }

    /// Sends these failures again.
    pub(super) fn resync(&mut self, failing: Vec<(Resource, Vec<&'static Control>)>) {
        for (resource, controls) in failing {
            self.resync.entry(resource).or_default().extend(controls.into_iter().map(|control| control.id));
        }
    }

    /// The next subject with anything pending; those of a resync come first.
    pub(super) fn take_next(&mut self) -> Option<(Resource, PendingReport)> {
        if let Some((resource, controls)) = self.resync.pop_first() {
            let mut pending = self.by_subject.remove(&resource).unwrap_or_default();
            for control in controls {
                pending.statements.entry(control).or_insert(PendingStatement::Fails);
            }
            return Some((resource, pending));
        }
        self.by_subject.pop_first()
    }

    /// Puts back what did not fit. A failure may be part of a resync, whose buckets are complete only when it has been sent.
    pub(super) fn put_back(&mut self, resource: &Resource, rest: PendingReport) {
        let (failing, ended): (BTreeMap<_, _>, BTreeMap<_, _>) =
            rest.statements.into_iter().partition(|(_, statement)| matches!(statement, PendingStatement::Fails));
        if !failing.is_empty() {
            self.resync.entry(resource.clone()).or_default().extend(failing.into_keys());
        }
        if !ended.is_empty() {
            let empty = PendingReport { read: rest.read, origin: rest.origin, statements: BTreeMap::new() };
            self.by_subject.entry(resource.clone()).or_insert(empty).statements.extend(ended);
        }
    }

    /// A new session: what was sent and not acknowledged is pending again, the latest first, where nothing newer is. Failures are
    /// left to the digests; an end of what `fails` again is not sent any more.
    pub(super) fn restart(
        &mut self,
        unacknowledged: impl Iterator<Item = (Resource, PendingReport)>,
        fails: impl Fn(&Resource, &str) -> bool,
    ) {
        self.resync.clear();
        for (resource, sent) in unacknowledged {
            let empty = PendingReport { statements: BTreeMap::new(), ..sent.clone() };
            let pending = self.by_subject.entry(resource).or_insert(empty);
            for (control, statement) in sent.statements {
                pending.statements.entry(control).or_insert(statement);
            }
        }
        self.by_subject.retain(|resource, pending| {
            let is_kept = |control: &str, statement: &PendingStatement| {
                matches!(statement, PendingStatement::Ended(..)) && !fails(resource, control)
            };
            pending.statements.retain(|control, statement| is_kept(control, statement));
            !pending.statements.is_empty()
        });
    }
}

impl PendingReport {
    /// Takes the latter half of the statements off.
    pub(super) fn split_off_half(&mut self) -> Self {
        let half = self.statements.keys().nth(self.statements.len() / 2).copied();
        let statements = half.map(|half| self.statements.split_off(half)).unwrap_or_default();
        Self { read: self.read.clone(), origin: self.origin.clone(), statements }
    }

    /// What of it no digest covers.
    pub(super) fn ended(&self) -> Option<Self> {
        let ended = self.statements.iter().filter(|(_, it)| matches!(it, PendingStatement::Ended(..)));
        let statements: BTreeMap<_, _> = ended.map(|(control, it)| (*control, it.clone())).collect();
        let rest = || Self { read: self.read.clone(), origin: self.origin.clone(), statements: BTreeMap::new() };
        (!statements.is_empty()).then(|| Self { statements, ..rest() })
    }

    /// It as reports, judged anew, each well under the limit of a message: a subject may fail at many locations.
    pub(super) fn reports(
        &self,
        resource: &Resource,
        judge: &impl Fn(&Resource) -> Option<Judgement>,
        fails: &impl Fn(&Resource, &str) -> bool,
    ) -> Vec<Report> {
        let any_fails = self.statements.values().any(|it| matches!(it, PendingStatement::Fails));
        let judgement = any_fails.then(|| judge(resource)).flatten();
        let statement = |(control, pending): (&&'static str, &PendingStatement)| match pending {
            PendingStatement::Ended(control, observation) => Some(ledger::statement(control, observation.clone())),
            PendingStatement::Fails if fails(resource, control) => failing(judgement.as_ref()?, control),
            PendingStatement::Fails => None,
        };
        let statements = self.statements.iter().filter_map(statement).collect();
        let (read, origin) = match &judgement {
            Some(judgement) => (&judgement.read, &judgement.origin),
            None => (&self.read, &self.origin),
        };
        split(Report { resource: resource.clone(), read: read.clone(), origin: origin.clone(), statements })
    }
}

fn failing(judgement: &Judgement, control: &str) -> Option<Statement> {
    let outcome = judgement.outcomes.iter().find(|outcome| outcome.control.id == control)?;
    let Answer::Fail(locations) = &outcome.answer else { return None };
    let locations = ledger::bounded(locations);
    let severity = outcome.control.severity;
    Some(ledger::statement(outcome.control, Observation::Fail { severity, locations }))
}

fn split(mut whole: Report) -> Vec<Report> {
    if whole.statements.is_empty() {
        return Vec::new();
    }
    if size::report(&whole) <= BATCH_BYTES / 2 {
        return vec![whole];
    }
    let statements = std::mem::take(&mut whole.statements);
    statements.into_iter().map(|statement| Report { statements: vec![statement], ..whole.clone() }).collect()
}
