//! Which nodes can be looked at, as coverage: one row a node, `node/<name>/kernel-view`.
//!
//! Every node that runs a Pod is expected to have an eye. One that has not said anything yet is only starting for a while
//! after the relay itself has started; then it is blind, and shown so.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_model::{Coverage, CoverageState};
use tokio::time::Instant;

use super::line::Eye;
use super::{Nodes, locked};
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
            locked(&nodes.shared.lines).values().map(|line| (line.node.clone(), line.eye())).collect();
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

fn rows<'a>(expected: impl Iterator<Item = &'a String>, lines: &BTreeMap<String, Eye>, is_young: bool) -> Rows {
    let silent = if is_young {
        (CoverageState::Starting, "the node's agent has not connected yet".to_owned())
    } else {
        (CoverageState::Failing, "no agent of this node is connected: what runs there is not looked at".to_owned())
    };
    let mut rows: Rows = expected.map(|node| (node.clone(), silent.clone())).collect();
    rows.extend(lines.iter().map(|(node, eye)| (node.clone(), (eye.state, eye.reason.clone()))));
    rows
}

fn difference(before: &Rows, now: &Rows) -> Vec<Coverage> {
    let row = |node: &str, state, reason: &str| Coverage {
        subject: format!("node/{node}/kernel-view"),
        state,
        reason: reason.to_owned(),
        since: clock::now(),
    };
    let changed = now.iter().filter(|(node, told)| before.get(*node) != Some(told));
    let gone = before.keys().filter(|node| !now.contains_key(*node));
    changed
        .map(|(node, (state, reason))| row(node, *state, reason))
        .chain(gone.map(|node| row(node, CoverageState::Absent, "no Pod runs on this node any more")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_runs_pods_and_has_no_eye_is_blind_after_a_while() {
        let expected = ["a".to_owned(), "b".to_owned()];
        let open = Eye { open: true, state: CoverageState::Seen, reason: String::new() };
        let lines = BTreeMap::from([("a".to_owned(), open)]);
        let young = rows(expected.iter(), &lines, true);
        assert_eq!((young["a"].0, young["b"].0), (CoverageState::Seen, CoverageState::Starting));
        let old = rows(expected.iter(), &lines, false);
        assert_eq!(old["b"].0, CoverageState::Failing);

        let told = difference(&young, &old);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].subject, "node/b/kernel-view");
        let gone = difference(&old, &rows(expected[..1].iter(), &lines, false));
        assert_eq!((gone[0].subject.as_str(), gone[0].state), ("node/b/kernel-view", CoverageState::Absent));
        assert!(difference(&old, &old).is_empty());
    }
}
