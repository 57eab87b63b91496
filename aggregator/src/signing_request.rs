//! Reads certificate signing requests (PKCS #10) as far as the authority needs them: one P-256 key that has proved itself.
//!
//! Who asks is decided by `enrol`, from a join token or a certificate. Certificates are read by `holdfast_proof::certificate`.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use holdfast_proof::certificate::{key_hash, p256_point};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::OID_SIG_ECDSA_WITH_SHA256;
use x509_parser::prelude::FromDer;

/// The largest request that is looked at. A P-256 request of any sane client stays under 1 KiB.
const REQUEST_BYTES: usize = 16 * 1024;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestProblem {
    /// The bytes are no PKCS #10 structure, or more than one.
    #[error("it is not one well-formed DER structure")]
    Malformed,
    /// Over the size limit.
    #[error("it has {0} bytes, over the limit of {REQUEST_BYTES}")]
    TooLarge(usize),
    /// The key is of another kind.
    #[error("its key is not an ECDSA key on the curve P-256")]
    KeyKind,
    /// It is not signed by its own key.
    #[error("it is not signed by the key that it names")]
    NotSignedByItsKey,
}

/// A certificate signing request whose key has proved itself. Nothing else of the request is kept: who asks is decided by
/// a join token or a certificate, never by the names in the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningRequest {
    public_key: Vec<u8>,
}

impl SigningRequest {
    /// Reads a PKCS #10 request and checks that it is signed by its own P-256 key.
    pub fn parse(der: &[u8]) -> Result<Self, RequestProblem> {
        if der.len() > REQUEST_BYTES {
            return Err(RequestProblem::TooLarge(der.len()));
        }
        let (rest, request) = X509CertificationRequest::from_der(der).map_err(|_| RequestProblem::Malformed)?;
        if !rest.is_empty() {
            return Err(RequestProblem::Malformed);
        }
        let info = &request.certification_request_info;
        let point = p256_point(&info.subject_pki).ok_or(RequestProblem::KeyKind)?;
        if request.signature_algorithm.algorithm != OID_SIG_ECDSA_WITH_SHA256 {
            return Err(RequestProblem::KeyKind);
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
            .verify(info.raw, &request.signature_value.data)
            .map_err(|_| RequestProblem::NotSignedByItsKey)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_no_request_is_refused_by_kind() {
        assert_eq!(SigningRequest::parse(&[0; 20_000]), Err(RequestProblem::TooLarge(20_000)));
        assert_eq!(SigningRequest::parse(b"hello"), Err(RequestProblem::Malformed));
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
        assert_eq!(SigningRequest::parse(request.der()), Err(RequestProblem::KeyKind));
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
        assert_eq!(SigningRequest::parse(&moved), Err(RequestProblem::NotSignedByItsKey));
    }
}
