//! The receipt: what was read, what it proves, and who signed it, so that a stranger can check it years later.
//!
//! Two signatures over one chain of bytes. The agent signs its attestation's canonical bytes; the aggregator countersigns
//! those bytes, the agent's signature, the time and the position in the activity log. Both certificates come with the
//! receipt and lead to the installation's root, of which the verifier needs only the fingerprint.
//! Making and checking signatures is IO-free but needs a crypto library; that lives in the rooms that use it.

use serde::{Deserialize, Serialize};

use crate::UnixMillis;
use crate::container_observation::ObservationWindows;
use crate::control::{ControlId, Method, Reach};
use crate::id::{ClusterId, FindingId, Nonce, RetestId};
use crate::kernel::SignedNodeStatement;
use crate::resource::Resource;
use crate::retest::{ObjectRead, Verdict};
use crate::statement::Location;

/// What an agent attests to: the answer to one retest order. Its canonical bytes are what the agent signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attestation {
    /// `holdfast.attestation.v1`.
    pub form: String,
    /// The order that is answered.
    pub retest: RetestId,
    /// The order's nonce.
    pub nonce: Nonce,
    /// The agent's own cluster, as its certificate names it.
    pub cluster: ClusterId,
    /// The finding.
    pub finding: FindingId,
    /// The subject.
    pub resource: Resource,
    /// The uid of the subject that was read, or that was proved absent.
    pub uid: String,
    /// The control.
    pub control: ControlId,
    /// The control's version that judged.
    pub control_version: u32,
    /// The answer.
    pub verdict: Verdict,
    /// The answer in one plain sentence.
    pub reason: String,
    /// How far the proof went.
    pub reach: Reach,
    /// The methods that were used.
    pub methods: Vec<Method>,
    /// Where it still fails.
    pub locations: Vec<Location>,
    /// Everything that was read, in order.
    pub reads: Vec<ObjectRead>,
    /// What the nodes attest to about the running processes, by node; each signed by that node's own key. Left out where no
    /// node was asked, so that older attestations keep their bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<SignedNodeStatement>,
    /// How long containers had to be watched, where the control asks what they did; the nodes say how long they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<ObservationWindows>,
    /// The agent's clock when the last read ended.
    pub read_at: UnixMillis,
    /// Version of the agent program.
    pub agent_version: String,
}

impl Attestation {
    /// The name and version of this form.
    pub const FORM: &str = "holdfast.attestation.v1";
}

/// A signed attestation with its countersignature. All byte fields are hexadecimal in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// `holdfast.receipt.v1`.
    pub form: String,
    /// The attestation's canonical bytes, as text: what the agent signed is exactly this string.
    pub attestation: String,
    /// The agent's ECDSA P-256 SHA-256 signature (ASN.1) over the attestation.
    #[serde(with = "crate::canonical::hex_bytes")]
    pub agent_signature: Vec<u8>,
    /// The agent's certificate, DER.
    #[serde(with = "crate::canonical::hex_bytes")]
    pub agent_certificate: Vec<u8>,
    /// What the aggregator adds, canonical bytes as text: a [`Countersigned`].
    pub countersigned: String,
    /// The aggregator's signature over `countersigned`.
    #[serde(with = "crate::canonical::hex_bytes")]
    pub aggregator_signature: Vec<u8>,
    /// The aggregator's signing certificate, DER.
    #[serde(with = "crate::canonical::hex_bytes")]
    pub aggregator_certificate: Vec<u8>,
    /// The root of both, DER. Trusted only through its fingerprint, which the verifier brings.
    #[serde(with = "crate::canonical::hex_bytes")]
    pub root_certificate: Vec<u8>,
}

impl Receipt {
    /// The name and version of this form.
    pub const FORM: &str = "holdfast.receipt.v1";
}

/// What the aggregator countersigns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Countersigned {
    /// SHA-256 of the attestation's bytes.
    #[serde(with = "crate::canonical::hex_bytes")]
    pub attestation_hash: Vec<u8>,
    /// SHA-256 of the agent's signature.
    #[serde(with = "crate::canonical::hex_bytes")]
    pub agent_signature_hash: Vec<u8>,
    /// When the verdict was recorded.
    pub recorded_at: UnixMillis,
    /// Position of the recording event in the activity log.
    pub log_index: u64,
    /// The event's leaf hash there.
    #[serde(with = "crate::canonical::hex_bytes")]
    pub log_leaf: Vec<u8>,
}
