//! Signs receipts and checks them, with nothing but bytes: no store, no network, no clock.
//!
//! [`verify`] is what a stranger runs years later, with a receipt and the fingerprint of the installation's root. It judges
//! certificates at the moment when the verdict was recorded, so renewals and a new root change nothing about old receipts.
//! [`check_attestation`] is what the aggregator runs on an agent's answer, [`countersign`] what it adds.

use std::collections::BTreeSet;
use std::time::Duration;

use holdfast_model::canonical;
use holdfast_model::kernel::{NodeStatement, SignedNodeStatement};
use holdfast_model::receipt::Countersigned;
use holdfast_model::{Attestation, ClusterId, FindingKey, Method, Reach, Receipt, RootFingerprint, UnixMillis};
use rustls_pki_types::{CertificateDer, UnixTime};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use webpki::aws_lc_rs::ECDSA_P256_SHA256;
use webpki::{EndEntityCert, KeyUsage};

use crate::authority::{Authority, AuthorityError};
use crate::certificate::{CertificateFacts, CertificateProblem, Party};

/// Why a receipt, an attestation or a signature is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptProblem {
    /// The receipt is of a form that this program does not know.
    #[error("the receipt's form is {0:?}, not {known:?}", known = Receipt::FORM)]
    Form(String),
    /// The attestation is of a form that this program does not know.
    #[error("the attestation's form is {0:?}, not {known:?}", known = Attestation::FORM)]
    AttestationForm(String),
    /// The root in the receipt is not the one that the verifier trusts.
    #[error("the receipt comes from another installation: its root has the fingerprint {found}")]
    OtherRoot {
        /// The fingerprint of the root in the receipt.
        found: RootFingerprint,
    },
    /// A certificate cannot be read or has another name.
    #[error("the {whose} certificate cannot be used: {problem}")]
    Certificate {
        /// `root`, `agent's`, `aggregator's` or `node's`.
        whose: &'static str,
        /// What is wrong.
        problem: CertificateProblem,
    },
    /// A certificate names somebody who may not sign this.
    #[error("the {whose} certificate names {name}, who may not sign this")]
    Name {
        /// `root`, `agent's`, `aggregator's` or `node's`.
        whose: &'static str,
        /// Whom it names.
        name: String,
    },
    /// A certificate that the root did not sign, or that was not valid at the time.
    #[error("the {whose} certificate does not lead to the root at the time of the recording: {problem}")]
    Chain {
        /// `root`, `agent's`, `aggregator's` or `node's`.
        whose: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A signature that the certificate's key did not make over these bytes.
    #[error("the {whose} signature does not fit: what was signed has been changed, or another key signed it")]
    Signature {
        /// `agent's`, `aggregator's` or `node's`.
        whose: &'static str,
    },
    /// Signed text that is not one value in canonical form.
    #[error("the {what} is not in canonical form: {problem}")]
    NotCanonical {
        /// `attestation`, `countersignature`, `node's statement` or `head`.
        what: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The countersignature is about another attestation or another agent's signature.
    #[error("the countersignature is about another {0}")]
    OtherSubject(&'static str),
    /// The attestation is about another cluster than its signer's.
    #[error("the agent of cluster {signer} testifies about cluster {testified}")]
    ForeignCluster {
        /// Whose certificate signed.
        signer: ClusterId,
        /// Which cluster is testified about.
        testified: ClusterId,
    },
    /// What a node attests to belongs to another question, or is not whole.
    #[error("the statement of node {node} proves nothing here: {problem}")]
    Node {
        /// The node, as its certificate names it.
        node: String,
        /// What is wrong.
        problem: String,
    },
    /// A proof that goes to the processes without having looked at them.
    #[error("the attestation reaches the running processes, and names no method or no node that looked at them")]
    Unlooked,
    /// The finding's id does not follow from cluster, resource and control.
    #[error("the finding's id does not follow from the attestation's cluster, resource and control")]
    OtherFinding,
}

/// What a receipt proves, once it was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What the agent attests to.
    pub attestation: Attestation,
    /// When it was recorded, and where in the activity log.
    pub countersigned: Countersigned,
    /// The installation: `holdfast-<id>`.
    pub trust_domain: String,
}

/// Checks a receipt against the fingerprint of the root, which is the only thing that is trusted.
pub fn verify(receipt: &Receipt, root: &RootFingerprint) -> Result<Verified, ReceiptProblem> {
    if receipt.form != Receipt::FORM {
        return Err(ReceiptProblem::Form(receipt.form.clone()));
    }
    let countersigned: Countersigned = canonical_value("countersignature", &receipt.countersigned)?;
    let trusted = Trusted::root(&receipt.root_certificate, root, countersigned.recorded_at)?;
    check_hash("attestation", receipt.attestation.as_bytes(), &countersigned.attestation_hash)?;
    check_hash("agent's signature", &receipt.agent_signature, &countersigned.agent_signature_hash)?;
    let signed = receipt.countersigned.as_bytes();
    trusted.check_aggregator(&receipt.aggregator_certificate, signed, &receipt.aggregator_signature)?;
    trusted.check_chain("agent's", &receipt.agent_certificate)?;
    let agent = facts("agent's", &receipt.agent_certificate)?;
    if agent.name.trust_domain != trusted.trust_domain {
        return Err(ReceiptProblem::Name { whose: "agent's", name: agent.name.to_string() });
    }
    let attestation =
        check_attestation(receipt.attestation.as_bytes(), &receipt.agent_signature, &receipt.agent_certificate)?;
    trusted.check_nodes(&attestation)?;
    Ok(Verified { attestation, countersigned, trust_domain: trusted.trust_domain })
}

/// Checks what an agent attests to: its signature, its form, and that it speaks of its own cluster. The certificate's chain
/// has been checked by TLS or by [`verify`].
pub fn check_attestation(bytes: &[u8], signature: &[u8], certificate: &[u8]) -> Result<Attestation, ReceiptProblem> {
    let name = facts("agent's", certificate)?.name;
    let Party::Cluster(signer) = name.party else {
        return Err(ReceiptProblem::Name { whose: "agent's", name: name.to_string() });
    };
    check_signature("agent's", certificate, bytes, signature)?;
    let text = std::str::from_utf8(bytes)
        .map_err(|error| ReceiptProblem::NotCanonical { what: "attestation", problem: error.to_string() })?;
    let attestation: Attestation = canonical_value("attestation", text)?;
    if attestation.form != Attestation::FORM {
        return Err(ReceiptProblem::AttestationForm(attestation.form));
    }
    if attestation.cluster != signer {
        return Err(ReceiptProblem::ForeignCluster { signer, testified: attestation.cluster });
    }
    let Attestation { cluster, resource, control, .. } = attestation.clone();
    if (FindingKey { cluster, resource, control }).finding_id() != attestation.finding {
        return Err(ReceiptProblem::OtherFinding);
    }
    Ok(attestation)
}

/// Checks what the nodes attest to in an attestation that comes in now, under the installation's own root.
pub fn check_nodes(attestation: &Attestation, root: &[u8], now: UnixMillis) -> Result<(), ReceiptProblem> {
    if attestation.nodes.is_empty() && attestation.reach != Reach::Running {
        return Ok(());
    }
    Trusted::root(root, &RootFingerprint::of(root), now)?.check_nodes(attestation)
}

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
    let text = canonical_text(&countersigned)?;
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

/// A root that was recognised by its fingerprint, at a moment.
pub(crate) struct Trusted<'a> {
    root: CertificateDer<'a>,
    at: UnixMillis,
    /// The installation that the root names.
    pub(crate) trust_domain: String,
}

