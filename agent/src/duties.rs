//! The duties of the cluster part: watch, evaluate, hold the one stream to the aggregator, answer retests, serve the nodes.
//!
//! They begin together and end together: when this returns, nothing of them runs any more, so that another replica may
//! begin. A table of what is started, in which order; it decides nothing.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use backon::{BackoffBuilder, ExponentialBuilder};
use holdfast_agent_core::engine::{Engine, Progress};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::cluster::{self, ClusterFacts, Server};
use crate::credential::{AgentKey, Credential};
use crate::engine::{self, EngineCommand, EngineHandle, NodeObservations};
use crate::pod_directory::PodDirectory;
use crate::relay::{self, NodeCounts, Relay, RelayContext};
use crate::runtime_scan::RuntimeScan;
use crate::uplink::{Link, Uplink};
use crate::vault::Vault;
use crate::{AgentConfig, AgentStatus, clock, collect, enrol, random, retest};

/// What must be known before anything can begin.
struct Member {
    facts: ClusterFacts,
    key: Arc<AgentKey>,
    credential: Credential,
}

/// Does the duties until it is stopped. All of them have ended when this returns.
pub(crate) async fn run(
    config: &AgentConfig,
    api: Api,
    vault: Vault,
    status: &watch::Sender<AgentStatus>,
    stop: &CancellationToken,
) -> Result<()> {
    let member = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        member = enrolled(config, &api, &vault, status) => member?,
    };
    tracing::info!(agent = config.name, cluster.id = %member.credential.cluster, "enrolled");
    let mut parts = JoinSet::new();
    let (link, link_state) = watch::channel(Link::default());
    let (handle, nodes, mut collectors) = begin(config, api, vault, member, link, &mut parts).await?;
    let ended = tokio::select! {
        () = stop.cancelled() => Ok(()),
        part = parts.join_next() => named(part),
        () = report(handle.progress, link_state, nodes, status) => bail_engine(),
    };
    parts.shutdown().await;
    collectors.shutdown().await;
    status.send_modify(|status| status.link.connected = false);
    ended
}

fn bail_engine() -> Result<()> {
    bail!("the engine has ended")
}

fn named(part: Option<Result<&'static str, tokio::task::JoinError>>) -> Result<()> {
    match part {
        Some(Ok(part)) => bail!("{part} ended"),
        Some(Err(error)) => Err(error).context("a part of the agent failed"),
        None => bail!("no part of the agent runs"),
    }
}

async fn enrolled(
    config: &AgentConfig,
    api: &Api,
    vault: &Vault,
    status: &watch::Sender<AgentStatus>,
) -> Result<Member> {
    let report_error = |error: &str| status.send_modify(|status| status.link.last_error = Some(error.to_owned()));
    let facts = patiently("the cluster", report_error, || cluster::facts(api)).await?;
    let key = Arc::new(vault.key().await?);
    let credential = credential(config, vault, &key, &facts, report_error).await?;
    Ok(Member { facts, key, credential })
}

