//! What a root vouches for at a moment: chains that lead to it, and signatures of the keys in their certificates.

use std::time::Duration;

use holdfast_model::{RootFingerprint, UnixMillis};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::aws_lc_rs::ECDSA_P256_SHA256;
use webpki::{EndEntityCert, KeyUsage};

use crate::certificate::{CertificateFacts, CertificateProblem};
use crate::spiffe::{Party, SpiffeName};

/// Why a certificate or a signature is not believed. `whose` is `root`, `agent's`, `aggregator's` or `node's`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustProblem {
    /// The root is not the one that the verifier trusts.
    #[error("it comes from another installation: its root has the fingerprint {found}")]
    OtherRoot {
        /// The fingerprint of the root that was shown.
        found: RootFingerprint,
    },
    /// A certificate cannot be read or has another name.
    #[error("the {whose} certificate cannot be used: {problem}")]
    Certificate {
        /// Of which party.
        whose: &'static str,
        /// What is wrong.
        problem: CertificateProblem,
    },
    /// A certificate names somebody who may not sign this.
    #[error("the {whose} certificate names {name}, who may not sign this")]
    Name {
        /// Of which party.
        whose: &'static str,
        /// Whom it names.
        name: String,
    },
    /// A certificate that the root did not sign, or that was not valid at the moment.
    #[error("the {whose} certificate does not lead to the root at the time of the recording: {problem}")]
    Chain {
        /// Of which party.
        whose: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A signature that the certificate's key did not make over these bytes.
    #[error("the {whose} signature does not fit: what was signed has been changed, or another key signed it")]
    Signature {
        /// Of which party.
        whose: &'static str,
    },
}

/// A root that was recognised by its fingerprint, at a moment.
#[derive(Debug, Clone)]
pub struct TrustedRoot<'a> {
    root: CertificateDer<'a>,
    at: UnixMillis,
    trust_domain: String,
}

impl<'a> TrustedRoot<'a> {
    /// Recognises the root, which must have been valid at this moment.
    pub fn recognise(der: &'a [u8], expected: &RootFingerprint, at: UnixMillis) -> Result<Self, TrustProblem> {
        let found = RootFingerprint::of(der);
        if found != *expected {
            return Err(TrustProblem::OtherRoot { found });
        }
        let facts = facts("root", der)?;
        if facts.name.party != Party::Root {
            return Err(TrustProblem::Name { whose: "root", name: facts.name.to_string() });
        }
        if !facts.is_valid_at(at) {
            return Err(TrustProblem::Chain { whose: "root", problem: "it was not valid then".into() });
        }
        Ok(Self { root: CertificateDer::from(der), at, trust_domain: facts.name.trust_domain })
    }

    /// The installation that the root names: `holdfast-<id>`.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The name in a certificate of this installation that leads to the root.
    pub fn name_in(&self, whose: &'static str, der: &[u8]) -> Result<SpiffeName, TrustProblem> {
        self.check_chain(whose, der)?;
        let name = facts(whose, der)?.name;
        if name.trust_domain == self.trust_domain {
            Ok(name)
        } else {
            Err(TrustProblem::Name { whose, name: name.to_string() })
        }
    }

    /// Checks a signature of the aggregator, and that its certificate may make one.
    pub fn check_aggregator(&self, der: &[u8], bytes: &[u8], signature: &[u8]) -> Result<(), TrustProblem> {
        let name = self.name_in("aggregator's", der)?;
        if name.party != Party::Aggregator {
            return Err(TrustProblem::Name { whose: "aggregator's", name: name.to_string() });
        }
        check_signature("aggregator's", der, bytes, signature)
    }

    fn check_chain(&self, whose: &'static str, der: &[u8]) -> Result<(), TrustProblem> {
        let problem = |error: webpki::Error| TrustProblem::Chain { whose, problem: error.to_string() };
        let leaf = CertificateDer::from(der);
        let leaf = EndEntityCert::try_from(&leaf).map_err(problem)?;
        let anchor = webpki::anchor_from_trusted_cert(&self.root).map_err(problem)?;
        let at = UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(self.at).unwrap_or(0)));
        let usage = KeyUsage::client_auth();
        leaf.verify_for_usage(&[ECDSA_P256_SHA256], &[anchor], &[], at, usage, None, None).map_err(problem)?;
        Ok(())
    }
}

/// The facts of a party's certificate.
pub fn facts(whose: &'static str, der: &[u8]) -> Result<CertificateFacts, TrustProblem> {
    CertificateFacts::parse(der).map_err(|problem| TrustProblem::Certificate { whose, problem })
}

/// Checks that the key of a certificate has signed these bytes. Who the certificate is, and who vouches for it, are other
/// questions.
pub fn check_signature(whose: &'static str, der: &[u8], bytes: &[u8], signature: &[u8]) -> Result<(), TrustProblem> {
    let leaf = CertificateDer::from(der);
    let problem = |error: webpki::Error| TrustProblem::Chain { whose, problem: error.to_string() };
    let leaf = EndEntityCert::try_from(&leaf).map_err(problem)?;
    leaf.verify_signature(ECDSA_P256_SHA256, bytes, signature).map_err(|_| TrustProblem::Signature { whose })
}
