//! One entry of the activity log: who or what did what to which record, when and why.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::UnixMillis;
use crate::id::{ClusterId, FindingId};

/// Who acts. People are opaque ids; their names stand in an erasable table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "kebab-case")]
pub enum Actor {
    /// The agent of this cluster.
    Agent(ClusterId),
    /// A user or an API token, by its id.
    User(String),
    /// Holdfast itself, and which part: `retest`, `fleet`, `operator`.
    Holdfast(String),
}

/// The state of the log at a moment. Its canonical bytes are what the aggregator signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// `holdfast.head.v1`.
    pub form: String,
    /// Number of entries.
    pub size: u64,
    /// RFC 6962 root hash over them.
    #[serde(with = "crate::canonical::hex_bytes")]
    pub root: Vec<u8>,
    /// When it was signed.
    pub at: UnixMillis,
}

impl Head {
    /// The name and version of this form.
    pub const FORM: &str = "holdfast.head.v1";
}

/// An event as it is hashed into the log. Its canonical bytes are the leaf's data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// When it was decided, by the aggregator's clock.
    pub at: UnixMillis,
    /// Who or what caused it.
    pub actor: Actor,
    /// What happened, a kebab-case word: `finding-opened`, `finding-verified`, `cluster-revoked`.
    pub event: String,
    /// The cluster it concerns; none for the installation as a whole.
    pub cluster: Option<ClusterId>,
    /// The finding it concerns.
    pub finding: Option<FindingId>,
    /// Why, in one plain sentence.
    pub cause: String,
    /// Details by event: integers, strings, lists and maps only.
    pub detail: Value,
}

/// The hash of a leaf of the log, from its data (RFC 6962: SHA-256 over a zero byte and the data). Here and not with the tree, since
/// it is part of what an event is: whoever decides one hashes it, and needs no tree for that.
pub fn leaf_hash(data: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update([0]).chain_update(data).finalize().into()
}