/// Starts every part. The first that ends by itself ends all.
async fn begin(
    config: &AgentConfig,
    api: Api,
    vault: Vault,
    member: Member,
    link: watch::Sender<Link>,
    parts: &mut JoinSet<&'static str>,
) -> Result<(EngineHandle, Option<watch::Receiver<NodeCounts>>, JoinSet<()>)> {
    let Member { facts, key, credential } = member;
    let (events, received) = mpsc::channel(collect::EVENTS);
    let (orders, ordered) = mpsc::channel(retest::ORDERS);
    let (answers, answered) = mpsc::channel(64);
    let (requests, requested) = mpsc::channel(relay::REQUESTS);
    let (renewed, credentials) = watch::channel(credential.clone());
    let (handle, commands, progress) = EngineHandle::new();
    let run = random::name::<8>()?;
    let (observed, observations) = mpsc::channel(relay::REQUESTS);
    let mut engine = Engine::new(credential.cluster, &run, config.windows, clock::now());
    let pods = PodDirectory::default();
    facts.server.minor.into_iter().for_each(|minor| engine.set_server_minor(minor));
    let (mut views, mut counts) = (config.views.clone(), None);
    if let Some(settings) = &config.relay {
        let context = RelayContext {
            api: api.clone(),
            pods: pods.clone(),
            key: key.clone(),
            credential: credentials,
            requests,
            engine: handle.clone(),
            observations: Some(observed),
        };
        let relay = Relay::listen(settings.clone(), context).await?;
        views.get_or_insert_with(|| Arc::new(relay.nodes()));
        counts = Some(relay.nodes().counts());
        tracing::info!(address = %relay.address(), "serving nodes");
        parts.spawn(named_part("the relay", async move { relay.serve().await }));
    } else {
        // No node is expected to be looked at.
        engine.complete_coverage();
    }
    let (server, version) = Server::new(api.clone(), facts.server);
    let retester = retest::Retester {
        api: api.clone(),
        server: version,
        cluster: credential.cluster,
        key: key.clone(),
        engine: handle.clone(),
        limits: config.retests,
        views: views.clone(),
        windows: config.windows,
    };
    let uplink = Uplink {
        url: config.aggregator.clone(),
        vault,
        key,
        credential,
        renewed,
        nodes: requested,
        fingerprint: facts.fingerprint,
        server,
        engine: handle.clone(),
        orders,
        answers: answered,
        link,
        introduced: false,
    };
    if let Some(views) = views {
        let runtime_scan =
            RuntimeScan { views, pods: pods.clone(), engine: handle.clone(), every: config.runtime_scan };
        parts.spawn(named_part("the runtime scan", runtime_scan.run()));
    }
    parts.spawn(named_part("the observations", hand_on(observations, handle.clone())));
    parts.spawn(named_part("the engine", engine::run(engine, pods, received, commands, progress)));
    parts.spawn(named_part("the retests", retest::run(retester, ordered, answers)));
    parts.spawn(named_part("the uplink", uplink.run()));
    let collectors = collect::start(&api, config.pace, &events, &CancellationToken::new());
    Ok((handle, counts, collectors))
}

/// Hands on what sensors observed until the engine is gone. Without a relay nothing comes, and that is no end.
async fn hand_on(mut observations: mpsc::Receiver<NodeObservations>, engine: EngineHandle) {
    while let Some(batch) = observations.recv().await {
        if engine.send(EngineCommand::Observed(batch)).await.is_err() {
            return;
        }
    }
    std::future::pending().await
}

async fn named_part(name: &'static str, part: impl Future<Output = ()>) -> &'static str {
    part.await;
    name
}

/// The credential that is kept and still good, or a new one for the join token.
async fn credential(
    config: &AgentConfig,
    vault: &Vault,
    key: &AgentKey,
    facts: &ClusterFacts,
    report_error: impl Fn(&str),
) -> Result<Credential> {
    let good = |kept: &Credential| kept.certificates().any(|issued| issued.not_after > clock::now());
    if let Some(kept) = vault.credential().await?.filter(good) {
        return Ok(kept);
    }
    let token = config.join_token.as_ref().context(
        "this agent has no certificate, or only one that has expired: give it a join token (`holdfast cluster token`)",
    )?;
    let credential = patiently("the aggregator", report_error, || async {
        Ok(enrol::enrol(&config.aggregator, token, key, &facts.fingerprint).await?)
    })
    .await?;
    vault.keep(&credential).await?;
    Ok(credential)
}

/// Tries until it works, reporting why it does not yet. A cluster or an aggregator that is down comes back.
async fn patiently<T, F: Future<Output = Result<T>>>(
    what: &str,
    report_error: impl Fn(&str),
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
                report_error(&error);
                tokio::time::sleep(wait).await;
            }
        }
    }
    attempt().await
}

/// Folds the engine's progress, the link's state and the nodes into one status.
async fn report(
    mut progress: watch::Receiver<Progress>,
    mut link: watch::Receiver<Link>,
    mut nodes: Option<watch::Receiver<NodeCounts>>,
    status: &watch::Sender<AgentStatus>,
) {
    loop {
        let (progressed, linked) = (progress.borrow_and_update().clone(), link.borrow_and_update().clone());
        let counts = nodes.as_mut().map(|nodes| *nodes.borrow_and_update()).unwrap_or_default();
        status.send_replace(AgentStatus { progress: progressed, link: linked, standby: None, nodes: counts });
        let changed = tokio::select! {
            changed = progress.changed() => changed,
            changed = link.changed() => changed,
            () = nodes_changed(nodes.as_mut()) => Ok(()),
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Returns when the nodes have changed; never, where there is no relay, or no more.
async fn nodes_changed(nodes: Option<&mut watch::Receiver<NodeCounts>>) {
    let is_changed = match nodes {
        Some(nodes) => nodes.changed().await.is_ok(),
        None => false,
    };
    if !is_changed {
        std::future::pending().await
    }
}
