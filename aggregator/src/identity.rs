//! Who speaks on a connection: the cluster that the client certificate names, and nothing that a message says.
//!
//! The TLS stack has checked the chain; here the name is read, exactly. Whether the credential still counts is decided
//! by `enrol`, at the start of every stream and again the moment it is revoked.

use holdfast_model::ClusterId;
use holdfast_proof::{CertificateFacts, Party};
use tonic::{Request, Status};

/// The agent behind a request, as its certificate names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClusterIdentity {
    /// The cluster whose agent this is. Every message of the stream is about this cluster.
    pub cluster: ClusterId,
    /// Serial number of the certificate, lower-case hexadecimal: names the credential.
    pub serial: String,
    /// SHA-256 of the certificate's public key.
    pub key_hash: [u8; 32],
}

/// The identity behind a request that came over TLS. Refuses a connection without a client certificate and a certificate
/// of another trust domain or for another purpose.
pub fn of<T>(request: &Request<T>, trust_domain: &str) -> Result<ClusterIdentity, Status> {
    let certificates = request.peer_certs();
    let Some(der) = certificates.as_ref().and_then(|chain| chain.first()) else {
        return Err(Status::unauthenticated("this call needs the agent's client certificate: enrol first"));
    };
    read(der, trust_domain)
}

/// The certificate that the agent showed, DER: kept beside what the agent signs.
pub fn certificate<T>(request: &Request<T>) -> Option<Vec<u8>> {
    request.peer_certs()?.first().map(|der| der.to_vec())
}

fn read(der: &[u8], trust_domain: &str) -> Result<ClusterIdentity, Status> {
    let facts = CertificateFacts::parse(der)
        .map_err(|problem| Status::unauthenticated(format!("the client certificate is refused: {problem}")))?;
    match facts.name.party {
        Party::Cluster(cluster) if facts.name.trust_domain == trust_domain => {
            Ok(ClusterIdentity { cluster, serial: facts.serial, key_hash: facts.key_hash })
        }
        _ => Err(Status::permission_denied("the client certificate names no cluster of this installation")),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use tonic::Code;

    use super::*;
    use crate::authority::{Authority, AuthoritySettings};
    use crate::signing_request::SigningRequest;

    #[test]
    fn only_an_agent_of_this_installation_is_known() {
        let data = tempfile::tempdir().unwrap();
        let authority = Authority::open(data.path(), &AuthoritySettings::default(), 1_790_000_000_000).unwrap();
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap();
        let request = SigningRequest::parse(request.der()).unwrap();
        let cluster = ClusterId::from_bytes([3; 16]);
        let issued = authority.issue(cluster, &request, 1_790_000_000_000).unwrap();

        let known = read(&issued.der, authority.trust_domain()).unwrap();
        assert_eq!((known.cluster, known.serial), (cluster, issued.facts.serial));
        assert_eq!(read(&issued.der, "holdfast-other").unwrap_err().code(), Code::PermissionDenied);
        let signer = read(authority.signing_certificate(), authority.trust_domain());
        assert_eq!(signer.unwrap_err().code(), Code::PermissionDenied);
        let node = holdfast_proof::NodeName::parse("worker-1").unwrap();
        let node = authority.issue_node(cluster, node, &request, 1_790_000_000_000).unwrap();
        assert_eq!(
            node.facts.name.to_string(),
            format!("spiffe://{}/cluster/{cluster}/node/worker-1", authority.trust_domain())
        );
        assert_eq!(read(&node.der, authority.trust_domain()).unwrap_err().code(), Code::PermissionDenied);
        assert_eq!(read(b"nothing", authority.trust_domain()).unwrap_err().code(), Code::Unauthenticated);
        assert_eq!(of(&Request::new(()), "holdfast-other").unwrap_err().code(), Code::Unauthenticated);
    }
}
