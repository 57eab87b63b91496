//! The agent's leader election and relay on a real API server: two replicas and one Lease, nodes that enrol with their Pods'
//! tokens, and which tokens the relay refuses.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holdfast_agent::rights::{self, CREDENTIAL_SECRET, LEASE, Scope, Subject};
use holdfast_lab::{ControlPlane, apply};
use holdfast_tests::programs::{Process, eventually, free_ports};
use holdfast_tests::scenario::{Scenario, grant};
use holdfast_tests::tier;
use serde_json::{Value, json};

const AGENT: &str = "holdfast-agent";
const PRIVILEGED: &str = "workload.privileged";

/// A cluster prepared for replicas and nodes, and an aggregator. Only the leader binds the relay's port.
struct Fixture {
    scenario: Scenario,
    plane: ControlPlane,
    relay: u16,
    token_file: PathBuf,
}

impl Fixture {
    async fn prepare() -> Result<Option<Self>> {
        let Some(plane) = tier::available("apiserver", ControlPlane::start("prod-eu").await)? else { return Ok(None) };
        for namespace in ["shop", "holdfast", "holdfast-node"] {
            plane.namespace(namespace, &[]).await?;
        }
        grant(&plane, &[]).await?;
        let to = Subject::User(AGENT);
        let mut objects = rights::grant("holdfast-relay", Scope::Cluster, to, &rights::relay_rights()).to_vec();
        objects.extend(rights::grant(AGENT, Scope::Namespace("holdfast"), to, &rights::own_rights()));
        let metadata = |name: &str, namespace: &str| json!({"name": name, "namespace": namespace});
        objects.push(
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata(LEASE, "holdfast")}),
        );
        objects
            .push(json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata(CREDENTIAL_SECRET, "holdfast")}));
        for account in ["agent", "other"] {
            objects.push(
                json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(account, "holdfast-node")}),
            );
        }
        apply(&plane.client().await?, &objects).await?;
        let scenario = Scenario::start().await?;
        let added = scenario.holdfast(&["cluster", "add", plane.name(), "-o", "json"]).await?;
        let token_file = scenario.path("join-token");
        std::fs::write(&token_file, added["token"].as_str().context("no join token")?)?;
        let [relay] = free_ports()?;
        Ok(Some(Self { scenario, plane, relay, token_file }))
    }

    fn replica(&self, name: &str, more: &[String]) -> Result<Process> {
        let mut args = vec![
            format!("--aggregator=https://127.0.0.1:{}", self.scenario.agents_port()),
            format!("--kubeconfig={}", self.plane.kubeconfig_for(AGENT, &[])?.display()),
            format!("--join-token-file={}", self.token_file.display()),
            format!("--name={name}"),
            "--namespace=holdfast".to_owned(),
            format!("--lease={LEASE}"),
            format!("--relay-listen=127.0.0.1:{}", self.relay),
            "--node-service-account=holdfast-node/agent".to_owned(),
            "--log-json".to_owned(),
        ];
        args.extend_from_slice(more);
        Process::start("holdfast-agent", &self.scenario.path(&format!("{name}.log")), &args, &[])
    }

    /// The flags of a node part.
    fn node_flags(&self, name: &str, token: &Path) -> Result<Vec<String>> {
        Ok(vec![
            format!("--relay=https://localhost:{}", self.relay),
            format!("--root-fingerprint={}", self.scenario.root_fingerprint()?),
            format!("--relay-token-file={}", token.display()),
            format!("--node={name}"),
        ])
    }

    /// A node of this name with a Pod of this service account on it, and a token that is bound to the Pod.
    async fn token(&self, node: &str, account: &str, audience: &str) -> Result<PathBuf> {
        let pod = format!("{account}-{node}");
        let objects = [
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}}),
            json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod, "namespace": "holdfast-node"},
                "spec": {"nodeName": node, "serviceAccountName": account, "containers": [{"name": "agent", "image": "holdfast-agent:test"}]},
            }),
        ];
        apply(&self.plane.client().await?, &objects).await?;
        let audience = format!("--audience={audience}");
        let bound = ["--bound-object-kind=Pod", "--bound-object-name", &pod];
        let args = [&["-n", "holdfast-node", "create", "token", account, &audience][..], &bound].concat();
        let token = eventually("a token", async || Ok(self.plane.kubectl(&args).await.ok())).await?;
        let file = self.scenario.path(&format!("{pod}.token"));
        std::fs::write(&file, token)?;
        Ok(file)
    }

    fn node(&self, name: &str, token: &Path) -> Result<Process> {
        let mut args = self.node_flags(name, token)?;
        args.extend(["--role=node", "--log-json"].map(str::to_owned));
        let file = token.file_stem().context("no name")?.to_string_lossy().into_owned();
        Process::start("holdfast-agent", &self.scenario.path(&format!("{file}-as-{name}.log")), &args, &[])
    }

    async fn coverage(&self, subject: &str) -> Result<Option<Value>> {
        let cluster = self.scenario.holdfast(&["cluster", "show", "prod-eu", "-o", "json"]).await?;
        let rows = cluster["coverage"].as_array().context("no coverage")?.clone();
        Ok(rows.into_iter().find(|row| row["subject"] == subject))
    }

    /// Waits until the node's own agent has reported the state of its kernel view, whatever the state is.
    async fn until_node_reports(&self, node: &str) -> Result<Value> {
        eventually(&format!("{node} to report"), async || {
            let row = self.coverage(&format!("node/{node}/kernel-view")).await?;
            let is_its_own =
                |row: &Value| row["state"] != "starting" && !row["reason"].to_string().contains("no agent");
            Ok(row.filter(is_its_own))
        })
        .await
    }

    async fn until_refused(&self, node: &Process, why: &str) -> Result<()> {
        eventually(&format!("a refusal that says {why:?}"), async || {
            let tail = node.tail();
            ensure!(!tail.contains("connected to the relay"), "the relay accepted it");
            Ok(tail.contains(why).then_some(()))
        })
        .await
    }

    async fn until_leading(&self, replica: &Process) -> Result<()> {
        eventually("a leader", async || Ok(replica.tail().contains("serving nodes").then_some(()))).await
    }
}

