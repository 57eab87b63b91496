//! The nodes' eyes as the cluster's part of the agent sees them: asked for Pods, they answer with signed statements.
//!
//! The relay implements this; retests use it. Whoever asks names the nodes that he expects: one that stays silent is an
//! answer too, and never a good one.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use holdfast_model::kernel::SignedNodeStatement;
use holdfast_model::{Nonce, Resource, RetestId};

use crate::places::Departed;

/// What is asked of the nodes.
#[derive(Debug, Clone)]
pub struct Look {
    /// The retest that asks.
    pub retest: RetestId,
    /// Its nonce, which the statements repeat.
    pub nonce: Nonce,
    /// uids of the Pods to look at, by the node that runs them.
    pub pods: BTreeMap<String, Vec<String>>,
}

/// One node's answer.
#[derive(Debug, Clone)]
pub enum Seen {
    /// What it attests to. Its signature and its certificate's node have been checked.
    Statement(SignedNodeStatement),
    /// Why there is none, in one plain sentence: not connected, no eye, too late.
    Silent(String),
}

/// Looks at running processes on every node of the cluster.
pub trait NodeViews: Send + Sync {
    /// Asks each node that is named, all at once, and answers for every one of them within seconds.
    fn look(&self, look: Look) -> BoxFuture<'_, BTreeMap<String, Seen>>;

    /// The nodes whose kernel can be looked at now.
    fn open(&self) -> Vec<String>;

    /// Pods of this owner that the API server lists no more, and that may run on.
    fn departed(&self, owner: &Resource) -> Vec<Departed>;
}
