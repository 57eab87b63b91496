//! Latencies of one running Holdfast: from a change in the cluster until the API shows it, and from a requested retest until
//! its verdict; and the bytes that an agent sends when it reconnects and nothing has changed.
//!
//! Each is compared with its floor: a raw watch that receives the same change, a raw quorum read of the same object, and the
//! bytes of a first connection. All three are measured in clusters of four sizes: none of them should grow.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use holdfast_agent::collect::path;
use holdfast_controls::Kind;
use holdfast_controls::inventory::ObjectKey;
use holdfast_model::{ClusterId, ControlId, FindingKey, Resource};
use holdfast_tests::scenario::{Agent, Scenario};
use rand::Rng;
use serde_json::Value;
use tokio::time::sleep;

use super::{cold_start, stored};
use crate::client::{Client, Stream};
use crate::figure::{Effort, Figure, Peer, Samples};
use crate::fixture;
use crate::load::{Cluster, privileged};
use crate::proxy::Proxy;

const CONTROL: &str = "workload.privileged";
/// No byte for this long: the agent has sent everything. Less than a heartbeat's period.
const SILENCE: Duration = Duration::from_millis(1_500);

/// The three figures.
pub fn measure(effort: &Effort) -> Result<Vec<Figure>> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(live(effort))
}

/// Samples of one quantity and of its floor, and the medians at every size.
#[derive(Default)]
struct Measurement {
    ours: Samples,
    floor: Samples,
    curve: Vec<(usize, f64)>,
}

impl Measurement {
    fn start(&mut self) {
        (self.ours, self.floor) = Default::default();
    }

    fn end(&mut self, n: usize) {
        self.curve.push((n, self.ours.median()));
    }

    fn figure(self, name: &str, unit: &'static str, floor: &'static str, aim: &'static str) -> Figure {
        Figure {
            name: name.to_owned(),
            unit,
            n: self.curve.last().map_or(0, |(n, _)| *n),
            samples: self.ours,
            cpu: None,
            peak: None,
            peers: vec![Peer { name: floor, samples: self.floor }],
            curve: self.curve,
            aim,
        }
    }
}

async fn live(effort: &Effort) -> Result<Vec<Figure>> {
    let mut fixture = Fixture::prepare().await?;
    let (mut visible, mut verdict, mut reconnect) = <(Measurement, Measurement, Measurement)>::default();
    let mut source = fixture::source();
    let sizes = effort.sizes(8_000);
    for n in sizes {
        fixture.cluster.grow_to(n, |i| fixture::idle_workload(&mut source, i)).await?;
        // The smaller sizes are there for the curve of the medians: a quarter of the samples is enough for that.
        let samples = if Some(&n) == sizes.last() { effort.samples() } else { effort.samples().div_ceil(4) };
        let targets = fixture.plant(n, samples).await?;
        let everything = fixture.restart_agent().await?;

        visible.start();
        for target in &targets {
            fixture.change(target, &mut visible).await?;
        }
        visible.end(n);

        verdict.start();
        for target in &targets {
            fixture.retest(target, &mut verdict).await?;
        }
        verdict.end(n);

        reconnect.start();
        for _ in 0..effort.rounds() {
            let (_, bytes) = fixture.bytes_after(|fixture| fixture.proxy.close_all()).await?;
            reconnect.ours.push(bytes as f64);
            reconnect.floor.push(everything as f64);
        }
        reconnect.end(n);
    }
    Ok(vec![
        visible.figure("change in the cluster to visible in the API", "ms", "raw watch", "p99 150 ms"),
        verdict.figure("click to verdict of a retest", "ms", "raw quorum GET", "p99 500 ms"),
        reconnect.figure("reconnect, nothing changed", "bytes", "first connection", "1 KiB"),
    ])
}

/// One Deployment that is changed and retested.
struct Target {
    deployment: Value,
    path: String,
    finding: String,
}

struct Fixture {
    cluster: Cluster,
    /// Stops when the fixture is dropped.
    _scenario: Scenario,
    agent: Agent,
    proxy: Proxy,
    client: Client,
    changes: Stream<(String, Value)>,
    watched: Stream<String>,
}

impl Fixture {
    async fn prepare() -> Result<Self> {
        let cluster = Cluster::start("bench-live").await?;
        let scenario = Scenario::start().await?;
        let proxy = Proxy::open(scenario.agents_port()).await?;
        let agent = scenario.join_through(&cluster.plane, proxy.port).await?;
        cold_start::evaluated(&agent).await?;
        let client = Client::new(&scenario)?;
        let changes = client.changes().await?;
        let watched = watch(&cluster).await?;
        Ok(Self { cluster, _scenario: scenario, agent, proxy, client, changes, watched })
    }

