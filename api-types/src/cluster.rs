//! Clusters as the API shows them, with what can be seen of each and how to join.

use holdfast_model::{ClusterId, CoverageState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Time, schema};

/// One cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cluster {
    /// Its id, `c_…`.
    #[schema(value_type = schema::ClusterId)]
    pub id: ClusterId,
    /// Its name, as its administrator gave it.
    pub name: String,
    /// Uid of its namespace kube-system, once an agent has said it.
    pub fingerprint: Option<String>,
    /// Version of its API server.
    pub server_version: Option<String>,
    /// Version of its agent.
    pub agent_version: Option<String>,
    /// Whether its agent is connected now.
    pub connected: bool,
    /// How many of its nodes can be looked into. Which those are, and why others are not: its coverage, subjects `node/…`.
    pub nodes: NodeCoverage,
    /// When its agent was last heard.
    pub last_seen_at: Option<Time>,
    /// When it was added.
    pub added_at: Time,
    /// When its agent's credentials were revoked.
    pub revoked_at: Option<Time>,
}

/// How many nodes of a cluster have a kernel view and sensors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeCoverage {
    /// Nodes that run Pods, as its agent reported last.
    pub expected: u64,
    /// Those of them whose kernel view is available and whose sensors are attached. None while the agent is not connected: then
    /// nobody knows.
    pub available: Option<u64>,
}

/// A cluster to add.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCluster {
    /// Its name: lower-case letters, digits, `-` and `.`, at most 63 characters.
    pub name: String,
}

/// What an agent needs to join. The token is shown this once and stored as a hash.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IssuedJoinToken {
    /// The cluster that it joins.
    #[schema(value_type = schema::ClusterId)]
    pub cluster_id: ClusterId,
    /// The cluster's name.
    pub cluster: String,
    /// The token; it carries the fingerprint of the aggregator's root.
    pub token: String,
    /// When it stops working.
    pub expires_at: Time,
}

/// Shows whose token it is, never the token.
impl std::fmt::Debug for IssuedJoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedJoinToken").field("cluster_id", &self.cluster_id).finish_non_exhaustive()
    }
}

/// What can and cannot be seen of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Coverage {
    /// A resource with its API group, `deployments.apps`.
    pub subject: String,
    /// Whether it can be seen.
    #[schema(value_type = schema::CoverageState)]
    pub state: CoverageState,
    /// Why not.
    pub reason: String,
    /// Since when.
    pub since: Time,
}

/// Which namespaces are looked at, and what their labels propose instead.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Scope {
    /// Namespaces that the platform owner took out, sorted.
    pub excluded_namespaces: Vec<String>,
    /// What namespace labels ask for. A label never narrows the scope: it waits here for the platform owner.
    #[serde(default)]
    pub proposals: Vec<ScopeProposal>,
}

/// A namespace that asks, by its label, to be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScopeProposal {
    /// The namespace.
    pub namespace: String,
    /// What its label says.
    pub proposal: String,
    /// Since when.
    pub since: Time,
}

/// The scope to set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewScope {
    /// Every namespace that is left out; what is not in this list is looked at.
    pub excluded_namespaces: Vec<String>,
}
