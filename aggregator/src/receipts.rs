//! Countersigns attestations: what makes a receipt of them. Checking one is `holdfast_proof`'s, here as at the auditor's.

use holdfast_model::receipt::Countersigned;
use holdfast_model::{Receipt, UnixMillis, canonical};
use sha2::{Digest, Sha256};

use crate::authority::{Authority, AuthorityError};

/// An agent's attestation with everything that the aggregator vouches for beside it.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'a> {
    /// The attestation's canonical bytes, as text.
    pub attestation: &'a str,
    /// The agent's signature over them.
    pub agent_signature: &'a [u8],
    /// The agent's certificate, DER.
    pub agent_certificate: &'a [u8],
    /// When the verdict was recorded.
    pub recorded_at: UnixMillis,
    /// Position of the recording event in the activity log.
    pub log_index: u64,
    /// Its leaf hash there.
    pub log_leaf: [u8; 32],
}

/// Makes the receipt of an attestation that was checked and recorded.
pub fn countersign(authority: &Authority, recorded: &Recorded<'_>) -> Result<Receipt, CountersignError> {
    let countersigned = Countersigned {
        attestation_hash: Sha256::digest(recorded.attestation).to_vec(),
        agent_signature_hash: Sha256::digest(recorded.agent_signature).to_vec(),
        recorded_at: recorded.recorded_at,
        log_index: recorded.log_index,
        log_leaf: recorded.log_leaf.to_vec(),
    };
    let text = canonical::text(&countersigned)?;
    Ok(Receipt {
        form: Receipt::FORM.to_owned(),
        attestation: recorded.attestation.to_owned(),
        agent_signature: recorded.agent_signature.to_vec(),
        agent_certificate: recorded.agent_certificate.to_vec(),
        aggregator_signature: authority.sign(text.as_bytes())?,
        countersigned: text,
        aggregator_certificate: authority.signing_certificate().to_vec(),
        root_certificate: authority.root().to_vec(),
    })
}

/// Why a receipt could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CountersignError {
    /// The authority could not sign.
    #[error("the authority could not sign")]
    Authority(#[from] AuthorityError),
    /// A value without canonical form.
    #[error("the countersignature has no canonical form")]
    Form(#[from] serde_json::Error),
}

#[cfg(test)]
pub(crate) mod tests;
