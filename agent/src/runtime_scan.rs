//! Reads everything that runs, node by node and on its own account, so that what the kernel shows is evidence before anybody
//! claims anything. It judges nothing: statements go to the engine, which knows the Pods' owners.
//!
//! A node that does not answer here is not reported to the engine: the relay, which asks it, shows it as failing until it
//! answers again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use holdfast_model::kernel::NodeStatement;
use holdfast_model::{Nonce, RetestId};

use crate::engine::{EngineCommand, EngineHandle, EngineStopped};
use crate::node_views::{NodeViews, ViewAnswer, ViewRequest};
use crate::pod_directory::PodDirectory;
use crate::random;

/// What the runtime scan works with.
pub struct RuntimeScan {
    /// The nodes' kernel views.
    pub views: Arc<dyn NodeViews>,
    /// Which Pods run where.
    pub pods: PodDirectory,
    /// Receives the statements.
    pub engine: EngineHandle,
    /// The pause between two rounds, and some more.
    pub every: Duration,
}

impl RuntimeScan {
    /// Goes round until the engine is gone.
    pub async fn run(self) {
        while self.round().await.is_ok() {
            tokio::time::sleep(self.every + random::up_to(self.every / 4)).await;
        }
    }

    /// Asks each node whose kernel view is available, one after the other.
    async fn round(&self) -> Result<(), EngineStopped> {
        for node in self.views.available() {
            let pods: Vec<String> = {
                let known = self.pods.on_node(&node);
                let known = known.borrow();
                known.listed.keys().cloned().chain(known.departed.iter().map(|gone| gone.uid.clone())).collect()
            };
            if pods.is_empty() {
                continue;
            }
            // Ids that no order bears: nothing is proved with the answer.
            let (retest, nonce) = match (random::bytes(), random::bytes()) {
                (Ok(retest), Ok(nonce)) => (RetestId::from_bytes(retest), Nonce::from_bytes(nonce)),
                (Err(error), _) | (_, Err(error)) => {
                    tracing::error!(%error, "nodes are not asked what runs");
                    return Ok(());
                }
            };
            let request = ViewRequest { retest, nonce, pods: BTreeMap::from([(node.clone(), pods)]) };
            for answer in self.views.read(request).await.into_values() {
                if let Some(statement) = statement(&node, &answer) {
                    self.engine.send(EngineCommand::Viewed(Box::new(statement))).await?;
                }
            }
        }
        Ok(())
    }
}

fn statement(node: &str, answer: &ViewAnswer) -> Option<NodeStatement> {
    let ViewAnswer::Statement(signed) = answer else { return None };
    let read = serde_json::from_str(&signed.statement);
    read.inspect_err(|error| tracing::warn!(node, %error, "a node's statement is unreadable")).ok()
}
