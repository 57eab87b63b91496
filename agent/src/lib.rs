//! The agent of one cluster: it finds what is wrong, reports only what has changed, and reads again when a retest is ordered.
//!
//! The way of the data: [`collect`] watches the API server and projects objects to facts; the [`engine`] owns the core
//! (`holdfast-agent-core`), which judges what was touched and keeps what was reported; the [`uplink`] pulls what is new and sends
//! it. Orders come back down the same stream and are answered by [`retest`] from live reads, never from what was watched.
//! It changes nothing in the cluster, and reports what it cannot observe.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use holdfast_agent_core::engine::Progress;
use holdfast_model::container_observation::ObservationWindows;
use holdfast_model::join_token::JoinToken;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub mod api;
pub mod check;
mod clock;
pub mod cluster;
pub mod collect;
pub mod credential;
mod duties;
pub mod engine;
pub mod enrol;
pub mod health;
pub mod lease;
pub mod metrics;
pub mod node;
pub mod node_views;
pub mod pod_directory;
mod random;
pub mod relay;
pub mod retest;
pub mod rights;
pub mod runtime_scan;
mod tls;
pub mod uplink;
pub mod vault;

use api::Api;
use credential::StateDir;
use health::Readiness;
use lease::{Lease, Waiting};
use uplink::Link;
use vault::{SecretVault, Vault};

/// How the agent reaches its cluster.
#[derive(Clone)]
pub enum KubeSource {
    /// A kubeconfig file and a context of it; the usual file, and its current context, where none is named.
    Kubeconfig {
        /// The file.
        path: Option<PathBuf>,
        /// The context.
        context: Option<String>,
    },
    /// The service account of the Pod that it runs in.
    InCluster,
    /// A client that is already there.
    Client(kube::Client),
}

/// Configuration of an agent.
#[derive(Clone)]
pub struct AgentConfig {
    /// How to reach the cluster.
    pub kube: KubeSource,
    /// The aggregator, `https://host:port`.
    pub aggregator: String,
    /// The folder of the key and the certificate, where no replica shares them.
    pub state_dir: PathBuf,
    /// What the agent shares with its replicas, in a cluster; none where it is alone.
    pub shared: Option<Shared>,
    /// How it serves its nodes; none where it does not.
    pub relay: Option<relay::RelaySettings>,
    /// Needed once, to enrol; not looked at while there is a certificate that is good.
    pub join_token: Option<JoinToken>,
    /// How the agent is called in its own logs.
    pub name: String,
    /// How long collectors wait.
    pub pace: collect::Pace,
    /// How much of the API server retests may take.
    pub retests: retest::Limits,
    /// The pause between two looks at everything that runs.
    pub runtime_scan: Duration,
    /// How long containers must have been watched before what they did not do counts.
    pub windows: ObservationWindows,
    /// NodeViews on nodes that are already there; without them, the relay's nodes are asked.
    pub views: Option<Arc<dyn node_views::NodeViews>>,
}

/// What replicas share: who leads, and as whom all of them speak.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Their namespace.
    pub namespace: String,
    /// The Lease.
    pub lease: String,
    /// The Secret of the key and the certificate.
    pub secret: String,
    /// How long leading and waiting take.
    pub timing: lease::Timing,
}

/// How an agent is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentStatus {
    /// How far it has come with its cluster.
    pub progress: Progress,
    /// How the link to the aggregator stands.
    pub link: Link,
    /// Who leads instead, where this replica stands by.
    pub standby: Option<String>,
    /// The nodes at its relay.
    pub nodes: relay::NodeCounts,
}

impl AgentStatus {
    /// Whether it does its work: it leads and is connected, or it stands by while another one leads.
    pub fn readiness(&self) -> Readiness {
        if self.link.connected || self.standby.is_some() {
            return Readiness::Ready;
        }
        Readiness::NotReady(self.link.last_error.clone().unwrap_or_else(|| "not connected yet".to_owned()))
    }
}

impl AgentConfig {
    /// A configuration with everything usual.
    pub fn new(kube: KubeSource, aggregator: impl Into<String>, state_dir: impl Into<PathBuf>) -> Self {
        Self {
            kube,
            aggregator: aggregator.into(),
            state_dir: state_dir.into(),
            shared: None,
            relay: None,
            join_token: None,
            name: "agent".to_owned(),
            pace: collect::Pace::default(),
            retests: retest::Limits::default(),
            runtime_scan: Duration::from_secs(60),
            windows: ObservationWindows::default(),
            views: None,
        }
    }
}

/// Runs the cluster part until `stop` is cancelled. The status follows every change; see [`status`].
pub async fn run(config: AgentConfig, status: watch::Sender<AgentStatus>, stop: CancellationToken) -> Result<()> {
    let api = Api::new(cluster::client(&config.kube).await.context("cannot reach the cluster")?);
    match &config.shared {
        None => {
            let vault = Vault::Folder(StateDir::open(&config.state_dir)?);
            duties::run(&config, api, vault, &status, &stop).await
        }
        Some(shared) => lead(&config, shared, api, &status, &stop).await,
    }
}

/// Leads for as long as it may, stands by, and leads again.
async fn lead(
    config: &AgentConfig,
    shared: &Shared,
    api: Api,
    status: &watch::Sender<AgentStatus>,
    stop: &CancellationToken,
) -> Result<()> {
    let identity = format!("{}_{}", config.name, random::name::<4>()?);
    let mut lease = Lease::new(api.clone(), &shared.namespace, &shared.lease, identity, shared.timing);
    let vault = Vault::Secret(SecretVault::new(api.clone(), &shared.namespace, &shared.secret));
    loop {
        let held = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            held = lease.win(|waiting| stand_by(status, waiting)) => held,
        };
        tracing::info!(agent = config.name, "leading");
        status.send_replace(AgentStatus::default());
        let term = stop.child_token();
        let duties = duties::run(config, api.clone(), vault.clone(), status, &term);
        tokio::pin!(duties);
        let lost = tokio::select! {
            ended = &mut duties => {
                lease.release().await;
                return ended;
            }
            lost = lease.hold(held) => lost,
        };
        tracing::warn!(agent = config.name, reason = lost, "not leading any more");
        term.cancel();
        // The duties were cancelled: their result is not an error.
        let _ended = duties.await;
        status.send_replace(AgentStatus {
            link: Link { connected: false, last_error: Some(lost) },
            ..Default::default()
        });
    }
}

fn stand_by(status: &watch::Sender<AgentStatus>, waiting: &Waiting) {
    tracing::info!("{waiting}");
    status.send_modify(|status| match waiting {
        Waiting::For(leader) => status.standby = Some(leader.clone()),
        Waiting::Blocked(why) => {
            status.standby = None;
            status.link.last_error = Some(why.clone());
        }
    });
}

/// Where an agent tells its status, and where to read it.
pub fn status() -> (watch::Sender<AgentStatus>, watch::Receiver<AgentStatus>) {
    watch::channel(AgentStatus::default())
}
