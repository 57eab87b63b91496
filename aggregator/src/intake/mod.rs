//! The listener for agents: the `Uplink` service. A stream is admitted by its certificate and refused by what it does.
//!
//! It checks and converts what comes, hands it to the writer, and acknowledges after the commit. It decides nothing about
//! findings. The cluster of every message is the certificate's.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use futures::future::BoxFuture;
use holdfast_model::ClusterId;
use holdfast_proto::limits::MESSAGE_BYTES;
use holdfast_proto::v1;
use holdfast_proto::v1::uplink_server::{Uplink, UplinkServer};
use holdfast_store::Store;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::environment::SharedEnvironment;
use crate::sessions::Sessions;
use crate::writer::{WriteError, Writer};

mod check;
mod session;
#[cfg(test)]
mod tests;

/// Messages to an agent that may wait before whoever sends them has to.
const OUTBOUND: usize = 64;

/// The agent behind a stream, as its certificate names it.
pub struct Peer {
    /// The cluster whose agent this is.
    pub cluster: ClusterId,
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
    /// Becomes ready, with the reason, when the agent must be cut off.
    pub cut_off: BoxFuture<'static, Status>,
}

/// Identifies a peer and decides whether it is admitted: enrolment does.
pub trait Identify: Send + Sync + 'static {
    /// The identity behind a stream that is being opened, from its client certificate; an error if there is none that
    /// counts.
    fn identify<'a>(&'a self, request: &'a Request<Streaming<v1::FromAgent>>) -> BoxFuture<'a, Result<Peer, Status>>;
}

/// Issues certificates for the nodes of a cluster: enrolment does.
pub trait Certify: Send + Sync + 'static {
    /// A certificate for the node that is named, or why there is none. The cluster is the asking stream's.
    fn certify(&self, cluster: ClusterId, asked: v1::NodeCsr) -> BoxFuture<'static, v1::NodeCertificate>;
}

/// What every stream shares. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    /// For reads.
    pub store: Store,
    /// For changes.
    pub writer: Writer,
    /// Who is connected.
    pub sessions: Sessions,
    /// Clock and randomness.
    pub environment: SharedEnvironment,
    /// Admits peers.
    pub identify: Arc<dyn Identify>,
    /// Issues certificates for nodes.
    pub certify: Arc<dyn Certify>,
    /// The installation's root, DER: what the certificates of nodes lead to.
    pub root: Arc<[u8]>,
}

impl Intake {
    /// The service, with the limits of the protocol.
    pub fn service(self) -> UplinkServer<Self> {
        UplinkServer::new(self).max_decoding_message_size(MESSAGE_BYTES).max_encoding_message_size(MESSAGE_BYTES)
    }
}

#[tonic::async_trait]
impl Uplink for Intake {
    type ConnectStream = Pin<Box<dyn Stream<Item = Result<v1::ToAgent, Status>> + Send>>;

    async fn connect(
        &self,
        request: Request<Streaming<v1::FromAgent>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let peer = self.identify.identify(&request).await?;
        let (outbound, messages) = mpsc::channel(OUTBOUND);
        let intake = self.clone();
        tokio::spawn(async move {
            let cluster = peer.cluster;
            if let Err(status) = session::run(&intake, peer, request.into_inner(), &outbound).await {
                tracing::info!(cluster.id = %cluster, code = ?status.code(), reason = status.message(), "stream ended");
                // The agent may be gone already, which is no news.
                let _ = outbound.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }
}

/// The one place where a job's failure becomes a gRPC code.
fn status(error: &WriteError) -> Status {
    let text = error.to_string();
    match error {
        WriteError::Store(_) | WriteError::Stopped => Status::unavailable(text),
        WriteError::NoCluster => Status::unauthenticated(text),
        WriteError::StaleEpoch { .. } | WriteError::Hole { .. } => Status::aborted(text),
        WriteError::FingerprintHeld { .. } | WriteError::FingerprintChanged => Status::permission_denied(text),
        WriteError::Refused(_) => Status::failed_precondition(text),
    }
}
