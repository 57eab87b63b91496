//! Reads X.509 certificates and requests as far as Holdfast trusts them: one SPIFFE name, a serial, a P-256 key, a lifetime.
//!
//! It decides no trust: chains are checked by the TLS stack and by `receipts`. A certificate with a second name, a name of
//! another form or another kind of key is refused, whoever signed it. Names go on to `identity` and `receipts`.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use data_encoding::HEXLOWER;
use holdfast_model::UnixMillis;
pub use holdfast_model::spiffe::{NodeName, Party, SpiffeName};
use sha2::{Digest, Sha256};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ECDSA_WITH_SHA256};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::SubjectPublicKeyInfo;

/// The largest request that is looked at. A P-256 request of any sane client stays under 1 KiB.
const REQUEST_BYTES: usize = 16 * 1024;

/// Why a certificate or a request is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateProblem {
    /// The bytes are no X.509 structure, or more than one.
    #[error("it is not one well-formed DER structure")]
    Malformed,
    /// A request over the size limit.
    #[error("it has {0} bytes, over the limit of {REQUEST_BYTES}")]
    TooLarge(usize),
    /// The key is of another kind.
    #[error("its key is not an ECDSA key on the curve P-256")]
    KeyKind,
    /// A request that is not signed by its own key.
    #[error("it is not signed by the key that it names")]
    NotSignedByItsKey,
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
        p256_point(certificate.public_key())?;
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

/// A certificate signing request whose key has proved itself. Nothing else of the request is kept: who asks is decided by
/// a join token or a certificate, never by the names in the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningRequest {
    public_key: Vec<u8>,
}

impl SigningRequest {
    /// Reads a PKCS #10 request and checks that it is signed by its own P-256 key.
    pub fn parse(der: &[u8]) -> Result<Self, CertificateProblem> {
        if der.len() > REQUEST_BYTES {
            return Err(CertificateProblem::TooLarge(der.len()));
        }
        let (rest, request) = X509CertificationRequest::from_der(der).map_err(|_| CertificateProblem::Malformed)?;
        if !rest.is_empty() {
            return Err(CertificateProblem::Malformed);
        }
        let info = &request.certification_request_info;
        let point = p256_point(&info.subject_pki)?;
        if request.signature_algorithm.algorithm != OID_SIG_ECDSA_WITH_SHA256 {
            return Err(CertificateProblem::KeyKind);
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
            .verify(info.raw, &request.signature_value.data)
            .map_err(|_| CertificateProblem::NotSignedByItsKey)?;
        Ok(Self { public_key: info.subject_pki.raw.to_vec() })
    }

    /// The public key: SubjectPublicKeyInfo, DER.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// SHA-256 of the public key.
    pub fn key_hash(&self) -> [u8; 32] {
        key_hash(&self.public_key)
    }
}

/// SHA-256 of a public key in the form SubjectPublicKeyInfo, DER.
pub fn key_hash(public_key: &[u8]) -> [u8; 32] {
    Sha256::digest(public_key).into()
}

fn p256_point<'a>(key: &'a SubjectPublicKeyInfo<'_>) -> Result<&'a [u8], CertificateProblem> {
    let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    let point = key.subject_public_key.data.as_ref();
    let fits = key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == Some(OID_EC_P256) && point.len() == 65;
    if fits { Ok(point) } else { Err(CertificateProblem::KeyKind) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_no_request_is_refused_by_kind() {
        assert_eq!(SigningRequest::parse(&[0; 20_000]), Err(CertificateProblem::TooLarge(20_000)));
        assert_eq!(SigningRequest::parse(b"hello"), Err(CertificateProblem::Malformed));
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
        assert_eq!(SigningRequest::parse(request.der()), Err(CertificateProblem::KeyKind));
    }

    /// Bytes outside what is signed, as the count of unused bits, may differ: they change nothing.
    #[test]
    fn a_request_changed_in_any_byte_never_gives_another_key() {
        let key = rcgen::KeyPair::generate().unwrap();
        let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
        let whole = SigningRequest::parse(request.der()).unwrap();
        for at in 0..request.der().len() {
            let mut changed = request.der().to_vec();
            changed[at] ^= 1;
            let read = SigningRequest::parse(&changed);
            assert!(read.is_err() || read == Ok(whole.clone()), "byte {at}");
        }
        let mut moved = request.der().to_vec();
        let last = moved.len() - 1;
        moved[last] ^= 1;
        assert_eq!(SigningRequest::parse(&moved), Err(CertificateProblem::NotSignedByItsKey));
    }
}
