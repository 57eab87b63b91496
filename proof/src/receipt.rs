//! Checks a receipt years later, with nothing but the fingerprint of the installation's root.
//!
//! Certificates are judged at the moment when the verdict was recorded, so renewals and a new root change nothing about old
//! receipts. That moment is countersigned by the aggregator, whose log position ties it to the activity log.

use holdfast_model::receipt::Countersigned;
use holdfast_model::{Attestation, Receipt, RootFingerprint};
use sha2::{Digest, Sha256};

use crate::attestation::{self, AttestationProblem};
use crate::canonical::{self, NotCanonical};
use crate::trust::{TrustProblem, TrustedRoot};

/// Why a receipt is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptProblem {
    /// The receipt is of a form that this program does not know.
    #[error("the receipt's form is {0:?}, not {known:?}", known = Receipt::FORM)]
    Form(String),
    /// A certificate or a signature.
    #[error(transparent)]
    Trust(#[from] TrustProblem),
    /// The countersignature's bytes.
    #[error(transparent)]
    NotCanonical(#[from] NotCanonical),
    /// The countersignature is about another attestation or another agent's signature.
    #[error("the countersignature is about another {0}")]
    OtherSubject(&'static str),
    /// What was countersigned.
    #[error(transparent)]
    Attestation(#[from] AttestationProblem),
}

/// What a receipt proves, once it was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedReceipt {
    /// What the agent attests to.
    pub attestation: Attestation,
    /// When it was recorded, and where in the activity log.
    pub countersigned: Countersigned,
    /// The installation: `holdfast-<id>`.
    pub trust_domain: String,
}

/// Checks a receipt against the fingerprint of the root, which is the only thing that is trusted.
pub fn verify(receipt: &Receipt, root: &RootFingerprint) -> Result<VerifiedReceipt, ReceiptProblem> {
    if receipt.form != Receipt::FORM {
        return Err(ReceiptProblem::Form(receipt.form.clone()));
    }
    let countersigned: Countersigned = canonical::parse("countersignature", &receipt.countersigned)?;
    let trusted = TrustedRoot::recognise(&receipt.root_certificate, root, countersigned.recorded_at)?;
    check_hash("attestation", receipt.attestation.as_bytes(), &countersigned.attestation_hash)?;
    check_hash("agent's signature", &receipt.agent_signature, &countersigned.agent_signature_hash)?;
    let signed = receipt.countersigned.as_bytes();
    trusted.check_aggregator(&receipt.aggregator_certificate, signed, &receipt.aggregator_signature)?;
    trusted.name_in("agent's", &receipt.agent_certificate)?;
    let bytes = receipt.attestation.as_bytes();
    let attestation = attestation::check(bytes, &receipt.agent_signature, &receipt.agent_certificate)?;
    attestation::check_nodes_under(&trusted, &attestation)?;
    Ok(VerifiedReceipt { attestation, countersigned, trust_domain: trusted.trust_domain().to_owned() })
}

fn check_hash(what: &'static str, bytes: &[u8], expected: &[u8]) -> Result<(), ReceiptProblem> {
    if Sha256::digest(bytes).as_slice() == expected { Ok(()) } else { Err(ReceiptProblem::OtherSubject(what)) }
}
