//! What a subject is judged to be, and how much of that may be reported: a pass needs everything that it rests on to be seen.

use std::sync::Arc;

use holdfast_controls::Kind;
use holdfast_controls::inventory::ObjectKey;
use holdfast_model::{Report, Resource};

use super::Posture;
use crate::ledger::Reported;

impl Posture {
    pub(super) fn judge(&mut self, subject: &Arc<Resource>) -> Option<Report> {
        match self.evaluate(subject) {
            // The object is deleted, and what it made is not yet: none of that counts for it, unless it fails still.
            Some(judgement) if self.deleted.contains_key(&**subject) => {
                match judgement.outcomes.is_empty() && self.is_synced {
                    true => self.report_gone(subject),
                    false => self.ledger.diff(subject, &judgement, Reported::FailuresOnly),
                }
            }
            Some(judgement) => self.ledger.diff(subject, &judgement, self.reported(subject)),
            None if !self.is_synced => None,
            None if self.is_gone(subject) => self.report_gone(subject),
            None => self.ledger.unknown(subject, "it is no longer seen, and not seen deleted"),
        }
    }

    fn report_gone(&mut self, subject: &Resource) -> Option<Report> {
        self.deleted.remove(subject);
        self.ledger.gone(subject)
    }

    fn reported(&self, subject: &Resource) -> Reported {
        let is_whole = self.is_synced && !self.unreadable.is_any_in(subject.namespace.as_deref());
        if is_whole { Reported::Everything } else { Reported::FailuresOnly }
    }

    /// Nothing of the subject is left. Proved by the deletion of the object itself, or, for a subject that is known only by
    /// the Pods or Jobs that name it, by theirs.
    fn is_gone(&self, subject: &Resource) -> bool {
        let object = Kind::find(&subject.group, &subject.kind).map(|kind| {
            self.inventory.get(&ObjectKey { kind, namespace: subject.namespace.clone(), name: subject.name.clone() })
        });
        let is_named_by_others_only = match object {
            None => true,
            Some(object) => object.is_none() && matches!(subject.kind.as_str(), "Pod" | "Job"),
        };
        is_named_by_others_only || self.deleted.contains_key(subject)
    }
}
