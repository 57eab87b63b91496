//! Looks at everything that runs, node by node and without being asked, so that what the kernel shows is evidence before
//! anybody claims anything. It judges nothing: statements go to the engine, which knows whose the Pods are.
//!
//! A node that says nothing here is no news to the engine: the relay, which asks it, shows it as blind until it answers again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use holdfast_model::kernel::NodeStatement;
use holdfast_model::{Nonce, RetestId};

use crate::engine::{Command, Handle, Stopped};
use crate::jitter;
use crate::node_views::{Look, NodeViews, Seen};
use crate::places::Places;

/// What the runtime_scan works with.
pub struct RuntimeScan {
    /// The nodes' eyes.
    pub views: Arc<dyn NodeViews>,
    /// Where Pods are.
    pub places: Places,
    /// Who judges what was seen.
    pub engine: Handle,
    /// The pause between two rounds, and some more.
    pub every: Duration,
}

impl RuntimeScan {
    /// Goes round until the engine is gone.
    pub async fn run(self) {
        while self.round().await.is_ok() {
            tokio::time::sleep(self.every + jitter::up_to(self.every / 4)).await;
        }
    }

    /// Looks at each node whose eye is open, one after the other.
    async fn round(&self) -> Result<(), Stopped> {
        for node in self.views.open() {
            let mut pods: Vec<String> = self.places.on_node(&node).borrow().keys().cloned().collect();
            pods.extend(self.places.departed_from(&node));
            if pods.is_empty() {
                continue;
            }
            // The name of a question that nobody else asks: nothing is proved with the answer.
            let (retest, nonce) = (RetestId::from_bytes(jitter::bytes()), Nonce::from_bytes(jitter::bytes()));
            let look = Look { retest, nonce, pods: BTreeMap::from([(node, pods)]) };
            for seen in self.views.look(look).await.into_values() {
                if let Some(statement) = statement(&seen) {
                    self.engine.tell(Command::Viewed(Box::new(statement))).await?;
                }
            }
        }
        Ok(())
    }
}

fn statement(seen: &Seen) -> Option<NodeStatement> {
    match seen {
        Seen::Statement(signed) => serde_json::from_str(&signed.statement).ok(),
        Seen::Silent(_) => None,
    }
}
