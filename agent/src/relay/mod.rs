//! The relay: what the nodes of the cluster connect to. It enrols them, sends each the Pods that it runs, and asks them what runs.
//!
//! It alone listens, with the cluster agent's own certificate. The API server names the node of a token once (`token_review`)
//! and the node's certificate names it from then on; the aggregator signs it, through the one stream that the uplink holds.
//! It implements [`crate::node_views::NodeViews`] for the retests, and reports to the engine which nodes can be looked at.
//! `listener` is TLS, `service` the calls, `nodes` who is connected, `node_connection` and `node_stream` one of them.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use backon::{ConstantBuilder, Retryable};
use holdfast_proto::{limits, v1};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use v1::relay_server::RelayServer;

use crate::api::{self, Api};
use crate::credential::{AgentKey, Credential};
use crate::engine::{EngineHandle, NodeObservations};
use crate::pod_directory::PodDirectory;

mod certificate;
mod listener;
mod node_connection;
mod node_coverage;
mod node_stream;
mod nodes;
mod service;
mod settings;
mod token_review;
mod wire;

pub use certificate::{CertificateAnswer, CertificateRequest, REQUESTS};
pub use nodes::{NodeCounts, Nodes};
pub use settings::{RelaySettings, ServiceAccount};
pub use token_review::AUDIENCE;

use nodes::Shared;

/// Reviews of tokens under way at once.
const REVIEWS: usize = 16;

/// Everything that the relay works with.
pub struct RelayContext {
    /// The API server, which reviews tokens.
    pub api: Api,
    /// Which Pods run where.
    pub pods: PodDirectory,
    /// The agent's key.
    pub key: Arc<AgentKey>,
    /// The agent's certificate, as it is renewed.
    pub credential: watch::Receiver<Credential>,
    /// Receives requests for nodes' certificates.
    pub requests: mpsc::Sender<CertificateRequest>,
    /// Receives which nodes can be looked at.
    pub engine: EngineHandle,
    /// Receives what sensors observed. Without it nothing is acknowledged: the nodes keep it.
    pub observations: Option<mpsc::Sender<NodeObservations>>,
}

/// The relay, listening.
pub struct Relay {
    nodes: Nodes,
    listener: TcpListener,
    address: SocketAddr,
    key: Arc<AgentKey>,
    credential: watch::Receiver<Credential>,
}

impl Relay {
    /// Begins to listen. Nobody is served before [`Relay::serve`].
    pub async fn listen(settings: RelaySettings, context: RelayContext) -> Result<Self> {
        let RelayContext { api, pods, key, credential, requests, engine, observations } = context;
        let listener = bind(settings.listen).await;
        let listener = listener.with_context(|| format!("cannot listen for nodes at {}", settings.listen))?;
        let (cluster, root) = {
            let credential = credential.borrow();
            listener::config(&key, &credential).context("nodes cannot be served")?;
            (credential.cluster, credential.root.clone())
        };
        let shared = Shared {
            api,
            account: settings.account,
            pods,
            cluster,
            root,
            requests,
            engine,
            observations,
            reviews: Semaphore::new(REVIEWS),
            connections: Mutex::default(),
            numbers: AtomicU64::new(1),
            changed: watch::channel(()).0,
            counts: watch::channel(NodeCounts::default()).0,
            stop: CancellationToken::new(),
        };
        let address = listener.local_addr().context("the address of the relay is not known")?;
        Ok(Self { nodes: Nodes { shared: Arc::new(shared) }, listener, address, key, credential })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The connected nodes.
    pub fn nodes(&self) -> Nodes {
        self.nodes.clone()
    }

    /// Serves until it is dropped; then every node's stream ends.
    pub async fn serve(self) {
        let Self { nodes, listener, key, credential, .. } = self;
        let stop = nodes.shared.stop.clone();
        let _ends = stop.clone().drop_guard();
        let service = RelayServer::new(nodes.clone())
            .max_decoding_message_size(limits::MESSAGE_BYTES)
            .max_encoding_message_size(limits::MESSAGE_BYTES);
        let serving = Server::builder()
            .http2_keepalive_interval(Some(Duration::from_secs(20)))
            .http2_keepalive_timeout(Some(Duration::from_secs(10)))
            .add_service(service)
            .serve_with_incoming_shutdown(listener::incoming(listener, key, credential), stop.cancelled_owned());
        tokio::select! {
            served = serving => if let Err(error) = served {
                tracing::error!(error = %api::chain(&error), "serving nodes has ended");
            },
            () = node_coverage::run(&nodes) => {}
        }
    }
}

/// Binds, with some patience: a replica that leads again at once may not have let go of the port yet.
async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let waits = ConstantBuilder::new().with_delay(Duration::from_millis(100)).with_max_times(20);
    (|| TcpListener::bind(address)).retry(waits).await
}
