//! The relay: what the nodes of the cluster speak to. It lets them in, tells each which Pods it runs, and asks them to look.
//!
//! It alone listens, with the cluster agent's own certificate. Which node somebody is, the API server says once (`review`)
//! and the node's certificate from then on; it is signed by the aggregator, through the one stream that the uplink holds.
//! It implements [`NodeViews`] for the retests, and tells the engine which nodes can be looked at (`cover`).
//! `door` is TLS, `service` the calls, `line` one node's stream, `tell`, `sensing` and `statement` the pure parts.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use backon::{ConstantBuilder, Retryable};
use futures::future::{BoxFuture, FutureExt, join_all};
use holdfast_model::{ClusterId, Resource, UnixMillis};
use holdfast_proof::NodeName;
use holdfast_proto::{limits, v1};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use v1::relay_server::RelayServer;

use crate::api::Api;
use crate::credential::{AgentKey, Credential};
use crate::engine::Handle;
use crate::node_views::{Look, NodeViews, Seen};
use crate::places::{Departed, Places};

mod cover;
mod door;
mod line;
mod review;
mod sensing;
mod service;
mod tell;

pub use review::AUDIENCE;

use line::Line;

/// Nodes that may wait for a certificate at once.
pub const REQUESTS: usize = 64;
/// Reviews of tokens under way at once.
const REVIEWS: usize = 16;
/// How long all nodes together may take to look.
const LOOK: Duration = Duration::from_secs(10);

/// How nodes are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The service account of the node part: tokens of no other one are believed.
    pub account: ServiceAccount,
}

/// A service account, written `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccount {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ServiceAccount {
    /// As authentication names it.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }
}

impl FromStr for ServiceAccount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(format!("{text:?} is no service account: expected NAMESPACE/NAME")),
        }
    }
}

impl fmt::Display for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Everything that the relay works with.
pub struct World {
    /// The API server, which reviews tokens.
    pub api: Api,
    /// Where Pods are.
    pub places: Places,
    /// The agent's key.
    pub key: Arc<AgentKey>,
    /// The agent's certificate, as it is renewed.
    pub credential: watch::Receiver<Credential>,
    /// Where certificates for nodes are asked for.
    pub nodes: mpsc::Sender<NodeRequest>,
    /// Who is told which nodes can be looked at.
    pub engine: Handle,
    /// Who takes what sensors saw. Without one nothing is acknowledged: the nodes keep it.
    pub observations: Option<mpsc::Sender<NodeObservations>>,
}

/// A node that needs a certificate. The API server has said which node it is.
#[derive(Debug)]
pub struct NodeRequest {
    /// The node.
    pub node: NodeName,
    /// PKCS #10, DER.
    pub csr: Vec<u8>,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Certified>,
}

/// The aggregator's answer: the certificate and its last moment, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certified(pub Result<(Vec<u8>, UnixMillis), String>);

impl Certified {
    /// From the wire.
    pub fn of(answer: v1::NodeCertificate) -> Self {
        match (answer.error.is_empty(), answer.certificate.is_empty()) {
            (true, false) => Self(Ok((answer.certificate, answer.not_after))),
            (true, true) => Self(Err("the aggregator sent no certificate".to_owned())),
            (false, _) => Self(Err(holdfast_agent_core::text::line(&answer.error))),
        }
    }
}

/// What the sensors of one node saw. After a lost acknowledgement, or from another leader's time, the same comes again.
#[derive(Debug)]
pub struct NodeObservations {
    /// The node, as its certificate names it.
    pub node: String,
    /// The run that the sequence counts in: a boot of the node, and a start of its agent.
    pub run: String,
    /// Number of the batch within the run.
    pub sequence: u64,
    /// One runtime observation each, canonical bytes of the model's type. Hostile until they are parsed.
    pub records: Vec<Vec<u8>>,
    /// Told when the aggregator has committed what became of them: only then the node forgets them.
    pub kept: oneshot::Sender<()>,
}

/// The relay, listening.
pub struct Relay {
    nodes: Nodes,
    listener: TcpListener,
    address: SocketAddr,
    key: Arc<AgentKey>,
    credential: watch::Receiver<Credential>,
}

/// The nodes that are connected. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Nodes {
    shared: Arc<Shared>,
}

/// How many nodes are at the relay, and how they are doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeCounts {
    /// Connected.
    pub connected: usize,
    /// Those whose kernel can be looked at.
    pub open: usize,
    /// Those whose sensors see.
    pub sensing: usize,
}

struct Shared {
    api: Api,
    account: ServiceAccount,
    places: Places,
    cluster: ClusterId,
    root: Vec<u8>,
    requests: mpsc::Sender<NodeRequest>,
    engine: Handle,
    observations: Option<mpsc::Sender<NodeObservations>>,
    reviews: Semaphore,
    lines: Mutex<BTreeMap<String, Arc<Line>>>,
    numbers: AtomicU64,
    changed: watch::Sender<()>,
    counts: watch::Sender<NodeCounts>,
    stop: CancellationToken,
}

impl Relay {
    /// Begins to listen. Nobody is served before [`Relay::serve`].
    pub async fn listen(settings: Settings, world: World) -> Result<Self> {
        let World { api, places, key, credential, nodes, engine, observations } = world;
        let listener = bind(settings.listen).await;
        let listener = listener.with_context(|| format!("cannot listen for nodes at {}", settings.listen))?;
        let (cluster, root) = {
            let credential = credential.borrow();
            door::config(&key, &credential).context("nodes cannot be served")?;
            (credential.cluster, credential.root.clone())
        };
        let shared = Shared {
            api,
            account: settings.account,
            places,
            cluster,
            root,
            requests: nodes,
            engine,
            observations,
            reviews: Semaphore::new(REVIEWS),
            lines: Mutex::default(),
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

    /// The nodes' eyes, for the retests.
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
            .serve_with_incoming_shutdown(door::incoming(listener, key, credential), stop.cancelled_owned());
        tokio::select! {
            served = serving => if let Err(error) = served {
                tracing::error!(error = %crate::api::chain(&error), "serving nodes has ended");
            },
            () = cover::run(&nodes) => {}
        }
    }
}

/// Binds, with some patience: a replica that leads again at once may not have let go of the port yet.
async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let waits = ConstantBuilder::new().with_delay(Duration::from_millis(100)).with_max_times(20);
    (|| TcpListener::bind(address)).retry(waits).await
}

impl NodeViews for Nodes {
    fn look(&self, look: Look) -> BoxFuture<'_, BTreeMap<String, Seen>> {
        let Look { retest, nonce, pods } = look;
        let asked = pods.into_iter().map(move |(node, pods)| async move {
            let line = self.line(&node);
            let (seen, news) = match line {
                Some(line) => line.look(retest, nonce, pods, LOOK).await,
                None => (Seen::Silent("no agent of this node is connected".to_owned()), false),
            };
            if news {
                self.shared.changed.send_replace(());
            }
            (node, seen)
        });
        join_all(asked).map(|answers| answers.into_iter().collect()).boxed()
    }

    fn open(&self) -> Vec<String> {
        locked(&self.shared.lines).values().filter(|line| line.is_open()).map(|line| line.node.clone()).collect()
    }

    fn departed(&self, owner: &Resource) -> Vec<Departed> {
        self.shared.places.departed_of(owner)
    }
}

impl Nodes {
    /// How many there are, as it changes.
    pub fn counts(&self) -> watch::Receiver<NodeCounts> {
        self.shared.counts.subscribe()
    }

    fn line(&self, node: &str) -> Option<Arc<Line>> {
        locked(&self.shared.lines).get(node).cloned()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
