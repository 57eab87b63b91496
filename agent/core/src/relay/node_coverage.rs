//! Which nodes can be looked at, as coverage: two rows a node, `node/<name>/kernel-view` for what runs there and
//! `node/<name>/sensors` for what it does.
//!
//! Every node that runs a Pod is expected to have an agent. One that has not connected is starting for a while after the relay
//! itself has started; then it is failing, and shown so.

use std::collections::BTreeMap;

use holdfast_model::kernel::{coverage_subject, sensors_subject};
use holdfast_model::{Coverage, CoverageState, UnixMillis};

use super::StateWithReason;
use crate::text;

/// Rows of coverage by their subject.
pub type Rows = BTreeMap<String, StateWithReason>;

/// What a node reports of its kernel's view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelViewReport {
    /// Whether it can be read.
    pub is_available: bool,
    /// The state of coverage that the node names.
    pub state: String,
    /// Why it cannot be read.
    pub reason: String,
}

/// How one connected node is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// Whether its kernel's view can be read.
    pub is_available: bool,
    /// Coverage of its kernel's view.
    pub kernel_view: StateWithReason,
    /// Coverage of its sensors.
    pub sensors: StateWithReason,
}

impl NodeStatus {
    /// By what the node reports; its sensors have not reported anything yet.
    pub fn new(report: Option<KernelViewReport>) -> Self {
        let sensors = (CoverageState::Starting, "its sensors have not reported anything yet".to_owned());
        let Some(report) = report else {
            let reason = "the node does not report whether its kernel can be looked at".to_owned();
            return Self { is_available: false, kernel_view: (CoverageState::Failing, reason), sensors };
        };
        if report.is_available {
            return Self { is_available: true, kernel_view: (CoverageState::Seen, String::new()), sensors };
        }
        // An unavailable view is never "seen", and an unknown state is a failure.
        let state = report.state.parse().ok().filter(|state| *state != CoverageState::Seen);
        let reason = text::line(&report.reason);
        let reason = if reason.is_empty() { "the node gives no reason".to_owned() } else { reason };
        Self { is_available: false, kernel_view: (state.unwrap_or(CoverageState::Failing), reason), sensors }
    }

    /// It reports that its view is available, and left the last read request unanswered for this reason.
    pub fn unanswered(self, why: &str) -> Self {
        let reason = format!("it was asked what runs there and did not answer: {why}");
        Self { kernel_view: (CoverageState::Failing, reason), ..self }
    }
}

/// Two rows for each node: its kernel's view, and its sensors.
pub fn rows<'a>(
    expected: impl Iterator<Item = &'a String>,
    connected: &BTreeMap<String, NodeStatus>,
    is_starting: bool,
) -> Rows {
    let missing = if is_starting {
        (CoverageState::Starting, "the node's agent has not connected yet".to_owned())
    } else {
        (CoverageState::Failing, "no agent of this node is connected: what runs there is not observed".to_owned())
    };
    let both = |node: &str, view, sensors| [(coverage_subject(node), view), (sensors_subject(node), sensors)];
    let mut rows: Rows = expected.flat_map(|node| both(node, missing.clone(), missing.clone())).collect();
    let connected = connected.iter();
    rows.extend(connected.flat_map(|(node, status)| both(node, status.kernel_view.clone(), status.sensors.clone())));
    rows
}

/// The rows that are not as they were sent.
pub fn difference(sent: &Rows, now: &Rows, since: UnixMillis) -> Vec<Coverage> {
    let row = |subject: &String, state, reason: &str| Coverage {
        subject: subject.clone(),
        state,
        reason: reason.to_owned(),
        since,
    };
    let changed = now.iter().filter(|(subject, row)| sent.get(*subject) != Some(row));
    let gone = sent.keys().filter(|subject| !now.contains_key(*subject));
    changed
        .map(|(subject, (state, reason))| row(subject, *state, reason))
        .chain(gone.map(|subject| row(subject, CoverageState::Absent, "no Pod runs on this node any more")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(is_available: bool, state: &str, reason: &str) -> Option<KernelViewReport> {
        Some(KernelViewReport { is_available, state: state.into(), reason: reason.into() })
    }

    #[test]
    fn an_unavailable_view_is_never_seen_and_always_has_a_reason() {
        assert_eq!(NodeStatus::new(report(true, "", "")).kernel_view.0, CoverageState::Seen);
        let closed = NodeStatus::new(report(false, "seen", ""));
        assert_eq!((closed.is_available, closed.kernel_view.0), (false, CoverageState::Failing));
        assert!(!closed.kernel_view.1.is_empty());
        let refused = NodeStatus::new(report(false, "forbidden", "CAP_BPF\nis missing"));
        assert_eq!(refused.kernel_view, (CoverageState::Forbidden, "CAP_BPF\\nis missing".to_owned()));
        assert!(!NodeStatus::new(None).is_available);
    }

    #[test]
    fn a_node_that_runs_pods_and_has_no_agent_is_failing_after_a_while() {
        let expected = ["a".to_owned(), "b".to_owned()];
        let connected = BTreeMap::from([("a".to_owned(), NodeStatus::new(report(true, "", "")))]);
        let state = |rows: &Rows, subject: &str| rows[subject].0;
        let young = rows(expected.iter(), &connected, true);
        assert_eq!(state(&young, "node/a/kernel-view"), CoverageState::Seen);
        assert_eq!(state(&young, "node/a/sensors"), CoverageState::Starting);
        assert_eq!(state(&young, "node/b/kernel-view"), CoverageState::Starting);
        let old = rows(expected.iter(), &connected, false);
        assert_eq!(state(&old, "node/b/kernel-view"), CoverageState::Failing);

        let subjects = |rows: &[Coverage]| rows.iter().map(|row| row.subject.clone()).collect::<Vec<_>>();
        assert_eq!(subjects(&difference(&young, &old, 0)), ["node/b/kernel-view", "node/b/sensors"]);
        let gone = difference(&old, &rows(expected[..1].iter(), &connected, false), 7);
        assert_eq!(subjects(&gone), ["node/b/kernel-view", "node/b/sensors"]);
        assert!(gone.iter().all(|row| row.state == CoverageState::Absent && row.since == 7));
        assert!(difference(&old, &old, 0).is_empty());
    }
}
