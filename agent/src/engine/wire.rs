//! What is owed about a subject, as the messages that say it: judged anew at the moment of sending, each under the limit.

use holdfast_controls::evaluate::{Answer, Judgement};
use holdfast_model::{Observation, Report, Resource, Statement};
use holdfast_proto::{convert, limits, v1};
use prost::Message;

use super::Engine;
use crate::outbox::{Due, Owed};
use holdfast_agent_core::ledger;

impl Engine {
    pub(super) fn wire_reports(&self, resource: &Resource, owed: &Owed) -> Vec<v1::Report> {
        let judgement =
            owed.due.values().any(|due| matches!(due, Due::Failing)).then(|| self.evaluate(resource)).flatten();
        let mut statements = Vec::with_capacity(owed.due.len());
        for (control, due) in &owed.due {
            match due {
                Due::Ended(control, observation) => statements.push(ledger::statement(control, observation.clone())),
                Due::Failing if self.ledger.fails_on(resource, control) => {
                    statements.extend(judgement.iter().find_map(|judgement| failing(judgement, control)));
                }
                Due::Failing => {}
            }
        }
        let (read, origin) = match &judgement {
            Some(judgement) => (&judgement.read, &judgement.origin),
            None => (&owed.read, &owed.origin),
        };
        split(Report { resource: resource.clone(), read: read.clone(), origin: origin.clone(), statements })
    }
}

fn failing(judgement: &Judgement, control: &str) -> Option<Statement> {
    let outcome = judgement.outcomes.iter().find(|outcome| outcome.control.id == control)?;
    let Answer::Fail(locations) = &outcome.answer else { return None };
    let locations = ledger::fit(locations);
    let severity = outcome.control.severity;
    Some(ledger::statement(outcome.control, Observation::Fail { severity, locations }))
}

pub(super) fn size(reports: &[v1::Report]) -> usize {
    reports.iter().map(|report| report.encoded_len() + 8).sum()
}

/// One report as one or more messages, each well under the limit: a subject may fail in many places.
fn split(report: Report) -> Vec<v1::Report> {
    if report.statements.is_empty() {
        return Vec::new();
    }
    let mut whole = convert::report_to_wire(&report);
    if whole.encoded_len() <= limits::BATCH_BYTES / 2 {
        return vec![whole];
    }
    let statements = std::mem::take(&mut whole.statements);
    statements.into_iter().map(|statement| v1::Report { statements: vec![statement], ..whole.clone() }).collect()
}
