//! Reads X.509 certificates as far as Holdfast trusts them: one SPIFFE name, a serial, a P-256 key, a lifetime.
//!
//! It decides no trust: chains are checked by the TLS stack and by `trust`. A certificate with a second name, a name of another
//! form or another kind of key is refused, whoever signed it.

use data_encoding::HEXLOWER;
use holdfast_model::UnixMillis;
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::spiffe::SpiffeName;

/// Why a certificate is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateProblem {
    /// The bytes are no X.509 structure, or more than one.
    #[error("it is not one well-formed DER structure")]
    Malformed,
    /// The key is of another kind.
    #[error("its key is not an ECDSA key on the curve P-256")]
    KeyKind,
    /// No name, several names, or a name that is not one of ours.
    #[error("its only name must be a Holdfast SPIFFE URI, but {0}")]
    Name(String),
}

/// The facts of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Its only name.
    pub name: SpiffeName,
    /// Serial number, lower-case hexadecimal.
    pub serial: String,
    /// SHA-256 of the public key (SubjectPublicKeyInfo, DER).
    pub key_hash: [u8; 32],
    /// First moment of validity.
    pub not_before: UnixMillis,
    /// Last moment of validity.
    pub not_after: UnixMillis,
}

impl CertificateFacts {
    /// Reads a certificate.
    pub fn parse(der: &[u8]) -> Result<Self, CertificateProblem> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| CertificateProblem::Malformed)?;
        if !rest.is_empty() {
            return Err(CertificateProblem::Malformed);
        }
        p256_point(certificate.public_key()).ok_or(CertificateProblem::KeyKind)?;
        Ok(Self {
            name: only_name(&certificate)?,
            serial: HEXLOWER.encode(certificate.raw_serial()),
            key_hash: key_hash(certificate.public_key().raw),
            not_before: certificate.validity().not_before.timestamp().saturating_mul(1000),
            not_after: certificate.validity().not_after.timestamp().saturating_mul(1000),
        })
    }

    /// Whether the certificate was valid at this moment.
    pub fn is_valid_at(&self, at: UnixMillis) -> bool {
        (self.not_before..=self.not_after).contains(&at)
    }
}

/// SHA-256 of a public key in the form SubjectPublicKeyInfo, DER.
pub fn key_hash(public_key: &[u8]) -> [u8; 32] {
    Sha256::digest(public_key).into()
}

/// The point of an ECDSA key on the curve P-256, uncompressed; none of another kind of key.
pub fn p256_point<'a>(key: &'a SubjectPublicKeyInfo<'_>) -> Option<&'a [u8]> {
    let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    let point = key.subject_public_key.data.as_ref();
    let fits = key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == Some(OID_EC_P256) && point.len() == 65;
    fits.then_some(point)
}

fn only_name(certificate: &X509Certificate<'_>) -> Result<SpiffeName, CertificateProblem> {
    let problem = |text: &str| CertificateProblem::Name(text.to_owned());
    let names = match certificate.subject_alternative_name() {
        Ok(Some(extension)) => &extension.value.general_names,
        Ok(None) => return Err(problem("it has no name")),
        Err(_) => return Err(problem("its names are malformed or given twice")),
    };
    let [GeneralName::URI(uri)] = names.as_slice() else {
        return Err(CertificateProblem::Name(format!("it has {} names that are not one URI", names.len())));
    };
    SpiffeName::parse(uri).ok_or_else(|| {
        let shown: String = uri.chars().take(100).flat_map(char::escape_default).collect();
        CertificateProblem::Name(format!("it is \"{shown}\""))
    })
}
