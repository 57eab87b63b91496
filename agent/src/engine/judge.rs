//! What a subject is judged to be, and how much of that may be said: a pass needs everything that it rests on to be seen.

use std::sync::Arc;

use holdfast_controls::Kind;
use holdfast_controls::evaluate::{Answer, Judgement};
use holdfast_controls::inventory::ObjectKey;
use holdfast_model::{CoverageState, Report, Resource};

use super::Engine;
use holdfast_agent_core::ledger::Speak;

impl Engine {
    pub(super) fn judge(&mut self, subject: &Arc<Resource>) -> Option<Report> {
        match self.evaluate(subject) {
            // The object is deleted, and what it made is not yet: nothing of that speaks for it, unless it fails still.
            Some(judgement) if self.deleted.contains_key(&**subject) => {
                match judgement.outcomes.is_empty() && self.synced {
                    true => self.end(subject),
                    false => self.ledger.diff(subject, &judgement, Speak::FailuresOnly),
                }
            }
            Some(judgement) => self.ledger.diff(subject, &judgement, self.speak(subject)),
            None if !self.synced => None,
            None if self.is_gone(subject) => self.end(subject),
            None => self.ledger.unknown(subject, "it is no longer seen, and not seen deleted"),
        }
    }

    fn end(&mut self, subject: &Resource) -> Option<Report> {
        self.deleted.remove(subject);
        self.ledger.gone(subject)
    }

    /// The inventory's judgement; a pass that rests on a kind which is not seen now is none.
    pub(super) fn evaluate(&self, subject: &Resource) -> Option<Judgement> {
        let mut judgement = self.inventory.evaluate(subject)?;
        let kind = Kind::find(&subject.group, &subject.kind).and_then(|kind| self.kinds.get_key_value(kind));
        let unseen = kind.filter(|(_, known)| known.state != CoverageState::Seen);
        if let Some((kind, known)) = unseen.filter(|_| self.synced) {
            let reason = format!("{} cannot be seen: {}", kind.subject(), known.reason);
            for outcome in judgement.outcomes.iter_mut().filter(|outcome| outcome.answer == Answer::Pass) {
                outcome.answer = Answer::Unknown(reason.clone());
            }
        }
        Some(judgement)
    }

    fn speak(&self, subject: &Resource) -> Speak {
        let beside = |key: &ObjectKey| key.namespace == subject.namespace;
        if self.synced && !self.unreadable.keys().any(beside) { Speak::Freely } else { Speak::FailuresOnly }
    }

    /// Nothing of the subject is left. Proved by the deletion of the object itself, or, for a subject that is known only by
    /// the Pods or Jobs that name it, by theirs.
    fn is_gone(&self, subject: &Resource) -> bool {
        let object = Kind::find(&subject.group, &subject.kind).map(|kind| {
            self.inventory.get(&ObjectKey { kind, namespace: subject.namespace.clone(), name: subject.name.clone() })
        });
        let made_up = match object {
            None => true,
            Some(object) => object.is_none() && matches!(subject.kind.as_str(), "Pod" | "Job"),
        };
        made_up || self.deleted.contains_key(subject)
    }
}