impl<'a> Trusted<'a> {
    /// Recognises the root, which must have been valid at this moment.
    pub(crate) fn root(der: &'a [u8], expected: &RootFingerprint, at: UnixMillis) -> Result<Self, ReceiptProblem> {
        let found = RootFingerprint::of(der);
        if found != *expected {
            return Err(ReceiptProblem::OtherRoot { found });
        }
        let facts = facts("root", der)?;
        if facts.name.party != Party::Root {
            return Err(ReceiptProblem::Name { whose: "root", name: facts.name.to_string() });
        }
        if !facts.is_valid_at(at) {
            return Err(ReceiptProblem::Chain { whose: "root", problem: "it was not valid then".into() });
        }
        Ok(Self { root: CertificateDer::from(der), at, trust_domain: facts.name.trust_domain })
    }

    /// Checks a signature of the aggregator, and that its certificate may make one.
    pub(crate) fn check_aggregator(&self, der: &[u8], bytes: &[u8], signature: &[u8]) -> Result<(), ReceiptProblem> {
        self.check_chain("aggregator's", der)?;
        let name = facts("aggregator's", der)?.name;
        if name.party != Party::Aggregator || name.trust_domain != self.trust_domain {
            return Err(ReceiptProblem::Name { whose: "aggregator's", name: name.to_string() });
        }
        check_signature("aggregator's", der, bytes, signature)
    }

