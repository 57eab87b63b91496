//! The coverage of what is no kind: nodes' kernel views and sensors, objects that cannot be read.

use std::collections::BTreeMap;

use holdfast_model::{Coverage, CoverageState};

#[derive(Debug, Default)]
pub(super) struct Coverages {
    by_subject: BTreeMap<String, Coverage>,
    is_complete: bool,
}

impl Coverages {
    /// What is absent need not be sent again: a record that lacks it is right.
    pub(super) fn apply(&mut self, coverage: Coverage) {
        match coverage.state {
            CoverageState::Absent => self.by_subject.remove(&coverage.subject),
            _ => self.by_subject.insert(coverage.subject.clone(), coverage),
        };
    }

    /// Marks it as complete; whether it was not before.
    pub(super) fn complete(&mut self) -> bool {
        !std::mem::replace(&mut self.is_complete, true)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Coverage> {
        self.by_subject.values()
    }
}