    /// Creates Deployments on which no control fails, to be changed and retested.
    async fn plant(&self, size: usize, count: usize) -> Result<Vec<Target>> {
        let cluster: ClusterId = self.agent.cluster.parse().map_err(anyhow::Error::msg)?;
        let kind = Kind::find("apps", "Deployment").context("the agent reads Deployments")?;
        let target = |i: usize| {
            let mut deployment = fixture::compliant(i);
            let name = format!("target-{size}-{i}");
            deployment["metadata"]["name"] = name.as_str().into();
            let namespace = deployment["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
            let resource = Resource::namespaced("apps", "Deployment", &namespace, &name);
            let key = FindingKey { cluster, resource, control: ControlId::known(CONTROL) };
            let path = path::object(&ObjectKey { kind, namespace: Some(namespace), name });
            Target { deployment, path, finding: key.finding_id().to_string() }
        };
        let targets: Vec<_> = (0..count).map(target).collect();
        self.cluster.create(targets.iter().map(|target| target.deployment.clone()).collect()).await?;
        Ok(targets)
    }

    /// Restarts the agent and waits until it and the aggregator agree on everything; answers the bytes sent for it.
    async fn restart_agent(&mut self) -> Result<u64> {
        self.agent.kill().await?;
        self.proxy.close_all();
        self.agent.restart()?;
        let failing = cold_start::evaluated(&self.agent).await?;
        stored::stored(&self.client, failing).await?;
        let (_, bytes) = self.bytes_after(|_| ()).await?;
        Ok(bytes)
    }

    /// Makes a target privileged, and measures until the API shows the finding, and until a raw watch shows the change.
    async fn change(&mut self, target: &Target, into: &mut Measurement) -> Result<()> {
        sleep(Duration::from_millis(rand::rng().random_range(0..60))).await;
        let start = Instant::now();
        self.cluster.patch(&target.path, &privileged(&target.deployment)).await?;
        let received =
            self.watched.until("the raw watch", |name| *name == target.deployment["metadata"]["name"]).await?;
        let is_it = |(event, data): &(String, Value)| event == "finding" && data["finding_id"] == target.finding;
        self.changes.until("the finding", is_it).await?;
        let finding = self.client.get(&format!("/findings/{}", target.finding)).await?;
        ensure!(finding["status"] == "open", "the API shows {finding}");
        into.ours.push(millis(start.elapsed()));
        into.floor.push(millis(received - start));
        Ok(())
    }

    /// Requests a retest, and measures until the API shows the verdict; then reads the same object raw.
    async fn retest(&mut self, target: &Target, into: &mut Measurement) -> Result<()> {
        sleep(Duration::from_millis(rand::rng().random_range(0..60))).await;
        let start = Instant::now();
        let requested = self.client.post(&format!("/findings/{}/retest", target.finding)).await?;
        let retest = requested["retest_id"].as_str().context("a retest was requested")?;
        self.changes.until("the verdict", |(event, data)| event == "retest" && data["retest_id"] == retest).await?;
        let shown = self.client.get(&format!("/retests/{retest}")).await?;
        ensure!(shown["verdict"] == "still-failing" && shown["settled"] == true, "the API shows {shown}");
        into.ours.push(millis(start.elapsed()));
        let start = Instant::now();
        let answer = self.cluster.api().get(&target.path).await?;
        ensure!(answer.status.is_success(), "{} answers {}", target.path, answer.status);
        into.floor.push(millis(start.elapsed()));
        Ok(())
    }

    /// Performs an action and waits until no more bytes come; answers the connections and the bytes since.
    async fn bytes_after(&self, action: impl FnOnce(&Self)) -> Result<(u64, u64)> {
        action(self);
        let deadline = Instant::now() + Duration::from_secs(60);
        let (mut known, mut since) = (self.proxy.counted(), Instant::now());
        while known.1 == 0 || since.elapsed() < SILENCE {
            ensure!(Instant::now() < deadline, "the agent did not connect and finish sending:\n{}", self.agent.log());
            sleep(Duration::from_millis(20)).await;
            let now = self.proxy.counted();
            if now != known {
                (known, since) = (now, Instant::now());
            }
        }
        Ok(known)
    }
}

/// A raw watch of all Deployments from now on: the names of those that change.
async fn watch(cluster: &Cluster) -> Result<Stream<String>> {
    let kind = Kind::find("apps", "Deployment").context("the agent reads Deployments")?;
    let mut body = cluster.api().open(&path::watch(kind, "", 7_200), "application/json").await?;
    let (sender, stream) = Stream::new();
    tokio::spawn(async move {
        let mut text = Vec::new();
        while let Some(Ok(bytes)) = body.next().await {
            text.extend_from_slice(&bytes);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line).unwrap_or_default();
                let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                if event["type"] == "MODIFIED" && sender.send((Instant::now(), name)).is_err() {
                    return;
                }
            }
        }
    });
    Ok(stream)
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1_000.0
}
