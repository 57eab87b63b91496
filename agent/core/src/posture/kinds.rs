//! Which kinds of objects can be seen, since when, and whether they have been listed.

use std::collections::BTreeMap;

use holdfast_controls::evaluate::{Answer, Judgement};
use holdfast_controls::{KINDS, Kind};
use holdfast_model::{Coverage, CoverageState, UnixMillis};

use crate::text::clip;

/// How long a kind may fail before the rest goes on without it.
const PATIENCE_MILLIS: UnixMillis = 60_000;

#[derive(Debug)]
pub(super) struct KindStates(BTreeMap<&'static Kind, KindState>);

#[derive(Debug)]
struct KindState {
    state: CoverageState,
    reason: String,
    since: UnixMillis,
    is_listed: bool,
}

impl KindStates {
    pub(super) fn new(now: UnixMillis) -> Self {
        let starting = |&kind| {
            let (state, reason) = (CoverageState::Starting, String::new());
            (kind, KindState { state, reason, since: now, is_listed: false })
        };
        Self(KINDS.iter().map(starting).collect())
    }

    pub(super) fn set(
        &mut self,
        kind: &'static Kind,
        state: CoverageState,
        reason: String,
        now: UnixMillis,
    ) -> Option<Coverage> {
        let known = self.0.get_mut(kind)?;
        let since = if known.state == state { known.since } else { now };
        *known = KindState { state, reason, since, is_listed: known.is_listed };
        Some(known.coverage(kind))
    }

    pub(super) fn set_listed(&mut self, kind: &'static Kind) {
        if let Some(known) = self.0.get_mut(kind) {
            known.is_listed = true;
        }
    }

    /// Whether nothing more is to come of the first lists: not of what is refused or not served either.
    pub(super) fn are_complete(&self, now: UnixMillis) -> bool {
        self.0.values().all(|kind| match kind.state {
            CoverageState::Forbidden | CoverageState::Absent | CoverageState::Seen => true,
            CoverageState::Failing => kind.is_listed || now - kind.since > PATIENCE_MILLIS,
            CoverageState::Starting => false,
        })
    }

    pub(super) fn coverage(&self) -> impl Iterator<Item = Coverage> {
        self.0.iter().map(|(kind, known)| known.coverage(kind))
    }

    pub(super) fn counts(&self) -> (usize, usize) {
        (self.0.len(), self.0.values().filter(|kind| kind.state == CoverageState::Seen).count())
    }

    /// A pass of a subject whose own kind is not seen now rests on an object that may have changed.
    pub(super) fn without_unseen_passes(&self, mut judgement: Judgement) -> Judgement {
        let subject = &judgement.resource;
        let kind = Kind::find(&subject.group, &subject.kind).and_then(|kind| self.0.get_key_value(kind));
        if let Some((kind, known)) = kind.filter(|(_, known)| known.state != CoverageState::Seen) {
            let reason = format!("{} cannot be seen: {}", kind.subject(), known.reason);
            for outcome in judgement.outcomes.iter_mut().filter(|outcome| outcome.answer == Answer::Pass) {
                outcome.answer = Answer::Unknown(reason.clone());
            }
        }
        judgement
    }
}

impl KindState {
    fn coverage(&self, kind: &Kind) -> Coverage {
        Coverage { subject: kind.subject(), state: self.state, reason: clip(&self.reason), since: self.since }
    }
}
