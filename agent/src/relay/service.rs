//! The calls of nodes: enrol with a token, renew with a certificate, and the one stream.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::Stream;
use holdfast_proof::{CertificateFacts, NodeName, Party};
use holdfast_proto::{PROTOCOL, v1};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use v1::from_node::Message as From;

use super::certificate::{CertificateAnswer, CertificateRequest};
use super::node_connection::{NodeCertificate, NodeConnection, Outbound};
use super::node_stream;
use super::nodes::Nodes;
use super::token_review::{self, TokenRefused};
use crate::{api, clock};
use holdfast_agent_core::text::line as one_line;

/// How long the aggregator may take to make a certificate.
const CERTIFY: Duration = Duration::from_secs(15);
/// How long a node may take to send its Hello.
const HELLO: Duration = Duration::from_secs(10);
/// Messages to a node that may wait.
const OUTBOUND: usize = 64;
/// The largest request for a certificate.
const CSR_BYTES: usize = 16 * 1024;
/// The longest boot id: a uuid has 36 characters.
const BOOT_BYTES: usize = 64;

/// The node behind a connection, as its certificate names it.
struct Peer {
    node: NodeName,
    certificate: NodeCertificate,
}

#[tonic::async_trait]
impl v1::relay_server::Relay for Nodes {
    type ConnectStream = Pin<Box<dyn Stream<Item = Result<v1::ToNode, Status>> + Send>>;

    async fn enrol(&self, request: Request<v1::NodeEnrolRequest>) -> Result<Response<v1::Certificate>, Status> {
        let asked = request.into_inner();
        let Ok(permit) = self.shared.reviews.try_acquire() else {
            return Err(Status::resource_exhausted("too many nodes enrol at once: try again"));
        };
        let shared = &self.shared;
        let node = token_review::node(&shared.api, &shared.account, &shared.pods, &asked.token).await;
        let node = node.map_err(|refused| {
            let reason = api::chain(&refused);
            tracing::warn!(called = one_line(&asked.node), reason, "a node was refused");
            match refused {
                TokenRefused::Unreviewed(_) | TokenRefused::UnknownPod => Status::unavailable(reason),
                _ => Status::unauthenticated(reason),
            }
        })?;
        drop(permit);
        let certificate = self.certify(node.clone(), asked.csr).await?;
        tracing::info!(%node, boot = one_line(&asked.boot), "a node has enrolled");
        Ok(Response::new(certificate))
    }

    async fn connect(
        &self,
        request: Request<Streaming<v1::FromNode>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let peer = self.peer(&request)?;
        if self.shared.stop.is_cancelled() {
            return Err(Status::unavailable("this relay is ending"));
        }
        let (outbound, messages) = mpsc::channel(OUTBOUND);
        let nodes = self.clone();
        tokio::spawn(async move {
            let node = peer.node.clone();
            if let Err(status) = nodes.converse(peer, request.into_inner(), &outbound).await {
                tracing::info!(%node, reason = status.message(), "a node's stream has ended");
                // The node may be gone already.
                let _gone = outbound.try_send(Err(status));
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }
}

impl Nodes {
    fn peer<T>(&self, request: &Request<T>) -> Result<Peer, Status> {
        let shown = request.peer_certs();
        let Some(certificate) = shown.as_ref().and_then(|chain| chain.first()) else {
            return Err(Status::unauthenticated("this call needs a node's certificate: enrol first"));
        };
        let facts = CertificateFacts::parse(certificate)
            .map_err(|problem| Status::unauthenticated(format!("the node's certificate is refused: {problem}")))?;
        match facts.name.party {
            Party::Node(cluster, node) if cluster == self.shared.cluster => {
                let certificate = NodeCertificate { der: certificate.to_vec(), not_after: facts.not_after };
                Ok(Peer { node, certificate })
            }
            _ => Err(Status::permission_denied("the certificate names no node of this cluster")),
        }
    }

    /// Asks the aggregator, through the uplink.
    async fn certify(&self, node: NodeName, csr: Vec<u8>) -> Result<v1::Certificate, Status> {
        if csr.len() > CSR_BYTES {
            return Err(Status::invalid_argument("the request for a certificate is too large"));
        }
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.shared.requests.send(CertificateRequest { node, csr, answer }).await.ok()?;
            answered.await.ok()
        };
        let unavailable = || Status::unavailable("the aggregator cannot be asked for a certificate now: try again");
        let CertificateAnswer(certified) = timeout(CERTIFY, asked).await.ok().flatten().ok_or_else(unavailable)?;
        let (certificate, not_after) = certified.map_err(Status::failed_precondition)?;
        let root = self.shared.root.clone();
        let cluster_id = self.shared.cluster.as_bytes().to_vec();
        Ok(v1::Certificate { certificate, root, cluster_id, not_after })
    }

    /// One stream, from Hello to its end.
    async fn converse(
        &self,
        peer: Peer,
        mut inbound: Streaming<v1::FromNode>,
        outbound: &Outbound,
    ) -> Result<(), Status> {
        let first = timeout(HELLO, inbound.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no Hello came"))??;
        let Some(From::Hello(hello)) = first.and_then(|first| first.message) else {
            return Err(Status::failed_precondition("the first message must be Hello"));
        };
        if hello.protocol != PROTOCOL {
            let text = format!("this relay speaks protocol {PROTOCOL}, the node {}", hello.protocol);
            return Err(Status::failed_precondition(text));
        }
        if hello.boot.is_empty() || hello.boot.len() > BOOT_BYTES {
            return Err(Status::invalid_argument("hello.boot: no boot id"));
        }
        let number = self.shared.numbers.fetch_add(1, Ordering::Relaxed);
        let name = peer.node.as_str();
        let cluster = self.shared.cluster;
        let node = Arc::new(NodeConnection::new(number, cluster, name, &hello, peer.certificate, outbound.clone()));
        let welcome = v1::NodeWelcome {
            node: node.name.clone(),
            cluster_id: self.shared.cluster.as_bytes().to_vec(),
            clock: clock::now(),
        };
        node.send(v1::to_node::Message::Welcome(welcome)).await?;
        self.register(&node)?;
        tracing::info!(node = node.name, version = one_line(&hello.agent_version), "a node is connected");
        let ended = node_stream::serve(self, &node, inbound).await;
        self.remove(&node);
        ended
    }
}