    /// Checks every node's statement: signed by a certificate of this installation that names a node of the attestation's
    /// cluster, one a node, and an answer to the attestation's own order.
    fn check_nodes(&self, attestation: &Attestation) -> Result<(), ReceiptProblem> {
        let looked = attestation.methods.contains(&Method::RuntimeRecheck) && !attestation.nodes.is_empty();
        if attestation.reach == Reach::Running && !looked {
            return Err(ReceiptProblem::Unlooked);
        }
        let mut seen = BTreeSet::new();
        for signed in &attestation.nodes {
            let node = self.check_node(attestation, signed)?;
            if let Some(twice) = seen.replace(node) {
                return Err(ReceiptProblem::Node { node: twice, problem: "it is there twice".to_owned() });
            }
        }
        Ok(())
    }

    /// Checks one, and answers which node it is.
    fn check_node(&self, attestation: &Attestation, signed: &SignedNodeStatement) -> Result<String, ReceiptProblem> {
        self.check_chain("node's", &signed.certificate)?;
        let name = facts("node's", &signed.certificate)?.name;
        let node = match &name.party {
            Party::Node(cluster, node) if *cluster == attestation.cluster && name.trust_domain == self.trust_domain => {
                node.as_str().to_owned()
            }
            _ => return Err(ReceiptProblem::Name { whose: "node's", name: name.to_string() }),
        };
        check_signature("node's", &signed.certificate, signed.statement.as_bytes(), &signed.signature)?;
        let statement: NodeStatement = canonical_value("node's statement", &signed.statement)?;
        let problem = if statement.node != node {
            Some("its certificate names another node".to_owned())
        } else if let Some(reason) = &statement.incomplete {
            Some(format!("its view is not whole: {reason}"))
        } else {
            statement.answers(attestation.retest, attestation.nonce, attestation.cluster).err().map(str::to_owned)
        };
        match problem {
            None => Ok(node),
            Some(problem) => Err(ReceiptProblem::Node { node, problem }),
        }
    }

    fn check_chain(&self, whose: &'static str, der: &[u8]) -> Result<(), ReceiptProblem> {
        let problem = |error: webpki::Error| ReceiptProblem::Chain { whose, problem: error.to_string() };
        let leaf = CertificateDer::from(der);
        let leaf = EndEntityCert::try_from(&leaf).map_err(problem)?;
        let anchor = webpki::anchor_from_trusted_cert(&self.root).map_err(problem)?;
        let at = UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(self.at).unwrap_or(0)));
        let usage = KeyUsage::client_auth();
        leaf.verify_for_usage(&[ECDSA_P256_SHA256], &[anchor], &[], at, usage, None, None).map_err(problem)?;
        Ok(())
    }
}

fn facts(whose: &'static str, der: &[u8]) -> Result<CertificateFacts, ReceiptProblem> {
    CertificateFacts::parse(der).map_err(|problem| ReceiptProblem::Certificate { whose, problem })
}

fn check_signature(whose: &'static str, der: &[u8], bytes: &[u8], signature: &[u8]) -> Result<(), ReceiptProblem> {
    let leaf = CertificateDer::from(der);
    let leaf =
        EndEntityCert::try_from(&leaf).map_err(|error| ReceiptProblem::Chain { whose, problem: error.to_string() })?;
    leaf.verify_signature(ECDSA_P256_SHA256, bytes, signature).map_err(|_| ReceiptProblem::Signature { whose })
}

fn check_hash(what: &'static str, bytes: &[u8], expected: &[u8]) -> Result<(), ReceiptProblem> {
    if Sha256::digest(bytes).as_slice() == expected { Ok(()) } else { Err(ReceiptProblem::OtherSubject(what)) }
}

/// The canonical text of a value.
pub(crate) fn canonical_text<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    String::from_utf8(canonical::bytes(value)?).map_err(serde::de::Error::custom)
}

/// The value of a text that is exactly its canonical form: nothing unknown, nothing twice, nothing left out.
pub(crate) fn canonical_value<T: Serialize + DeserializeOwned>(
    what: &'static str,
    text: &str,
) -> Result<T, ReceiptProblem> {
    let problem = |problem: String| ReceiptProblem::NotCanonical { what, problem };
    let value: T = serde_json::from_str(text).map_err(|error| problem(error.to_string()))?;
    let again = canonical_text(&value).map_err(|error| problem(error.to_string()))?;
    if again == text { Ok(value) } else { Err(problem("written differently than it reads".into())) }
}

#[cfg(test)]
pub(crate) mod tests;
