//! The agent of one cluster: it sees what is wrong, says only what has changed, and looks again when asked.
//!
//! The way of the data: [`collect`] watches the API server and projects objects to facts; the [`engine`] judges what was
//! touched and keeps the [`ledger`] of what was said; the [`uplink`] pulls what is new and sends it. Orders come back down
//! the same stream and are answered by [`retest`] from live reads, never from what was watched.
//! It changes nothing in the cluster, and what it cannot look at it says.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use backon::{BackoffBuilder, ExponentialBuilder};
use holdfast_model::join_token::JoinToken;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub mod api;
mod clock;
pub mod cluster;
pub mod collect;
pub mod credential;
pub mod engine;
pub mod enrol;
pub mod eyes;
mod jitter;
pub mod ledger;
pub mod outbox;
pub mod places;
pub mod retest;
pub mod rights;
mod text;
pub mod uplink;

use api::Api;
use cluster::{ClusterFacts, Server};
use credential::{AgentKey, Credential, StateDir};
use engine::{Engine, Handle};
use uplink::{Link, Uplink};

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

/// Everything that an agent must be told.
#[derive(Clone)]
pub struct AgentConfig {
    /// How to reach the cluster.
    pub kube: KubeSource,
    /// The aggregator, `https://host:port`.
    pub aggregator: String,
    /// The folder of the key and the certificate.
    pub state_dir: PathBuf,
    /// Needed once, to enrol; not looked at while there is a certificate that is good.
    pub join_token: Option<JoinToken>,
    /// How the agent is called in its own logs.
    pub name: String,
    /// How long collectors wait.
    pub pace: collect::Pace,
    /// How much of the API server retests may take.
    pub retests: retest::Limits,
}

/// How an agent is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentStatus {
    /// How far it has come with its cluster.
    pub progress: engine::Progress,
    /// How the link to the aggregator stands.
    pub link: Link,
}

impl AgentConfig {
    /// A configuration with everything usual.
    pub fn new(kube: KubeSource, aggregator: impl Into<String>, state_dir: impl Into<PathBuf>) -> Self {
        Self {
            kube,
            aggregator: aggregator.into(),
            state_dir: state_dir.into(),
            join_token: None,
            name: "agent".to_owned(),
            pace: collect::Pace::default(),
            retests: retest::Limits::default(),
        }
    }
}

/// Runs an agent until it is told to stop. Status is told as it changes; see [`status`].
pub async fn run(config: AgentConfig, status: watch::Sender<AgentStatus>, stop: CancellationToken) -> Result<()> {
    tokio::select! {
        () = stop.clone().cancelled_owned() => Ok(()),
        ended = start(config, status, stop) => ended,
    }
}

/// Where an agent tells its status, and where to read it.
pub fn status() -> (watch::Sender<AgentStatus>, watch::Receiver<AgentStatus>) {
    watch::channel(AgentStatus::default())
}

async fn start(config: AgentConfig, status: watch::Sender<AgentStatus>, stop: CancellationToken) -> Result<()> {
    let api = Api::new(cluster::client(&config.kube).await.context("cannot reach the cluster")?);
    let tell = |error: &str| status.send_modify(|status| status.link.last_error = Some(error.to_owned()));
    let facts = patiently("the cluster", tell, || cluster::facts(&api)).await?;
    let state = StateDir::open(&config.state_dir)?;
    let key = Arc::new(state.key()?);
    let credential = credential(&config, &state, &key, &facts, tell).await?;
    tracing::info!(agent = config.name, cluster.id = %credential.cluster, "enrolled");

    let stop = stop.child_token();
    let _guard = stop.clone().drop_guard();
    let (events, received) = mpsc::channel(collect::EVENTS);
    let (orders, ordered) = mpsc::channel(retest::ORDERS);
    let (answers, answered) = mpsc::channel(64);
    let (link, link_told) = watch::channel(Link::default());
    let (handle, commands, progress) = Handle::new();

    let mut engine = Engine::new(credential.cluster, clock::now());
    facts.server.minor.into_iter().for_each(|minor| engine.set_server_minor(minor));
    let (server, version) = Server::new(api.clone(), facts.server);
    let _collectors = collect::start(&api, config.pace, &events, &stop);
    drop(events);
    let retester = retest::Retester {
        api,
        server: version,
        cluster: credential.cluster,
        key: key.clone(),
        engine: handle.clone(),
        limits: config.retests,
    };
    let uplink = Uplink {
        url: config.aggregator,
        state,
        key,
        credential,
        fingerprint: facts.fingerprint,
        server,
        engine: handle.clone(),
        orders,
        answers: answered,
        link,
        introduced: false,
    };
    tokio::select! {
        joined = tokio::spawn(engine::run(engine, received, commands, progress)) => joined.context("the engine failed"),
        joined = tokio::spawn(retest::run(retester, ordered, answers)) => joined.context("the retests failed"),
        () = uplink.run() => Ok(()),
        () = relay(handle.progress, link_told, &status) => Ok(()),
    }
}

/// The credential that is kept and still good, or a new one for the join token.
async fn credential(
    config: &AgentConfig,
    state: &StateDir,
    key: &AgentKey,
    facts: &ClusterFacts,
    tell: impl Fn(&str),
) -> Result<Credential> {
    let good = |kept: &Credential| kept.certificates().any(|issued| issued.not_after > clock::now());
    if let Some(kept) = state.credential()?.filter(good) {
        return Ok(kept);
    }
    let token = config.join_token.as_ref().context(
        "this agent has no certificate, or only one that has expired: give it a join token (`holdfast cluster token`)",
    )?;
    let credential = patiently("the aggregator", tell, || async {
        Ok(enrol::enrol(&config.aggregator, token, key, &facts.fingerprint).await?)
    })
    .await?;
    state.keep(&credential)?;
    Ok(credential)
}

/// Tries until it works, telling why it does not yet. A cluster or an aggregator that is down comes back.
async fn patiently<T, F: Future<Output = Result<T>>>(
    what: &str,
    tell: impl Fn(&str),
    mut attempt: impl FnMut() -> F,
) -> Result<T> {
    let waits = ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(5))
        .without_max_times()
        .with_jitter();
    for wait in waits.build() {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) => {
                let error = format!("{what}: {error:#}");
                tracing::warn!(%error, "not yet");
                tell(&error);
                tokio::time::sleep(wait).await;
            }
        }
    }
    attempt().await
}

/// Folds the engine's progress and the link's state into one status.
async fn relay(
    mut progress: watch::Receiver<engine::Progress>,
    mut link: watch::Receiver<Link>,
    status: &watch::Sender<AgentStatus>,
) {
    loop {
        let now =
            AgentStatus { progress: progress.borrow_and_update().clone(), link: link.borrow_and_update().clone() };
        status.send_replace(now);
        let changed = tokio::select! {
            changed = progress.changed() => changed,
            changed = link.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}
