//! How an agent gets its certificate and keeps it fresh.
//!
//! A join token brings the SHA-256 of the aggregator's root. The server must show that very root in its chain, and its
//! certificate must lead to it: only then is the secret sent. From the answer on, exactly this root is trusted.

use std::sync::Arc;
use std::time::Duration;

use holdfast_model::UnixMillis;
use holdfast_model::join_token::{JoinToken, RootFingerprint};
use holdfast_proto::{limits, v1};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use v1::enrolment_client::EnrolmentClient;

use crate::clock;
use crate::credential::{AgentKey, Credential, CredentialError, Issued, certificate_pem};
use crate::tls::{ExpectedServer, PinnedRoot};

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The aggregator's address.
    #[error("{url:?} is no address of an aggregator: use https://host:port")]
    Address {
        /// As it was given.
        url: String,
        /// Why it is none.
        source: tonic::transport::Error,
    },
    /// No connection.
    #[error("cannot connect to the aggregator at {url}")]
    Connect {
        /// Its address.
        url: String,
        /// Why not.
        source: tonic::transport::Error,
    },
    /// The aggregator said no.
    #[error("the aggregator refuses: {0}")]
    Refused(String),
    /// The aggregator answered with something that is no certificate of it.
    #[error("the aggregator's answer does not fit the join token: {0}")]
    Answer(&'static str),
    /// The key or the state folder.
    #[error(transparent)]
    Credential(#[from] CredentialError),
}

/// Trades a join token for a certificate. The same token with the same key may be traded again.
pub async fn enrol(url: &str, token: &JoinToken, key: &AgentKey, fingerprint: &str) -> Result<Credential, EnrolError> {
    let channel = connect_pinned(url, token.root).await?;
    let request = v1::EnrolRequest { token: token.reveal(), csr: key.csr()?, fingerprint: fingerprint.to_owned() };
    let answer = EnrolmentClient::new(channel).enrol(request).await.map_err(refused)?.into_inner();
    if RootFingerprint::of(&answer.root) != token.root {
        return Err(EnrolError::Answer("another root than the token's"));
    }
    Credential::enrolled(answer, clock::now()).ok_or(EnrolError::Answer("no cluster id"))
}

/// Asks for a fresh certificate over a connection that shows the old one.
pub async fn renew(channel: Channel, key: &AgentKey, now: UnixMillis) -> Result<Issued, EnrolError> {
    let request = v1::RenewRequest { csr: key.csr()? };
    let answer = EnrolmentClient::new(channel).renew(request).await.map_err(refused)?.into_inner();
    Ok(Issued { certificate: answer.certificate, received_at: now, not_after: answer.not_after })
}

/// Connects with a certificate, trusting exactly the credential's root.
pub async fn connect(url: &str, key: &AgentKey, credential: &Credential, with: &Issued) -> Result<Channel, EnrolError> {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(certificate_pem(&credential.root)))
        .identity(Identity::from_pem(certificate_pem(&with.certificate), key.pem()));
    let endpoint = endpoint(url)?.tls_config(tls);
    open(url, endpoint).await
}

async fn connect_pinned(url: &str, root: RootFingerprint) -> Result<Channel, EnrolError> {
    let verifier = Arc::new(PinnedRoot::new(root, ExpectedServer::Address));
    let endpoint = endpoint(url)?.tls_config_with_verifier(ClientTlsConfig::new(), verifier);
    open(url, endpoint).await
}

fn endpoint(url: &str) -> Result<Endpoint, EnrolError> {
    let endpoint = Endpoint::from_shared(url.to_owned());
    let endpoint = endpoint.map_err(|source| EnrolError::Address { url: url.to_owned(), source })?;
    Ok(endpoint
        .connect_timeout(Duration::from_secs(5))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true))
}

async fn open(url: &str, endpoint: Result<Endpoint, tonic::transport::Error>) -> Result<Channel, EnrolError> {
    let failed = |source| EnrolError::Connect { url: url.to_owned(), source };
    endpoint.map_err(failed)?.connect().await.map_err(failed)
}

fn refused(status: tonic::Status) -> EnrolError {
    EnrolError::Refused(holdfast_agent_core::text::line(&format!("{:?}: {}", status.code(), status.message())))
}

/// The uplink's client, within the wire's limits.
pub(crate) fn uplink_client(channel: Channel) -> v1::uplink_client::UplinkClient<Channel> {
    v1::uplink_client::UplinkClient::new(channel)
        .max_decoding_message_size(limits::MESSAGE_BYTES)
        .max_encoding_message_size(limits::MESSAGE_BYTES)
}
