//! How a node gets its certificate and its connections: a token first, its own certificate from then on.
//!
//! The relay must show a chain that holds the root with the fingerprint that the node was given; only then the token leaves
//! the node. The certificate that comes back must be of that root's installation and say of the key that it is this one.

use std::sync::Arc;
use std::time::Duration;

use holdfast_model::{ClusterId, RootFingerprint, UnixMillis};
use holdfast_proof::{CertificateFacts, CertificateProblem, Party};
use holdfast_proto::{limits, v1};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint, Identity};
use v1::relay_client::RelayClient;

use super::{NodeConfig, host};
use crate::clock;
use crate::credential::{AgentKey, CredentialError, certificate_pem};
use crate::tls::{ExpectedServer, PinnedRoot};

/// How long the relay may take to connect, and to answer.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(30);

/// Why there is no connection, or no certificate.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The address.
    #[error("{url:?} is no address of a relay: use https://host:port")]
    Address {
        /// As it was given.
        url: String,
        /// Why it is none.
        source: tonic::transport::Error,
    },
    /// No connection.
    #[error("cannot connect to the relay at {url}")]
    Connect {
        /// Its address.
        url: String,
        /// Why not.
        source: tonic::transport::Error,
    },
    /// The token's file.
    #[error("the token for the relay cannot be read")]
    Token(#[source] std::io::Error),
    /// The relay said no.
    #[error("the relay refuses: {0}")]
    Refused(String),
    /// The relay answered with something that is no certificate of this installation for a node.
    #[error("the relay's answer is no certificate for this node: {0}")]
    Answer(&'static str),
    /// The relay answered with a certificate that is unreadable or has another kind of name.
    #[error("the relay's answer is no certificate for this node")]
    Certificate(#[source] CertificateProblem),
    /// The key.
    #[error(transparent)]
    Key(#[from] CredentialError),
}

/// Who this node is.
#[derive(Debug, Clone)]
pub(super) struct Member {
    /// Its cluster.
    pub(super) cluster: ClusterId,
    /// Its name, as the API server named it to the relay.
    pub(super) node: String,
    /// Its certificate, DER.
    pub(super) certificate: Vec<u8>,
    received_at: UnixMillis,
    not_after: UnixMillis,
}

/// The node's key, and what it got for it.
pub(super) struct Link {
    config: NodeConfig,
    pub(super) key: AgentKey,
    member: Option<Member>,
}

impl Link {
    pub(super) fn new(config: NodeConfig, key: AgentKey) -> Self {
        Self { config, key, member: None }
    }

    /// A connection that shows the node's certificate; without a good one the node enrols first.
    pub(super) async fn connect(&mut self) -> Result<(RelayClient<Channel>, Member), LinkError> {
        let member = match self.member.take().filter(|member| member.not_after > clock::now()) {
            Some(member) => member,
            None => self.enrol().await?,
        };
        self.member = Some(member.clone());
        let identity = Identity::from_pem(certificate_pem(&member.certificate), self.key.pem());
        let client = self.client(ClientTlsConfig::new().identity(identity), Some(member.cluster)).await?;
        Ok((client, member))
    }

    /// The relay does not know the certificate any more: the next connection begins with the token.
    pub(super) fn forget(&mut self) {
        self.member = None;
    }

    /// A fresh certificate for the same node, for its Pod's present token: a key that somebody took from a node that is gone
    /// renews nothing.
    pub(super) async fn renew(&mut self, of: &Member) -> Result<(), LinkError> {
        let renewed = self.enrol().await?;
        if (renewed.cluster, &renewed.node) != (of.cluster, &of.node) {
            return Err(LinkError::Answer("it names another node than before"));
        }
        self.member = Some(renewed);
        Ok(())
    }

    async fn enrol(&self) -> Result<Member, LinkError> {
        let token = tokio::fs::read_to_string(&self.config.token_file).await.map_err(LinkError::Token)?;
        let mut client = self.client(ClientTlsConfig::new(), None).await?;
        let request = v1::NodeEnrolRequest {
            token: token.trim().to_owned(),
            csr: self.key.csr()?,
            node: self.config.name.clone(),
            boot: host::boot(),
        };
        let member = self.member_of(client.enrol(request).await.map_err(refused)?.into_inner())?;
        tracing::info!(node = member.node, cluster.id = %member.cluster, "enrolled at the relay");
        Ok(member)
    }

    fn member_of(&self, answer: v1::Certificate) -> Result<Member, LinkError> {
        if RootFingerprint::of(&answer.root) != self.config.root {
            return Err(LinkError::Answer("another root than the one that is trusted"));
        }
        let facts = |der: &[u8]| CertificateFacts::parse(der).map_err(LinkError::Certificate);
        let (root, own) = (facts(&answer.root)?, facts(&answer.certificate)?);
        let (not_after, ours) = (own.not_after, own.name.trust_domain == root.name.trust_domain);
        match own.name.party {
            Party::Node(cluster, node) if ours => {
                let node = node.as_str().to_owned();
                Ok(Member { cluster, node, certificate: answer.certificate, received_at: clock::now(), not_after })
            }
            _ => Err(LinkError::Answer("it names no node of this installation")),
        }
    }

    async fn client(
        &self,
        tls: ClientTlsConfig,
        cluster: Option<ClusterId>,
    ) -> Result<RelayClient<Channel>, LinkError> {
        let url = &self.config.relay;
        let verifier = PinnedRoot::new(self.config.root, ExpectedServer::ClusterAgent(cluster));
        let failed = |source| LinkError::Connect { url: url.clone(), source };
        let endpoint = Endpoint::from_shared(url.clone());
        let endpoint = endpoint.map_err(|source| LinkError::Address { url: url.clone(), source })?;
        let endpoint = endpoint.tls_config_with_verifier(tls, Arc::new(verifier)).map_err(failed)?;
        let channel = endpoint
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true);
        let channel = tokio::time::timeout(ANSWER, channel.connect()).await;
        let channel = channel.map_err(|_| LinkError::Refused("no connection in time".to_owned()))?.map_err(failed)?;
        Ok(RelayClient::new(channel)
            .max_decoding_message_size(limits::MESSAGE_BYTES)
            .max_encoding_message_size(limits::MESSAGE_BYTES))
    }
}

impl Member {
    /// In how long to renew: with a third of the life left.
    pub(super) fn renew_in(&self) -> Duration {
        let left = self.not_after.saturating_sub(clock::now()).max(0);
        let life = self.not_after.saturating_sub(self.received_at).max(left);
        Duration::from_millis(u64::try_from(left - life / 3).unwrap_or(0)).max(Duration::from_secs(1))
    }
}

fn refused(status: tonic::Status) -> LinkError {
    LinkError::Refused(holdfast_agent_core::text::line(&format!("{:?}: {}", status.code(), status.message())))
}
