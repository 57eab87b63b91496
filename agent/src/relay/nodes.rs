//! The nodes that are connected, and what serving them needs.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, join_all};
use holdfast_agent_core::pod_index::DepartedPod;
use holdfast_agent_core::relay::node_coverage::NodeStatus;
use holdfast_model::{ClusterId, Resource};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::certificate::CertificateRequest;
use super::node_connection::NodeConnection;
use super::settings::ServiceAccount;
use crate::api::Api;
use crate::engine::{EngineHandle, NodeObservations};
use crate::node_views::{NodeViews, ViewAnswer, ViewRequest};
use crate::pod_directory::PodDirectory;

/// How long all nodes together may take to read what runs.
const READ: Duration = Duration::from_secs(10);

/// The nodes that are connected. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Nodes {
    pub(super) shared: Arc<Shared>,
}

/// How many nodes are at the relay, and how they are doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeCounts {
    /// Connected.
    pub connected: usize,
    /// Those whose kernel view is available.
    pub available: usize,
    /// Those whose sensors observe.
    pub sensing: usize,
}

/// What serving nodes needs.
pub(super) struct Shared {
    pub(super) api: Api,
    pub(super) account: ServiceAccount,
    pub(super) pods: PodDirectory,
    pub(super) cluster: ClusterId,
    pub(super) root: Vec<u8>,
    pub(super) requests: mpsc::Sender<CertificateRequest>,
    pub(super) engine: EngineHandle,
    pub(super) observations: Option<mpsc::Sender<NodeObservations>>,
    pub(super) reviews: Semaphore,
    pub(super) connections: Mutex<BTreeMap<String, Arc<NodeConnection>>>,
    pub(super) numbers: AtomicU64,
    /// Notified when a node's status may be another one.
    pub(super) changed: watch::Sender<()>,
    pub(super) counts: watch::Sender<NodeCounts>,
    pub(super) stop: CancellationToken,
}

impl Nodes {
    /// How many there are, as it changes.
    pub fn counts(&self) -> watch::Receiver<NodeCounts> {
        self.shared.counts.subscribe()
    }

    /// How every connected node is doing.
    pub(super) fn statuses(&self) -> BTreeMap<String, NodeStatus> {
        self.connections().values().map(|node| (node.name.clone(), node.status())).collect()
    }

    /// A node has one stream: the one before ends. A certificate older than its own is that of another machine, which had the
    /// node's name before.
    pub(super) fn register(&self, connection: &Arc<NodeConnection>) -> Result<(), Status> {
        let name = &connection.name;
        let mut connections = self.connections();
        if connections.get(name).is_some_and(|present| connection.is_older_than(present)) {
            tracing::warn!(node = name, "an older certificate of a connected node was refused");
            return Err(Status::unauthenticated("this node has a newer certificate: enrol again"));
        }
        let before = connections.insert(name.clone(), connection.clone());
        drop(connections);
        before.into_iter().for_each(|before| before.ended.cancel());
        self.shared.changed.send_replace(());
        Ok(())
    }

    pub(super) fn remove(&self, connection: &Arc<NodeConnection>) {
        connection.ended.cancel();
        let mut connections = self.connections();
        if connections.get(&connection.name).is_some_and(|present| present.number == connection.number) {
            connections.remove(&connection.name);
        }
        drop(connections);
        self.shared.changed.send_replace(());
    }

    fn connections(&self) -> MutexGuard<'_, BTreeMap<String, Arc<NodeConnection>>> {
        self.shared.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connection(&self, node: &str) -> Option<Arc<NodeConnection>> {
        self.connections().get(node).cloned()
    }
}

impl NodeViews for Nodes {
    fn read(&self, request: ViewRequest) -> BoxFuture<'_, BTreeMap<String, ViewAnswer>> {
        let ViewRequest { retest, nonce, pods } = request;
        let asked = pods.into_iter().map(move |(node, pods)| async move {
            let (answer, is_status_changed) = match self.connection(&node) {
                Some(connection) => connection.read(retest, nonce, pods, READ).await,
                None => (ViewAnswer::Missing("no agent of this node is connected".to_owned()), false),
            };
            if is_status_changed {
                self.shared.changed.send_replace(());
            }
            (node, answer)
        });
        join_all(asked).map(|answers| answers.into_iter().collect()).boxed()
    }

    fn available(&self) -> Vec<String> {
        self.connections().values().filter(|node| node.is_available()).map(|node| node.name.clone()).collect()
    }

    fn departed(&self, owner: &Resource) -> Vec<DepartedPod> {
        self.shared.pods.departed_of(owner)
    }
}
