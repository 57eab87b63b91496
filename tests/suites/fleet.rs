//! A fleet of real API servers: the band and severity of a pattern follow how many clusters it affects, and no cluster can
//! write into another's record.

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use holdfast_agent::credential::{StateDir, certificate_pem};
use holdfast_lab::{ControlPlane, apply};
use holdfast_proto::v1;
use holdfast_proto::v1::uplink_client::UplinkClient;
use holdfast_tests::programs::eventually;
use holdfast_tests::scenario::{Agent, Scenario};
use holdfast_tests::tier;
use serde_json::{Value, json};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

const NAMES: [&str; 4] = ["prod-eu", "prod-us", "prod-ap", "staging"];
const CONTROL: &str = "workload.host-pid";

/// A policy for a fleet of four clusters, without a dwell time.
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
    scenario: Scenario,
    planes: Vec<ControlPlane>,
    agents: Vec<Agent>,
}

impl Fleet {
    async fn start() -> Result<Option<Self>> {
        let started = try_join_all(NAMES.map(ControlPlane::start)).await;
        let Some(planes) = tier::available("apiserver", started)? else { return Ok(None) };
        let scenario = Scenario::start_with(Some(POLICY)).await?;
        let mut agents = Vec::new();
        for plane in &planes {
            plane.namespace("tools", &[]).await?;
            agents.push(scenario.join(plane).await?);
        }
        Ok(Some(Self { scenario, planes, agents }))
    }

    async fn set(&self, cluster: usize, host_pid: bool) -> Result<()> {
        apply(&self.planes[cluster].client().await?, &[debug_deployment(host_pid)]).await
    }

    /// Waits until the pattern counts this many clusters and is in this band, with this severity on its findings.
    async fn until(&self, clusters: u64, band: &str, severity: &str) -> Result<()> {
        eventually(&format!("{clusters} clusters, {band}, {severity}"), async || {
            let patterns = self.scenario.holdfast(&["patterns", "-o", "json"]).await?;
            let mine: Vec<_> =
                patterns.as_array().into_iter().flatten().filter(|p| p["control_id"] == CONTROL).collect();
            ensure!(mine.len() == 1, "{} patterns of {CONTROL}", mine.len());
            let current = (mine[0]["clusters_affected"].as_u64(), mine[0]["band"].as_str());
            ensure!(current == (Some(clusters), Some(band)), "the pattern is at {current:?}");
            let rows = self.scenario.findings(&["--control", CONTROL, "--status", "open"]).await?;
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
async fn a_pattern_rises_through_the_bands_and_falls_again_and_each_change_is_an_event() -> Result<()> {
    let Some(fleet) = Fleet::start().await? else { return Ok(()) };
    fleet.set(0, true).await?;
    fleet.until(1, "isolated", "high").await?;
    fleet.set(1, true).await?;
    fleet.until(2, "several", "high").await?;
    fleet.set(2, true).await?;
    fleet.set(3, true).await?;
    fleet.until(4, "systemic", "critical").await?;

    let row = fleet.scenario.finding(NAMES[0], "tools", CONTROL).await?;
    let id = row["id"].as_str().context("no id")?.to_owned();
    let shown = fleet.scenario.show(&id).await?;
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

    let shown = fleet.scenario.show(&id).await?;
    let history = shown["history"].as_array().context("no history")?;
    let calibrations =
        history.iter().filter(|event| event["event"].as_str().is_some_and(|name| name.contains("calibrat"))).count();
    assert!(calibrations >= 2, "rising and falling gave {calibrations} events: {}", shown["history"]);
    drop(fleet.agents);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_claims_another_cluster_is_refused_and_the_attempt_is_logged() -> Result<()> {
    let Some(plane) = tier::available("apiserver", ControlPlane::start("prod-eu").await)? else { return Ok(()) };
    let scenario = Scenario::start().await?;
    let mut agent = scenario.join(&plane).await?;
    let other = scenario.holdfast(&["cluster", "add", "prod-us", "-o", "json"]).await?;
    let victim = other["cluster_id"].as_str().context("no cluster id")?.to_owned();

    let state = StateDir::open(scenario.path("agent-prod-eu"))?;
    let credential = eventually("the credential", async || Ok(state.credential()?)).await?;
    agent.kill().await?;
    let tls = ClientTlsConfig::new()
        .domain_name("localhost")
        .ca_certificate(Certificate::from_pem(certificate_pem(&credential.root)))
        .identity(Identity::from_pem(certificate_pem(&credential.current.certificate), state.key()?.pem()));
    let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{}", scenario.agents_port()))?.tls_config(tls)?;
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
        let log = scenario.holdfast(&["activity", "-o", "json"]).await?;
        Ok(log.to_string().contains(&victim).then_some(()))
    })
    .await?;
    assert!(scenario.findings(&["--cluster", "prod-us"]).await?.is_empty());
    Ok(())
}
