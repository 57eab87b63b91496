//! Which nodes can be looked at, as coverage: two rows a node, `node/<name>/kernel-view` for what runs there and
//! `node/<name>/sensors` for what it does.
//!
//! Every node that runs a Pod is expected to have an eye. One that has not said anything yet is only starting for a while
//! after the relay itself has started; then it is blind, and shown so.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_model::kernel::{coverage_subject, sensors_subject};
use holdfast_model::{Coverage, CoverageState};
use tokio::time::Instant;

use super::line::NodeStatus;
use super::{NodeCounts, Nodes, locked};
use crate::clock;
use crate::engine::Command;

/// How long nodes have to connect to a relay that has just started.
const GRACE: Duration = Duration::from_secs(60);

type Rows = BTreeMap<String, (CoverageState, String)>;

/// Tells the engine what changes, until it is gone.
pub(super) async fn run(nodes: &Nodes) {
    let mut expected = nodes.shared.places.nodes();
    let mut changed = nodes.shared.changed.subscribe();
    let patience = Instant::now() + GRACE;
    let mut said = Rows::new();
    let mut progress = nodes.shared.engine.progress.clone();
    let mut is_covered = false;
    loop {
        // Before the look as well: from then on no node is missing because its Pods are not listed yet.
        let is_listed = progress.borrow_and_update().synced;
        let is_young = Instant::now() < patience;
        // Before the look, so that what changes during it wakes the next one.
        changed.mark_unchanged();
        let lines: BTreeMap<_, _> =
            locked(&nodes.shared.lines).values().map(|line| (line.node.clone(), line.status())).collect();
        nodes.shared.counts.send_replace(counts(&lines));
        let now = rows(expected.borrow_and_update().iter(), &lines, is_young);
        for coverage in difference(&said, &now) {
            if nodes.shared.engine.tell(Command::Cover(coverage)).await.is_err() {
                return;
            }
        }
        said = now;
        if is_listed && !is_covered {
            is_covered = true;
            if nodes.shared.engine.tell(Command::Covered).await.is_err() {
                return;
            }
        }
        let woken = tokio::select! {
            woken = expected.changed() => woken,
            woken = changed.changed() => woken,
            woken = progress.changed(), if !is_covered => woken,
            () = tokio::time::sleep_until(patience), if is_young => Ok(()),
        };
        if woken.is_err() {
            return;
        }
    }
}

fn counts(lines: &BTreeMap<String, NodeStatus>) -> NodeCounts {
    let of = |is: fn(&NodeStatus) -> bool| lines.values().filter(|status| is(status)).count();
    let sensing = of(|status| status.sensors.0 == CoverageState::Seen);
    NodeCounts { connected: lines.len(), open: of(|status| status.open), sensing }
}

/// Two rows for each node: its kernel's view, and its sensors.
fn rows<'a>(expected: impl Iterator<Item = &'a String>, lines: &BTreeMap<String, NodeStatus>, is_young: bool) -> Rows {
    let silent = if is_young {
        (CoverageState::Starting, "the node's agent has not connected yet".to_owned())
    } else {
        (CoverageState::Failing, "no agent of this node is connected: what runs there is not looked at".to_owned())
    };
    let both = |node: &str, view, sensors| [(coverage_subject(node), view), (sensors_subject(node), sensors)];
    let mut rows: Rows = expected.flat_map(|node| both(node, silent.clone(), silent.clone())).collect();
    rows.extend(
        lines
            .iter()
            .flat_map(|(node, status)| both(node, (status.state, status.reason.clone()), status.sensors.clone())),
    );
    rows
}

fn difference(before: &Rows, now: &Rows) -> Vec<Coverage> {
    let row = |subject: &str, state, reason: &str| Coverage {
        subject: subject.to_owned(),
        state,
        reason: reason.to_owned(),
        since: clock::now(),
    };
    let changed = now.iter().filter(|(subject, told)| before.get(*subject) != Some(told));
    let gone = before.keys().filter(|subject| !now.contains_key(*subject));
    changed
        .map(|(subject, (state, reason))| row(subject, *state, reason))
        .chain(gone.map(|subject| row(subject, CoverageState::Absent, "no Pod runs on this node any more")))
        .collect()
}

#[cfg(test)]
mod tests {
    use holdfast_proto::v1::KernelViewState;

    use super::*;

    #[test]
    fn a_node_that_runs_pods_and_has_no_eye_is_blind_after_a_while() {
        let expected = ["a".to_owned(), "b".to_owned()];
        let open = NodeStatus::of(Some(&KernelViewState { available: true, ..KernelViewState::default() }));
        let lines = BTreeMap::from([("a".to_owned(), open)]);
        let state = |rows: &Rows, subject: &str| rows[subject].0;
        let young = rows(expected.iter(), &lines, true);
        assert_eq!(state(&young, "node/a/kernel-view"), CoverageState::Seen);
        assert_eq!(state(&young, "node/a/sensors"), CoverageState::Starting);
        assert_eq!(state(&young, "node/b/kernel-view"), CoverageState::Starting);
        let old = rows(expected.iter(), &lines, false);
        assert_eq!(state(&old, "node/b/kernel-view"), CoverageState::Failing);

        let told = difference(&young, &old);
        let subjects = |told: &[Coverage]| told.iter().map(|row| row.subject.clone()).collect::<Vec<_>>();
        assert_eq!(subjects(&told), ["node/b/kernel-view", "node/b/sensors"]);
        let gone = difference(&old, &rows(expected[..1].iter(), &lines, false));
        assert_eq!(subjects(&gone), ["node/b/kernel-view", "node/b/sensors"]);
        assert!(gone.iter().all(|row| row.state == CoverageState::Absent));
        assert!(difference(&old, &old).is_empty());
    }
}
