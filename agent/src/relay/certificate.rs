//! A node's certificate, asked of the aggregator through the one stream that the uplink holds.

use holdfast_agent_core::text;
use holdfast_model::UnixMillis;
use holdfast_proof::NodeName;
use holdfast_proto::v1;
use tokio::sync::oneshot;

/// Requests that may wait at once.
pub const REQUESTS: usize = 64;

/// A node that needs a certificate. The API server has named the node.
#[derive(Debug)]
pub struct CertificateRequest {
    /// The node.
    pub node: NodeName,
    /// PKCS #10, DER.
    pub csr: Vec<u8>,
    /// Receives the answer.
    pub answer: oneshot::Sender<CertificateAnswer>,
}

/// The aggregator's answer: the certificate and its last moment, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateAnswer(pub Result<(Vec<u8>, UnixMillis), String>);

impl From<v1::NodeCertificate> for CertificateAnswer {
    fn from(answer: v1::NodeCertificate) -> Self {
        match (answer.error.is_empty(), answer.certificate.is_empty()) {
            (true, false) => Self(Ok((answer.certificate, answer.not_after))),
            (true, true) => Self(Err("the aggregator sent no certificate".to_owned())),
            (false, _) => Self(Err(text::line(&answer.error))),
        }
    }
}
