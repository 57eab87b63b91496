//! Certificates of the two ends between node and relay: whom one names, until when, and what its key has signed.
//!
//! Chains are checked by the TLS stack, on the relay's side, and by [`RelayVerifier`] on the node's: there the server is
//! known by its SPIFFE name and not by its address, because a Service's address says nothing about who answers there.

use std::sync::Arc;

use holdfast_model::{ClusterId, Party, RootFingerprint, SpiffeName, UnixMillis};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Whom a certificate names, if that is exactly one Holdfast name.
pub fn name(der: &[u8]) -> Option<SpiffeName> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    match names.value.general_names.as_slice() {
        [GeneralName::URI(uri)] => SpiffeName::parse(uri),
        _ => None,
    }
}

/// The last moment at which a certificate is valid; 1970 for one that cannot be read.
pub fn not_after(der: &[u8]) -> UnixMillis {
    let parsed = X509Certificate::from_der(der);
    parsed.map_or(0, |(_, certificate)| certificate.validity().not_after.timestamp().saturating_mul(1000))
}

/// Whether the key of a certificate has signed these bytes: ECDSA P-256 SHA-256, ASN.1.
pub fn has_signed(der: &[u8], bytes: &[u8], signature: &[u8]) -> bool {
    let der = CertificateDer::from(der);
    EndEntityCert::try_from(&der)
        .is_ok_and(|leaf| leaf.verify_signature(webpki::aws_lc_rs::ECDSA_P256_SHA256, bytes, signature).is_ok())
}

/// The cryptography of every connection.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Believes a relay whose chain holds the root with this fingerprint and leads to it, and that is a cluster's agent: of this
/// cluster, once it is known. A node's certificate, or the aggregator's, opens nothing here.
#[derive(Debug)]
pub struct RelayVerifier {
    /// The root's fingerprint.
    pub root: RootFingerprint,
    /// The cluster that this node belongs to, once it has joined.
    pub cluster: Option<ClusterId>,
    /// Whose signatures are checked how.
    pub provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for RelayVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let unknown = || rustls::Error::from(CertificateError::UnknownIssuer);
        let root = intermediates.iter().find(|shown| RootFingerprint::of(shown) == self.root).ok_or_else(unknown)?;
        let anchor = webpki::anchor_from_trusted_cert(root).map_err(|_| unknown())?;
        let leaf =
            EndEntityCert::try_from(end_entity).map_err(|_| rustls::Error::from(CertificateError::BadEncoding))?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        leaf.verify_for_usage(algorithms, &[anchor], &[], now, KeyUsage::server_auth(), None, None).map_err(
            |error| match error {
                webpki::Error::CertExpired { .. } => CertificateError::Expired.into(),
                webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet.into(),
                _ => unknown(),
            },
        )?;
        let ours = name(root).map(|root| root.trust_domain);
        match name(end_entity) {
            Some(SpiffeName { trust_domain, party: Party::Cluster(cluster) })
                if ours.is_none_or(|ours| ours == trust_domain)
                    && self.cluster.is_none_or(|known| known == cluster) =>
            {
                Ok(ServerCertVerified::assertion())
            }
            _ => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
    };

    use super::*;

    fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn leaf(authority: &CertifiedIssuer<'static, KeyPair>, name: &str, usage: ExtendedKeyUsagePurpose) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
        params.extended_key_usages = vec![usage];
        params.signed_by(&KeyPair::generate().unwrap(), authority).unwrap().der().to_vec()
    }

    #[test]
    fn a_node_believes_the_agent_of_its_cluster_and_nobody_else_of_the_installation() {
        use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        let root = authority("spiffe://holdfast-x");
        let (ours, other) = (ClusterId::from_bytes([1; 16]), ClusterId::from_bytes([2; 16]));
        let verifier =
            RelayVerifier { root: RootFingerprint::of(root.der()), cluster: Some(ours), provider: provider() };
        let believed = |from: &CertifiedIssuer<'static, KeyPair>, name: &str, usage| {
            let leaf = CertificateDer::from(leaf(from, name, usage));
            let server = ServerName::try_from("anything.svc").unwrap();
            verifier.verify_server_cert(&leaf, &[from.der().clone()], &server, &[], UnixTime::now()).is_ok()
        };
        let agent = format!("spiffe://holdfast-x/cluster/{ours}");
        assert!(believed(&root, &agent, ServerAuth));
        assert!(!believed(&root, &agent, ClientAuth));
        assert!(!believed(&root, &format!("spiffe://holdfast-x/cluster/{other}"), ServerAuth));
        assert!(!believed(&root, &format!("{agent}/node/worker-1"), ServerAuth));
        assert!(!believed(&root, "spiffe://holdfast-x/aggregator", ServerAuth));
        assert!(!believed(&root, &format!("spiffe://holdfast-y/cluster/{ours}"), ServerAuth));
        assert!(!believed(&authority("spiffe://holdfast-x"), &agent, ServerAuth));
    }

    #[test]
    fn only_one_name_of_ours_is_a_name() {
        let root = authority("spiffe://holdfast-x");
        assert_eq!(name(root.der()).unwrap().party, Party::Root);
        assert_eq!(name(authority("https://holdfast-x").der()), None);
        assert_eq!((name(b"no certificate"), not_after(b"no certificate")), (None, 0));
    }
}
