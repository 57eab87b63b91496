//! The agent as it lives in a cluster, judged by a real API server: two replicas and one Lease, nodes that join by their
//! Pods' tokens, and what a token must be to be believed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holdfast_agent::rights::{self, CREDENTIAL_SECRET, LEASE, Scope, Subject};
use holdfast_lab::{ControlPlane, apply};
use holdfast_tests::programs::{Process, eventually, free_ports};
use holdfast_tests::story::{Story, grant};
use holdfast_tests::tier;
use serde_json::{Value, json};

const AGENT: &str = "holdfast-agent";
const PRIVILEGED: &str = "workload.privileged";

/// A cluster with a place for replicas and nodes, and an aggregator. Only the leader binds the relay's port.
struct Scene {
    story: Story,
    plane: ControlPlane,
    relay: u16,
    token_file: PathBuf,
}

impl Scene {
    async fn set() -> Result<Option<Self>> {
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
        let story = Story::begin().await?;
        let added = story.holdfast(&["cluster", "add", plane.name(), "-o", "json"]).await?;
        let token_file = story.path("join-token");
        std::fs::write(&token_file, added["token"].as_str().context("no join token")?)?;
        let [relay] = free_ports()?;
        Ok(Some(Self { story, plane, relay, token_file }))
    }

    fn replica(&self, name: &str, more: &[String]) -> Result<Process> {
        let mut args = vec![
            format!("--aggregator=https://127.0.0.1:{}", self.story.agents_port()),
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
        Process::start("holdfast-agent", &self.story.path(&format!("{name}.log")), &args, &[])
    }

    /// The flags of a node's part.
    fn node_flags(&self, name: &str, token: &Path) -> Result<Vec<String>> {
        Ok(vec![
            format!("--relay=https://localhost:{}", self.relay),
            format!("--root-fingerprint={}", self.story.root_fingerprint()?),
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
        let file = self.story.path(&format!("{pod}.token"));
        std::fs::write(&file, token)?;
        Ok(file)
    }

    fn node(&self, name: &str, token: &Path) -> Result<Process> {
        let mut args = self.node_flags(name, token)?;
        args.extend(["--role=node", "--log-json"].map(str::to_owned));
        let file = token.file_stem().context("no name")?.to_string_lossy().into_owned();
        Process::start("holdfast-agent", &self.story.path(&format!("{file}-as-{name}.log")), &args, &[])
    }

    async fn coverage(&self, subject: &str) -> Result<Option<Value>> {
        let cluster = self.story.holdfast(&["cluster", "show", "prod-eu", "-o", "json"]).await?;
        let rows = cluster["coverage"].as_array().context("no coverage")?.clone();
        Ok(rows.into_iter().find(|row| row["subject"] == subject))
    }

    /// Waits until the node's agent itself has said whether it can look: open, or shut for a reason of its own.
    async fn until_node_speaks(&self, node: &str) -> Result<Value> {
        eventually(&format!("{node} to speak"), async || {
            let row = self.coverage(&format!("node/{node}/kernel-view")).await?;
            let speaks = |row: &Value| row["state"] != "starting" && !row["reason"].to_string().contains("no agent");
            Ok(row.filter(speaks))
        })
        .await
    }

    async fn until_refused(&self, node: &Process, why: &str) -> Result<()> {
        eventually(&format!("a refusal that says {why:?}"), async || {
            let tail = node.tail();
            ensure!(!tail.contains("connected to the relay"), "it was let in");
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
async fn a_killed_leader_is_followed_within_seconds_and_nothing_is_lost_or_said_twice() -> Result<()> {
    let Some(scene) = Scene::set().await? else { return Ok(()) };
    let mut first = scene.replica("first", &[])?;
    scene.until_leading(&first).await?;
    let second = scene.replica("second", &[])?;
    let token = scene.token("worker-1", "agent", "holdfast-relay").await?;
    let node = scene.node("worker-1", &token)?;
    let row = scene.until_node_speaks("worker-1").await.with_context(|| node.tail())?;
    println!("worker-1: {row}");
    let many = |from: usize| -> Vec<Value> { (from..from + 30).map(|n| deployment(&format!("web-{n}"))).collect() };
    apply(&scene.plane.client().await?, &many(0)).await?;
    scene.story.finding("prod-eu", "shop", PRIVILEGED).await?;

    let killed = Instant::now();
    first.kill().await?;
    apply(&scene.plane.client().await?, &many(30)).await?;
    scene.until_leading(&second).await.with_context(|| second.tail())?;
    let took_over = killed.elapsed();
    println!("the other replica leads {took_over:?} after kill -9");
    ensure!(took_over < Duration::from_secs(20), "the take-over took {took_over:?}");

    let filters = ["--cluster", "prod-eu", "--namespace", "shop", "--control", PRIVILEGED];
    let rows = eventually("60 findings", async || {
        let rows = scene.story.findings(&filters).await?;
        ensure!(rows.len() == 60, "{} findings", rows.len());
        Ok(Some(rows))
    })
    .await
    .with_context(|| second.tail())?;
    for row in rows.iter().step_by(7) {
        let shown = scene.story.show(row["id"].as_str().context("no id")?).await?;
        let history = shown["history"].as_array().context("no history")?.clone();
        let opened = history.iter().filter(|event| event["event"] == "finding-opened").count();
        assert_eq!((opened, &shown["status"]), (1, &json!("open")), "{history:?}");
    }
    // The node has found the new leader by itself, with the certificate that it had.
    eventually("the node to be back", async || {
        Ok((node.tail().matches("\"connected to the relay\"").count() >= 2).then_some(()))
    })
    .await
    .with_context(|| node.tail())?;
    assert_eq!(node.tail().matches("enrolled at the relay").count(), 1, "{}", node.tail());
    scene.until_node_speaks("worker-1").await?;
    Ok(())
}

#[tokio::test]
async fn a_token_must_be_the_nodes_own_for_the_relay_and_a_name_is_never_believed() -> Result<()> {
    let Some(scene) = Scene::set().await? else { return Ok(()) };
    let leader = scene.replica("leader", &[])?;
    scene.until_leading(&leader).await?;

    let audience = scene.token("worker-1", "agent", "https://kubernetes.default.svc").await?;
    let wrong_audience = scene.node("worker-1", &audience)?;
    scene.until_refused(&wrong_audience, "does not accept the token").await.with_context(|| wrong_audience.tail())?;
    drop(wrong_audience);
    let other = scene.token("worker-1", "other", "holdfast-relay").await?;
    let other_account = scene.node("worker-1", &other)?;
    scene.until_refused(&other_account, "not of the node agent's service account").await?;
    drop(other_account);

    // Its name is what the API server says, whatever it calls itself.
    let second = scene.token("worker-2", "agent", "holdfast-relay").await?;
    let liar = scene.node("worker-1", &second)?;
    scene.until_node_speaks("worker-2").await.with_context(|| liar.tail())?;
    let row = scene.coverage("node/worker-1/kernel-view").await?.context("worker-1 runs Pods")?;
    assert_ne!(row["state"], "seen", "{row}");
    assert!(row["reason"].as_str().is_some_and(|reason| reason.contains("connected")), "{row}");

    // A node that is added later joins by itself.
    let later = scene.token("worker-3", "agent", "holdfast-relay").await?;
    let joined = scene.node("worker-3", &later)?;
    scene.until_node_speaks("worker-3").await.with_context(|| joined.tail())?;
    Ok(())
}

/// A small cluster's way: every node has both parts, and one of them leads.
#[tokio::test]
async fn both_parts_in_one_process_serve_themselves_and_are_ready() -> Result<()> {
    let Some(mut scene) = Scene::set().await? else { return Ok(()) };
    let token = scene.token("worker-1", "agent", "holdfast-relay").await?;
    let [health] = free_ports()?;
    let mut flags = scene.node_flags("worker-1", &token)?;
    flags.extend(["--role=both".to_owned(), format!("--health-listen=127.0.0.1:{health}")]);
    let both = scene.replica("both", &flags)?;
    scene.until_node_speaks("worker-1").await.with_context(|| both.tail())?;
    let ready = async || reqwest::get(format!("http://127.0.0.1:{health}/readyz")).await?.text().await;
    assert_eq!(ready().await?, "ready\n");

    // Without its aggregator it is not, and says why.
    scene.story.kill_aggregator().await?;
    let told = eventually("the loss to be told", async || Ok(Some(ready().await?).filter(|said| said != "ready\n")));
    let told = told.await?;
    assert!(told.starts_with("cluster: "), "{told}");
    Ok(())
}