fn deployment(name: &str) -> Value {
    let container = json!({"name": "web", "image": "shop.example/web:1", "securityContext": {"privileged": true}});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
        },
    })
}

#[tokio::test]
async fn a_killed_leader_is_replaced_within_seconds_and_nothing_is_lost_or_reported_twice() -> Result<()> {
    let Some(fixture) = Fixture::prepare().await? else { return Ok(()) };
    let mut first = fixture.replica("first", &[])?;
    fixture.until_leading(&first).await?;
    let second = fixture.replica("second", &[])?;
    let token = fixture.token("worker-1", "agent", "holdfast-relay").await?;
    let node = fixture.node("worker-1", &token)?;
    let row = fixture.until_node_reports("worker-1").await.with_context(|| node.tail())?;
    println!("worker-1: {row}");
    let many = |from: usize| -> Vec<Value> { (from..from + 30).map(|n| deployment(&format!("web-{n}"))).collect() };
    apply(&fixture.plane.client().await?, &many(0)).await?;
    fixture.scenario.finding("prod-eu", "shop", PRIVILEGED).await?;

    let killed = Instant::now();
    first.kill().await?;
    apply(&fixture.plane.client().await?, &many(30)).await?;
    fixture.until_leading(&second).await.with_context(|| second.tail())?;
    let took_over = killed.elapsed();
    println!("the other replica leads {took_over:?} after kill -9");
    ensure!(took_over < Duration::from_secs(20), "the take-over took {took_over:?}");

    let filters = ["--cluster", "prod-eu", "--namespace", "shop", "--control", PRIVILEGED];
    let rows = eventually("60 findings", async || {
        let rows = fixture.scenario.findings(&filters).await?;
        ensure!(rows.len() == 60, "{} findings", rows.len());
        Ok(Some(rows))
    })
    .await
    .with_context(|| second.tail())?;
    for row in rows.iter().step_by(7) {
        let shown = fixture.scenario.show(row["id"].as_str().context("no id")?).await?;
        let history = shown["history"].as_array().context("no history")?.clone();
        let opened = history.iter().filter(|event| event["event"] == "finding-opened").count();
        assert_eq!((opened, &shown["status"]), (1, &json!("open")), "{history:?}");
    }
    // The node has reconnected to the new leader with the certificate that it had.
    eventually("the node to be back", async || {
        Ok((node.tail().matches("\"connected to the relay\"").count() >= 2).then_some(()))
    })
    .await
    .with_context(|| node.tail())?;
    assert_eq!(node.tail().matches("enrolled at the relay").count(), 1, "{}", node.tail());
    fixture.until_node_reports("worker-1").await?;
    Ok(())
}

