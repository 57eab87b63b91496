//! A fleet of real API servers: one pattern whose band and severity follow how far it has spread, and records that no
//! other cluster can write into.

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use holdfast_agent::credential::{StateDir, certificate_pem};
use holdfast_lab::{ControlPlane, apply};
use holdfast_proto::v1;
use holdfast_proto::v1::uplink_client::UplinkClient;
use holdfast_tests::programs::eventually;
use holdfast_tests::story::{Agent, Story};
use holdfast_tests::tier;
use serde_json::{Value, json};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

const NAMES: [&str; 4] = ["prod-eu", "prod-us", "prod-ap", "staging"];
const CONTROL: &str = "workload.host-pid";

/// The suite's own policy: four clusters are its whole fleet, and nothing dwells.
const POLICY: &str = include_str!("fleet_policy.yaml");

fn debug_deployment(host_pid: bool) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "debug", "namespace": "tools"},
        "spec": {
            "replicas": 1, "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app": "debug"}},
            "template": {
                "metadata": {"labels": {"app": "debug"}},
                "spec": {"hostPID": host_pid, "containers": [{"name": "debug", "image": "tools.example/debug:1.0.0"}]},
            },
        },
    })
}

/// Four control planes with an agent each.
struct Fleet {
    story: Story,
    planes: Vec<ControlPlane>,
    agents: Vec<Agent>,
}

impl Fleet {
    async fn gather() -> Result<Option<Self>> {
        let started = try_join_all(NAMES.map(ControlPlane::start)).await;
        let Some(planes) = tier::available("apiserver", started)? else { return Ok(None) };
        let story = Story::begin_with(Some(POLICY)).await?;
        let mut agents = Vec::new();
        for plane in &planes {
            plane.namespace("tools", &[]).await?;
            agents.push(story.join(plane).await?);
        }
        Ok(Some(Self { story, planes, agents }))
    }

    async fn set(&self, cluster: usize, host_pid: bool) -> Result<()> {
        apply(&self.planes[cluster].client().await?, &[debug_deployment(host_pid)]).await
    }

    /// Waits until the one pattern counts so many clusters and stands in this band, with this severity on its findings.
    async fn until(&self, clusters: u64, band: &str, severity: &str) -> Result<()> {
        eventually(&format!("{clusters} clusters, {band}, {severity}"), async || {
            let patterns = self.story.holdfast(&["patterns", "-o", "json"]).await?;
            let mine: Vec<_> =
                patterns.as_array().into_iter().flatten().filter(|p| p["control_id"] == CONTROL).collect();
            ensure!(mine.len() == 1, "{} patterns of {CONTROL}", mine.len());
            let seen = (mine[0]["clusters_affected"].as_u64(), mine[0]["band"].as_str());
            ensure!(seen == (Some(clusters), Some(band)), "the pattern stands at {seen:?}");
            let rows = self.story.findings(&["--control", CONTROL, "--status", "open"]).await?;
            ensure!(rows.len() as u64 == clusters, "{} open findings", rows.len());
            ensure!(rows.iter().all(|row| row["severity"] == severity), "severities: {:?}", severities(&rows));
            Ok(Some(()))
        })
        .await
    }
}

fn severities(rows: &[Value]) -> Vec<&Value> {
    rows.iter().map(|row| &row["severity"]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pattern_climbs_its_bands_and_comes_down_again_and_each_move_is_an_event() -> Result<()> {
    let Some(fleet) = Fleet::gather().await? else { return Ok(()) };
    fleet.set(0, true).await?;
    fleet.until(1, "isolated", "high").await?;
    fleet.set(1, true).await?;
    fleet.until(2, "several", "high").await?;
    fleet.set(2, true).await?;
    fleet.set(3, true).await?;
    fleet.until(4, "systemic", "critical").await?;

    let row = fleet.story.finding(NAMES[0], "tools", CONTROL).await?;
    let id = row["id"].as_str().context("no id")?.to_owned();
    let shown = fleet.story.show(&id).await?;
    assert_eq!(shown["base_severity"], "high");
    assert_eq!(shown["calibration"]["rule"], "systemic-raises-one-step", "{shown}");
    assert_eq!(shown["calibration"]["approver"], "platform-security");
    assert_eq!(shown["calibration"]["reading"]["clusters"], 4, "{}", shown["calibration"]);

    for cluster in [3, 2] {
        fleet.set(cluster, false).await?;
    }
    fleet.until(2, "several", "high").await?;
    fleet.set(1, false).await?;
    fleet.until(1, "isolated", "high").await?;

    let shown = fleet.story.show(&id).await?;
    let moves = shown["history"].as_array().context("no history")?;
    let moves =
        moves.iter().filter(|event| event["event"].as_str().is_some_and(|name| name.contains("calibrat"))).count();
    assert!(moves >= 2, "up and down again are {moves} events: {}", shown["history"]);
    drop(fleet.agents);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_claims_another_cluster_is_refused_and_the_attempt_is_logged() -> Result<()> {
    let Some(plane) = tier::available("apiserver", ControlPlane::start("prod-eu").await)? else { return Ok(()) };
    let story = Story::begin().await?;
    let mut agent = story.join(&plane).await?;
    let other = story.holdfast(&["cluster", "add", "prod-us", "-o", "json"]).await?;
    let victim = other["cluster_id"].as_str().context("no cluster id")?.to_owned();

    let state = StateDir::open(story.path("agent-prod-eu"))?;
    let credential = eventually("the credential", async || Ok(state.credential()?)).await?;
    agent.kill().await?;
    let tls = ClientTlsConfig::new()
        .domain_name("localhost")
        .ca_certificate(Certificate::from_pem(certificate_pem(&credential.root)))
        .identity(Identity::from_pem(certificate_pem(&credential.current.certificate), state.key()?.pem()));
    let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{}", story.agents_port()))?.tls_config(tls)?;
    let mut uplink = UplinkClient::new(endpoint.connect().await?);
    let hello =
        v1::Hello { protocol: holdfast_proto::PROTOCOL, claimed_cluster: victim.clone(), ..v1::Hello::default() };
    let hello = v1::FromAgent { message: Some(v1::from_agent::Message::Hello(hello)) };
    let refused = match uplink.connect(futures::stream::iter([hello])).await {
        Err(status) => status,
        Ok(stream) => match stream.into_inner().message().await {
            Err(status) => status,
            Ok(answer) => anyhow::bail!("the forged stream was answered: {answer:?}"),
        },
    };
    assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused}");

    eventually("the attempt in the log", async || {
        let log = story.holdfast(&["activity", "-o", "json"]).await?;
        Ok(log.to_string().contains(&victim).then_some(()))
    })
    .await?;
    assert!(story.findings(&["--cluster", "prod-us"]).await?.is_empty());
    Ok(())
}
