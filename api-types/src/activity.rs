//! The activity log as the API shows it: entries with their exact bytes, signed heads, and proofs to check them offline.

use holdfast_model::{self as model, ClusterId, FindingId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{Time, schema};

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Activity {
    /// Its place in the log; null in the moment before it gets one.
    pub index: Option<u64>,
    /// The leaf in the tree.
    pub leaf: Leaf,
    /// What happened; null once retention has dropped it: the leaf stays.
    pub entry: Option<Entry>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Entry {
    /// When it was decided.
    pub at: Time,
    /// Who or what caused it.
    pub actor: Actor,
    /// What happened, a word: `finding-verified`.
    pub event: String,
    /// The cluster it concerns.
    #[schema(value_type = Option<schema::ClusterId>)]
    pub cluster_id: Option<ClusterId>,
    /// The finding it concerns.
    #[schema(value_type = Option<schema::FindingId>)]
    pub finding_id: Option<FindingId>,
    /// Why, in one sentence.
    pub cause: String,
    /// Details by event.
    #[schema(value_type = Object)]
    pub detail: Value,
}

/// What the tree holds of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Leaf {
    /// RFC 6962 leaf hash, hexadecimal.
    pub hash: String,
    /// The canonical bytes that were hashed, as text; null once retention has dropped them.
    pub bytes: Option<String>,
}

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Actor {
    /// Which kind of actor.
    pub kind: ActorKind,
    /// The cluster's id, the token's id, or the part of Holdfast.
    pub id: String,
}

/// The kinds of actors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ActorKind {
    /// The agent of a cluster.
    Agent,
    /// A user or an API token.
    User,
    /// Holdfast itself.
    Holdfast,
}

impl ActorKind {
    /// Its name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::User => "user",
            Self::Holdfast => "holdfast",
        }
    }
}

impl From<model::Actor> for Actor {
    fn from(actor: model::Actor) -> Self {
        let (kind, id) = match actor {
            model::Actor::Agent(cluster) => (ActorKind::Agent, cluster.to_string()),
            model::Actor::User(id) => (ActorKind::User, id),
            model::Actor::Holdfast(part) => (ActorKind::Holdfast, part),
        };
        Self { kind, id }
    }
}

/// A signed head of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Head {
    /// Number of entries.
    pub size: u64,
    /// RFC 6962 root hash over them, hexadecimal.
    pub root_hash: String,
    /// When it was signed.
    pub at: Time,
    /// The canonical bytes that were signed, as text.
    pub signed: String,
    /// ECDSA P-256 SHA-256 signature (ASN.1) over them, hexadecimal.
    pub signature: String,
    /// The signer's certificate, DER in hexadecimal.
    pub certificate: String,
    /// The root certificate, DER in hexadecimal. Trust it only if it has the fingerprint that you keep.
    pub root_certificate: String,
}

/// Proof that an entry is in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InclusionProof {
    /// The entry.
    pub index: u64,
    /// The size of the log that it is proved for.
    pub size: u64,
    /// RFC 6962 audit path, hexadecimal, from the leaf upwards.
    pub hashes: Vec<String>,
}

/// Proof that a longer log continues a shorter one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConsistencyProof {
    /// The shorter log's size.
    pub first: u64,
    /// The longer log's size.
    pub second: u64,
    /// RFC 6962 consistency path, hexadecimal.
    pub hashes: Vec<String>,
}
