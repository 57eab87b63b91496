//! The one TLS verifier of the agent's connections: a server is believed for the root that the agent was given.
//!
//! A join token, a credential and a node's settings name a root by its fingerprint. The server must show that very root, and its
//! certificate must lead to it. Beyond that an aggregator is known by the address that was dialled, a relay by the SPIFFE name in its
//! certificate, since the address of a Service says nothing about who answers there.

use std::sync::Arc;

use holdfast_model::{ClusterId, RootFingerprint};
use holdfast_proof::{CertificateFacts, Party};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

/// The cryptography of every connection.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Who must answer, besides being vouched for by the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedServer {
    /// Whoever has a certificate for the address that was dialled.
    Address,
    /// The agent of a cluster: of this one, once it is known. A node's certificate, or the aggregator's, is refused.
    ClusterAgent(Option<ClusterId>),
}

/// Believes a server whose chain holds the root with this fingerprint and leads to it.
#[derive(Debug)]
pub struct PinnedRoot {
    /// The root's fingerprint.
    pub root: RootFingerprint,
    /// Who must answer.
    pub server: ExpectedServer,
    /// Whose signatures are checked how.
    pub provider: Arc<CryptoProvider>,
}

impl PinnedRoot {
    /// The verifier for this root and server.
    pub fn new(root: RootFingerprint, server: ExpectedServer) -> Self {
        Self { root, server, provider: provider() }
    }

    /// The root signs every certificate itself (path length 0), so nothing stands between the two.
    fn check_chain(
        &self,
        leaf: &EndEntityCert<'_>,
        root: &CertificateDer<'_>,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let anchor = webpki::anchor_from_trusted_cert(root).map_err(refused)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        leaf.verify_for_usage(algorithms, &[anchor], &[], now, KeyUsage::server_auth(), None, None).map_err(refused)?;
        Ok(())
    }
}

/// What TLS calls a problem of the chain.
fn refused(problem: webpki::Error) -> rustls::Error {
    match problem {
        webpki::Error::BadDer => CertificateError::BadEncoding,
        webpki::Error::CertExpired { .. } => CertificateError::Expired,
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        webpki::Error::CertNotValidForName(_) => CertificateError::NotValidForName,
        _ => CertificateError::UnknownIssuer,
    }
    .into()
}

/// Whether a certificate names the agent of a cluster (of this one, if it is given) in the installation of this root.
fn is_cluster_agent(der: &[u8], root: &[u8], known: Option<ClusterId>) -> bool {
    let (Ok(leaf), Ok(root)) = (CertificateFacts::parse(der), CertificateFacts::parse(root)) else { return false };
    let Party::Cluster(cluster) = leaf.name.party else { return false };
    leaf.name.trust_domain == root.name.trust_domain && known.is_none_or(|known| known == cluster)
}

impl ServerCertVerifier for PinnedRoot {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let root = intermediates.iter().find(|shown| RootFingerprint::of(shown) == self.root);
        let root = root.ok_or(CertificateError::UnknownIssuer)?;
        let leaf = EndEntityCert::try_from(end_entity).map_err(refused)?;
        self.check_chain(&leaf, root, now)?;
        match self.server {
            ExpectedServer::Address => leaf.verify_is_valid_for_subject_name(server_name).map_err(refused)?,
            ExpectedServer::ClusterAgent(known) if is_cluster_agent(end_entity, root, known) => {}
            ExpectedServer::ClusterAgent(_) => return Err(CertificateError::ApplicationVerificationFailure.into()),
        }
        Ok(ServerCertVerified::assertion())
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
        let verifier = PinnedRoot::new(RootFingerprint::of(root.der()), ExpectedServer::ClusterAgent(Some(ours)));
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
    fn an_aggregator_is_believed_for_the_address_and_the_root_alone() {
        let (root, other) = (authority("spiffe://holdfast-x"), authority("spiffe://holdfast-x"));
        let verifier = PinnedRoot::new(RootFingerprint::of(root.der()), ExpectedServer::Address);
        let answer =
            |from: &CertifiedIssuer<'static, KeyPair>, shown: &CertifiedIssuer<'static, KeyPair>, name: &str| {
                let params = CertificateParams::new(vec!["aggregator.example".to_owned()]).unwrap();
                let leaf = params.signed_by(&KeyPair::generate().unwrap(), from).unwrap();
                let server = ServerName::try_from(name).unwrap();
                verifier.verify_server_cert(leaf.der(), &[shown.der().clone()], &server, &[], UnixTime::now()).map(drop)
            };
        assert_eq!(answer(&root, &root, "aggregator.example"), Ok(()));
        assert_eq!(answer(&root, &root, "another.example"), Err(CertificateError::NotValidForName.into()));
        assert_eq!(answer(&other, &root, "aggregator.example"), Err(CertificateError::UnknownIssuer.into()));
        assert_eq!(answer(&other, &other, "aggregator.example"), Err(CertificateError::UnknownIssuer.into()));
    }
}
