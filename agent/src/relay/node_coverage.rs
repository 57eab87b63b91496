//! Reports to the engine which nodes can be looked at, as that changes. What the rows are is decided by
//! `holdfast_agent_core::relay::node_coverage`.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_agent_core::relay::node_coverage::{self, NodeStatus, Rows};
use holdfast_model::CoverageState;
use tokio::time::Instant;

use super::nodes::{NodeCounts, Nodes};
use crate::clock;
use crate::engine::{EngineCommand, EngineStopped};

/// How long nodes have to connect to a relay that has just started.
const GRACE: Duration = Duration::from_secs(60);

/// Reports what changes, until the engine is gone.
pub(super) async fn run(nodes: &Nodes) {
    let mut expected = nodes.shared.pods.nodes();
    let mut changed = nodes.shared.changed.subscribe();
    let mut progress = nodes.shared.engine.progress.clone();
    let grace_ends = Instant::now() + GRACE;
    let mut reporter = Reporter { nodes, sent: Rows::new(), is_complete: false };
    loop {
        // Before the statuses are read: from a synced engine on no node is missing because its Pods are not listed yet, and a
        // status that changes meanwhile wakes the next round.
        let is_synced = progress.borrow_and_update().synced;
        let is_starting = Instant::now() < grace_ends;
        changed.mark_unchanged();
        let statuses = nodes.statuses();
        let now = node_coverage::rows(expected.borrow_and_update().iter(), &statuses, is_starting);
        nodes.shared.counts.send_replace(counts(&statuses));
        if reporter.report(now, is_synced).await.is_err() {
            return;
        }
        let woken = tokio::select! {
            woken = expected.changed() => woken,
            woken = changed.changed() => woken,
            woken = progress.changed(), if !reporter.is_complete => woken,
            () = tokio::time::sleep_until(grace_ends), if is_starting => Ok(()),
        };
        if woken.is_err() {
            return;
        }
    }
}

struct Reporter<'a> {
    nodes: &'a Nodes,
    sent: Rows,
    is_complete: bool,
}

impl Reporter<'_> {
    async fn report(&mut self, now: Rows, is_synced: bool) -> Result<(), EngineStopped> {
        let engine = &self.nodes.shared.engine;
        for coverage in node_coverage::difference(&self.sent, &now, clock::now()) {
            engine.send(EngineCommand::Cover(coverage)).await?;
        }
        self.sent = now;
        if is_synced && !self.is_complete {
            self.is_complete = true;
            engine.send(EngineCommand::CoverageComplete).await?;
        }
        Ok(())
    }
}

fn counts(statuses: &BTreeMap<String, NodeStatus>) -> NodeCounts {
    let of = |is: fn(&NodeStatus) -> bool| statuses.values().filter(|status| is(status)).count();
    let sensing = of(|status| status.sensors.0 == CoverageState::Seen);
    NodeCounts { connected: statuses.len(), available: of(|status| status.is_available), sensing }
}
