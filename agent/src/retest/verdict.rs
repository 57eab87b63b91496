//! From what was read to the verdict. PURE, and in one place: this is where "fixed" is said.
//!
//! A failure that was seen is a failure, whatever else could not be read. Everything else needs every read to have
//! succeeded: a refusal is never a pass, and an object is absent only when the API server says so by name.

use holdfast_controls::Control;
use holdfast_controls::inventory::Answer;
use holdfast_model::{Location, RetestOrder, Verdict};

use super::gather::{Gathered, Itself, Trouble};
use crate::api::Refusal;
use crate::{ledger, text};

/// The answer to an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) verdict: Verdict,
    pub(super) reason: String,
    pub(super) uid: String,
    pub(super) control_version: u32,
    pub(super) locations: Vec<Location>,
}

pub(super) fn decide(order: &RetestOrder, control: &Control, gathered: &Gathered) -> Decision {
    let (verdict, reason) = answer(order, control, gathered);
    let locations = match &gathered.answer {
        Some(Answer::Fail(locations)) => ledger::fit(locations),
        _ => Vec::new(),
    };
    let uid = if gathered.present { gathered.uid.clone() } else { order.uid.clone() };
    Decision { verdict, reason: text::line(&reason), uid, control_version: control.version, locations }
}

fn answer(order: &RetestOrder, control: &Control, gathered: &Gathered) -> (Verdict, String) {
    if let Some(Answer::Fail(locations)) = &gathered.answer {
        let places = if locations.len() == 1 { "place" } else { "places" };
        return (Verdict::StillFailing, format!("it still fails at {} {places}", locations.len()));
    }
    if let Some(trouble) = gathered.troubles.iter().min_by_key(|trouble| !trouble.is_silence()) {
        return trouble.verdict();
    }
    let subject = &order.resource;
    match (&gathered.answer, gathered.present, gathered.itself) {
        (Some(Answer::Unknown(reason)), ..) => (Verdict::Inconclusive, reason.clone()),
        (Some(_), ..) => (Verdict::Fixed, format!("{subject}, read live: {}", control.title)),
        (None, true, _) => (Verdict::Inconclusive, format!("the control says nothing about {subject}")),
        (None, false, Itself::Absent) => (Verdict::WorkloadDeleted, format!("the API server has no {subject}")),
        (None, false, Itself::NoObject) => {
            (Verdict::WorkloadDeleted, format!("no Pod of its namespace belongs to {subject}"))
        }
        (None, false, _) => (Verdict::Inconclusive, format!("{subject} belongs to another owner now")),
    }
}

impl Trouble {
    /// Whether the API server did not answer at all, which says more than any other trouble.
    fn is_silence(&self) -> bool {
        matches!(self, Self::Refused(_, Refusal::Failing(_) | Refusal::Expired(_)))
    }

    fn verdict(&self) -> (Verdict, String) {
        let verdict = if self.is_silence() { Verdict::Unreachable } else { Verdict::Inconclusive };
        match self {
            Self::Refused(kind, refused) => (verdict, format!("{} could not be read: {refused}", kind.subject())),
            Self::Unreadable(problem) => (verdict, format!("not everything could be read: {problem}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use holdfast_controls::facts::workload::{DEPLOYMENT, POD};
    use holdfast_model::{Method, Nonce, Resource, RetestId};

    use super::*;

    fn verdict(gathered: Gathered) -> Verdict {
        let control = Control::find("workload.privileged").unwrap();
        let order = RetestOrder {
            retest: RetestId::from_bytes([1; 16]),
            nonce: Nonce::from_bytes([2; 16]),
            resource: Resource::namespaced("apps", "Deployment", "shop", "web"),
            uid: "old".into(),
            control: control.control_id(),
            control_version: control.version,
            methods: vec![Method::LiveRead],
        };
        decide(&order, control, &gathered).verdict
    }

    fn found(answer: Answer) -> Gathered {
        Gathered { itself: Itself::Found, present: true, answer: Some(answer), uid: "u".into(), ..Gathered::default() }
    }

    fn troubled(gathered: Gathered, refusal: Refusal) -> Gathered {
        Gathered { troubles: vec![Trouble::Refused(&POD, refusal)], ..gathered }
    }

    #[test]
    fn a_pass_needs_every_read() {
        assert_eq!(verdict(found(Answer::Pass)), Verdict::Fixed);
        assert_eq!(verdict(troubled(found(Answer::Pass), Refusal::Forbidden("no".into()))), Verdict::Inconclusive);
        assert_eq!(verdict(troubled(found(Answer::Pass), Refusal::Failing("no".into()))), Verdict::Unreachable);
        let unreadable = Gathered { troubles: vec![Trouble::Unreadable("x".into())], ..found(Answer::Pass) };
        assert_eq!(verdict(unreadable), Verdict::Inconclusive);
        assert_eq!(verdict(found(Answer::Unknown("x".into()))), Verdict::Inconclusive);
    }

    #[test]
    fn a_failure_that_was_seen_stands_whatever_else_was_refused() {
        let fails = || found(Answer::Fail(vec![Location::field("spec", "x")]));
        assert_eq!(verdict(troubled(fails(), Refusal::Forbidden("no".into()))), Verdict::StillFailing);
        assert_eq!(verdict(fails()), Verdict::StillFailing);
    }

    #[test]
    fn absence_is_proved_or_it_is_nothing() {
        let absent = || Gathered { itself: Itself::Absent, ..Gathered::default() };
        assert_eq!(verdict(absent()), Verdict::WorkloadDeleted);
        assert_eq!(verdict(troubled(absent(), Refusal::Forbidden("no".into()))), Verdict::Inconclusive);
        let api_gone = Trouble::Refused(&DEPLOYMENT, Refusal::NotServed("404 page not found".into()));
        let unclear = Gathered { itself: Itself::Unclear, troubles: vec![api_gone], ..Gathered::default() };
        assert_eq!(verdict(unclear), Verdict::Inconclusive);
        assert_eq!(verdict(Gathered { itself: Itself::Found, ..Gathered::default() }), Verdict::Inconclusive);
        assert_eq!(verdict(Gathered { answer: None, ..found(Answer::Pass) }), Verdict::Inconclusive);
    }
}
