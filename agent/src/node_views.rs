//! The kernel views of the nodes as the cluster's part of the agent reads them: asked for Pods, nodes answer with signed
//! statements.
//!
//! The relay implements this; retests and the runtime scan use it. Whoever asks names the nodes that are expected to answer: one
//! that does not is an answer too, and never a good one.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use holdfast_agent_core::pod_index::DepartedPod;
use holdfast_model::kernel::SignedNodeStatement;
use holdfast_model::{Nonce, Resource, RetestId};

/// What is asked of the nodes.
#[derive(Debug, Clone)]
pub struct ViewRequest {
    /// The retest that asks.
    pub retest: RetestId,
    /// Its nonce, which the statements repeat.
    pub nonce: Nonce,
    /// uids of the Pods to look at, by the node that runs them.
    pub pods: BTreeMap<String, Vec<String>>,
}

/// One node's answer.
#[derive(Debug, Clone)]
pub enum ViewAnswer {
    /// What it attests to. Its signature and its certificate's node have been checked.
    Statement(SignedNodeStatement),
    /// Why there is none, in one plain sentence: not connected, no kernel view, too late.
    Missing(String),
}

/// Reads what runs on every node of the cluster.
pub trait NodeViews: Send + Sync {
    /// Asks each node that is named, all at once, and answers for every one of them within seconds.
    fn read(&self, request: ViewRequest) -> BoxFuture<'_, BTreeMap<String, ViewAnswer>>;

    /// The nodes whose kernel view is available now.
    fn available(&self) -> Vec<String>;

    /// Pods of this owner that the API server lists no more, and that may run on.
    fn departed(&self, owner: &Resource) -> Vec<DepartedPod>;
}