#[tokio::test]
async fn a_node_enrols_only_with_its_own_token_for_the_relay_and_its_claimed_name_is_ignored() -> Result<()> {
    let Some(fixture) = Fixture::prepare().await? else { return Ok(()) };
    let leader = fixture.replica("leader", &[])?;
    fixture.until_leading(&leader).await?;

    let audience = fixture.token("worker-1", "agent", "https://kubernetes.default.svc").await?;
    let wrong_audience = fixture.node("worker-1", &audience)?;
    fixture.until_refused(&wrong_audience, "does not accept the token").await.with_context(|| wrong_audience.tail())?;
    drop(wrong_audience);
    let other = fixture.token("worker-1", "other", "holdfast-relay").await?;
    let other_account = fixture.node("worker-1", &other)?;
    fixture.until_refused(&other_account, "not of the node agent's service account").await?;
    drop(other_account);

    // The node's name comes from the API server's TokenReview, not from the agent's flag.
    let second = fixture.token("worker-2", "agent", "holdfast-relay").await?;
    let misnamed = fixture.node("worker-1", &second)?;
    fixture.until_node_reports("worker-2").await.with_context(|| misnamed.tail())?;
    let row = fixture.coverage("node/worker-1/kernel-view").await?.context("worker-1 runs Pods")?;
    assert_ne!(row["state"], "seen", "{row}");
    assert!(row["reason"].as_str().is_some_and(|reason| reason.contains("connected")), "{row}");

    // A node that is added later enrols without help.
    let later = fixture.token("worker-3", "agent", "holdfast-relay").await?;
    let joined = fixture.node("worker-3", &later)?;
    fixture.until_node_reports("worker-3").await.with_context(|| joined.tail())?;
    Ok(())
}

/// In small clusters every node's process has both parts, and one of them leads.
#[tokio::test]
async fn both_parts_in_one_process_serve_themselves_and_are_ready() -> Result<()> {
    let Some(mut fixture) = Fixture::prepare().await? else { return Ok(()) };
    let token = fixture.token("worker-1", "agent", "holdfast-relay").await?;
    let [health] = free_ports()?;
    let mut flags = fixture.node_flags("worker-1", &token)?;
    flags.extend(["--role=both".to_owned(), format!("--health-listen=127.0.0.1:{health}")]);
    let both = fixture.replica("both", &flags)?;
    fixture.until_node_reports("worker-1").await.with_context(|| both.tail())?;
    let ready = async || reqwest::get(format!("http://127.0.0.1:{health}/readyz")).await?.text().await;
    assert_eq!(ready().await?, "ready\n");

    // Without the aggregator it is not ready and answers why.
    fixture.scenario.kill_aggregator().await?;
    let reason = eventually("readiness to be lost", async || Ok(Some(ready().await?).filter(|body| body != "ready\n")));
    let reason = reason.await?;
    assert!(reason.starts_with("cluster: "), "{reason}");
    Ok(())
}
