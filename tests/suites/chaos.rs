//! Chaos: programs are killed at random while workloads are created, changed and deleted. Afterwards the record must equal a
//! fresh inventory of the cluster, and every finding's history must be consistent.
//!
//! `HOLDFAST_CHAOS_SECONDS` sets how long (90 by default), `HOLDFAST_CHAOS_SEED` repeats the choices of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use holdfast_lab::{ControlPlane, SHELL, apply};
use holdfast_tests::installed::{Form, Installed, fixture, state};
use holdfast_tests::inventory::{self, Identity};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const CLUSTER: &str = "prod-eu";
const NODES: u16 = 2;
/// The workload whose writes are counted, and how many kernel views of its writable root may be counted besides.
const WRITER: &str = "writer";
const VIEWS: u64 = 50;
/// How long the cluster and the record may take to settle.
const SETTLE_WITHIN: Duration = Duration::from_secs(180);
/// The longest time until a killed program of a node is started again.
const DOWN: Duration = Duration::from_secs(8);

/// What may be done to the cluster.
#[derive(Debug, Clone, Copy)]
enum ChaosAction {
    NodeAgent,
    Leader,
    Standby,
    Aggregator,
    Containerd,
    Kubelet,
    Apply,
    Delete,
    Scale,
    Grant,
}

/// What is killed: every round goes through all of these in a new random order.
const KILLS: [ChaosAction; 7] = [
    ChaosAction::NodeAgent,
    ChaosAction::Leader,
    ChaosAction::Leader,
    ChaosAction::Standby,
    ChaosAction::Aggregator,
    ChaosAction::Containerd,
    ChaosAction::Kubelet,
];

/// What users do meanwhile.
const CHANGES: [ChaosAction; 6] = [
    ChaosAction::Apply,
    ChaosAction::Apply,
    ChaosAction::Apply,
    ChaosAction::Delete,
    ChaosAction::Scale,
    ChaosAction::Grant,
];

/// A run: its random choices, the programs that are down, and how often each action was done.
struct ChaosRun<'a> {
    plane: &'a ControlPlane,
    random: StdRng,
    /// Programs of nodes that are down, and when they are started again.
    down: BTreeMap<(String, &'static str), Instant>,
    done: BTreeMap<&'static str, u32>,
}

impl ChaosRun<'_> {
    async fn run(&mut self, length: Duration) -> Result<()> {
        let end = Instant::now() + length;
        let (mut kills, mut next) = (Vec::new(), Instant::now());
        while Instant::now() < end {
            if Instant::now() >= next {
                if kills.is_empty() {
                    kills = KILLS.to_vec();
                    kills.shuffle(&mut self.random);
                }
                self.do_one(kills.pop().context("nothing to kill")?).await?;
                next = Instant::now() + Duration::from_millis(self.random.random_range(1000..6000));
            }
            let change = *CHANGES.choose(&mut self.random).context("nothing to do")?;
            self.do_one(change).await?;
            self.restart_due(Instant::now())?;
            tokio::time::sleep(Duration::from_millis(self.random.random_range(50..900))).await;
        }
        self.restart_due(Instant::now() + 2 * DOWN)
    }

    async fn do_one(&mut self, action: ChaosAction) -> Result<()> {
        let done = self.perform(action).await.with_context(|| format!("{action:?}"))?;
        *self.done.entry(name(action)).or_default() += u32::from(done);
        Ok(())
    }

    /// Performs an action; false where the cluster has no target for it.
    async fn perform(&mut self, action: ChaosAction) -> Result<bool> {
        match action {
            ChaosAction::NodeAgent => {
                let node = self.node();
                let pod = self.pod("holdfast-node", &format!("--field-selector=spec.nodeName={node}")).await?;
                self.kill("holdfast-node", pod).await
            }
            ChaosAction::Leader => {
                let leader = self.leader().await?;
                self.kill("holdfast-agent", leader).await
            }
            ChaosAction::Standby => {
                let leader = self.leader().await?.unwrap_or_default();
                let pod = self.pod("holdfast-agent", &format!("--field-selector=metadata.name!={leader}")).await?;
                self.kill("holdfast-agent", pod).await
            }
            ChaosAction::Aggregator => self.kill("holdfast", Some("holdfast-aggregator-0".to_owned())).await,
            ChaosAction::Containerd => self.kill_on_node("containerd"),
            ChaosAction::Kubelet => self.kill_on_node("kubelet"),
            ChaosAction::Apply => {
                let replicas = self.random.random_range(0..3);
                let object = workload(&self.workload(), self.random.random_bool(0.5), replicas);
                apply(&self.plane.client().await?, &[object]).await.map(|()| true)
            }
            ChaosAction::Delete => {
                let line =
                    ["-n", "shop", "delete", "deployment", &self.workload(), "--ignore-not-found", "--wait=false"];
                self.plane.kubectl(&line).await.map(|output| !output.is_empty())
            }
            ChaosAction::Scale => {
                let (name, replicas) = (self.workload(), self.random.random_range(0..3));
                let line = ["-n", "shop", "scale", "deployment", &name, &format!("--replicas={replicas}")];
                // A Deployment of this name may not exist.
                Ok(self.plane.kubectl(&line).await.is_ok())
            }
            ChaosAction::Grant => {
                let verbs = if self.random.random_bool(0.5) { "*" } else { "get" };
                let rule = json!({"apiGroups": [""], "resources": ["pods"], "verbs": [verbs]});
                let role = json!({
                    "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
                    "metadata": {"name": "deployer", "namespace": "shop"}, "rules": [rule],
                });
                apply(&self.plane.client().await?, &[role]).await.map(|()| true)
            }
        }
    }

    fn workload(&mut self) -> String {
        format!("web-{}", self.random.random_range(0..5))
    }

    fn node(&mut self) -> String {
        format!("node-{}", self.random.random_range(0..NODES))
    }

    /// Kills a program of a node and schedules its restart.
    fn kill_on_node(&mut self, program: &'static str) -> Result<bool> {
        let node = self.node();
        if self.down.contains_key(&(node.clone(), program)) {
            return Ok(false);
        }
        self.plane.kill_on_node(&node, program)?;
        let down_for = Duration::from_millis(self.random.random_range(500..u64::try_from(DOWN.as_millis())?));
        self.down.insert((node, program), Instant::now() + down_for);
        Ok(true)
    }

    /// Starts the programs whose restart is due, and those that ended because another one was down.
    fn restart_due(&mut self, now: Instant) -> Result<()> {
        self.down.retain(|_, due| *due > now);
        for node in self.plane.node_names() {
            for program in ["containerd", "kubelet"] {
                if !self.down.contains_key(&(node.clone(), program)) {
                    self.plane.restart_on_node(&node, program)?;
                }
            }
        }
        Ok(())
    }

    async fn leader(&self) -> Result<Option<String>> {
        let lease = ["-n", "holdfast-agent", "get", "lease", "holdfast-agent", "-o", "jsonpath={.spec.holderIdentity}"];
        let holder = self.plane.kubectl(&lease).await?;
        Ok(holder.split('_').next().filter(|name| !name.is_empty()).map(str::to_owned))
    }

    async fn pod(&self, namespace: &str, selector: &str) -> Result<Option<String>> {
        let names = self.plane.kubectl(&["-n", namespace, "get", "pods", selector, "-o", "name"]).await?;
        Ok(names.lines().next().and_then(|name| name.strip_prefix("pod/")).map(str::to_owned))
    }

    /// `kill -9` for every process of a Pod's first container.
    async fn kill(&self, namespace: &str, pod: Option<String>) -> Result<bool> {
        let Some(pod) = pod else { return Ok(false) };
        let id = "jsonpath={.status.containerStatuses[0].containerID}";
        let Ok(id) = self.plane.kubectl(&["-n", namespace, "get", "pod", &pod, "-o", id]).await else {
            return Ok(false);
        };
        let Some((_, id)) = id.split_once("://").filter(|(_, id)| id.len() >= 32) else { return Ok(false) };
        Ok(kill_processes(id)? > 0)
    }
}

fn name(action: ChaosAction) -> &'static str {
    match action {
        ChaosAction::NodeAgent => "node agents killed",
        ChaosAction::Leader => "leaders killed",
        ChaosAction::Standby => "standbys killed",
        ChaosAction::Aggregator => "aggregators killed",
        ChaosAction::Containerd => "containerds killed",
        ChaosAction::Kubelet => "kubelets killed",
        ChaosAction::Apply => "workloads applied",
        ChaosAction::Delete => "workloads deleted",
        ChaosAction::Scale => "workloads scaled",
        ChaosAction::Grant => "roles changed",
    }
}

/// Kills the processes in a container's control group; finds them in /proc, as containerd may be down.
fn kill_processes(container: &str) -> Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        // A process may end while it is read.
        let groups = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        if groups.lines().any(|line| line.ends_with(container)) && kill_process(pid, Signal::KILL).is_ok() {
            count += 1;
        }
    }
    Ok(count)
}

fn workload(name: &str, privileged: bool, replicas: u32) -> Value {
    deployment(name, &["sleep", "infinity"], privileged, replicas)
}

/// A Deployment whose container repeatedly writes to a file under /etc how often it has written.
fn writer() -> Value {
    let line = "n=0; while n=$((n+1)); do echo $n >/etc/written; sleep 0.1; done";
    deployment(WRITER, &["sh", "-c", line], false, 1)
}

fn deployment(name: &str, command: &[&str], privileged: bool, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "web", "image": SHELL, "imagePullPolicy": "Never", "command": command,
                    "securityContext": {"privileged": privileged},
                }],
            }},
        },
    })
}

fn number(variable: &str, otherwise: u64) -> Result<u64> {
    match std::env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable} is not a number")),
        Err(_) => Ok(otherwise),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_random_kills_the_record_equals_a_fresh_inventory() -> Result<()> {
    let seconds = number("HOLDFAST_CHAOS_SECONDS", 90)?;
    let seed = number("HOLDFAST_CHAOS_SEED", rand::random())?;
    let Some((plane, mut installed)) = fixture(CLUSTER, NODES, Form::Apart).await? else { return Ok(()) };
    println!("HOLDFAST_CHAOS_SEED={seed} HOLDFAST_CHAOS_SECONDS={seconds}");
    let result = scenario(&plane, &mut installed, seed, Duration::from_secs(seconds)).await;
    let state = if result.is_err() { state(&plane).await } else { String::new() };
    result.with_context(|| format!("HOLDFAST_CHAOS_SEED={seed}\n{state}"))
}

async fn scenario(plane: &ControlPlane, installed: &mut Installed, seed: u64, length: Duration) -> Result<()> {
    plane.namespace("shop", &[]).await?;
    installed.connect_directly(plane).await?;
    apply(&plane.client().await?, &[writer()]).await?;
    let random = StdRng::seed_from_u64(seed);
    let mut run = ChaosRun { plane, random, down: BTreeMap::new(), done: BTreeMap::new() };
    run.run(length).await?;
    println!("{:?}", run.done);
    let ended = Instant::now();
    settled("every kubelet to answer", async || {
        run.restart_due(Instant::now())?;
        kubelets_answer(plane).await
    })
    .await?;
    plane.kubectl(&["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=120s"]).await?;
    settled("the record to equal the cluster", async || the_record_equals_the_cluster(plane, installed).await).await?;
    settled("nothing to be verified that fails", async || nothing_is_verified_that_fails(plane, installed).await)
        .await?;
    settled("coverage of exactly the nodes", async || coverage_names_the_nodes(plane, installed).await).await?;
    println!("settled {:.1} s after the last action", ended.elapsed().as_secs_f64());
    let verified = installed.holdfast(&["activity", "--verify", "-o", "json"]).await?;
    ensure!(verified["holds"] == true, "the log does not verify: {verified}");
    println!("the log of {} entries verifies", verified["entries"]);
    every_history_is_consistent(installed).await?;
    no_event_is_counted_twice(plane, installed).await
}

/// Waits until a check passes twice in a row.
async fn settled(what: &str, mut check: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let end = Instant::now() + SETTLE_WITHIN;
    let (mut last, mut times) = (String::new(), 0);
    while Instant::now() < end {
        match check().await {
            Ok(()) if times > 0 => return Ok(()),
            Ok(()) => times += 1,
            Err(error) => (last, times) = (format!("{error:#}"), 0),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    bail!("waited {} s for {what}: {last}", SETTLE_WITHIN.as_secs())
}

/// Asks the kubelets: a Node stays Ready for a while after its kubelet has died.
async fn kubelets_answer(plane: &ControlPlane) -> Result<()> {
    for node in plane.node_names() {
        let health = plane.kubectl(&["get", "--raw", &format!("/api/v1/nodes/{node}/proxy/healthz")]).await?;
        ensure!(health.trim() == "ok", "the kubelet of {node} answers {health}");
    }
    Ok(())
}

async fn recorded(installed: &Installed, status: &str) -> Result<BTreeMap<Identity, String>> {
    let rows = installed.holdfast(&["findings", "--cluster", CLUSTER, "--status", status, "-o", "json"]).await?;
    inventory::by_identity(&rows)
}

async fn the_record_equals_the_cluster(plane: &ControlPlane, installed: &Installed) -> Result<()> {
    let live = inventory::failing(plane).await?;
    let open: BTreeSet<_> = recorded(installed, "open,in-progress").await?.into_keys().collect();
    let (missing, left): (Vec<_>, Vec<_>) = (live.difference(&open).collect(), open.difference(&live).collect());
    ensure!(
        missing.is_empty() && left.is_empty(),
        "fails and is not open: {missing:?}; open and does not fail: {left:?}"
    );
    let resolved = recorded(installed, "resolved").await?;
    ensure!(resolved.is_empty(), "not proved yet: {resolved:?}");
    ensure!(!live.is_empty(), "nothing fails in a cluster like this");
    Ok(())
}

async fn nothing_is_verified_that_fails(plane: &ControlPlane, installed: &Installed) -> Result<()> {
    let closed = recorded(installed, "verified,retired").await?;
    let live = inventory::failing(plane).await?;
    let wrong: Vec<_> = closed.iter().filter(|(identity, _)| live.contains(*identity)).collect();
    ensure!(wrong.is_empty(), "closed, and it fails: {wrong:?}");
    println!("{} findings open, {} closed", live.len(), closed.len());
    Ok(())
}

async fn coverage_names_the_nodes(plane: &ControlPlane, installed: &Installed) -> Result<()> {
    let cluster = installed.holdfast(&["cluster", "show", CLUSTER, "-o", "json"]).await?;
    let rows = cluster["coverage"].as_array().context("no coverage")?;
    let rows = rows.iter().filter_map(|row| {
        let name = row["subject"].as_str()?.strip_prefix("node/")?.strip_suffix("/kernel-view")?;
        Some((name.to_owned(), row["state"].as_str().unwrap_or_default().to_owned()))
    });
    let rows: BTreeMap<_, _> = rows.collect();
    ensure!(rows.keys().eq(plane.node_names().iter()), "rows of {rows:?}");
    ensure!(rows.values().all(|state| state == "seen"), "{rows:?}");
    Ok(())
}

/// Each finding was opened once, and its count of reopenings equals the events.
async fn every_history_is_consistent(installed: &Installed) -> Result<()> {
    let all = recorded(installed, "open,in-progress,resolved,verified,retired").await?;
    for id in all.values() {
        let finding = installed.show(id).await?;
        let history = finding["history"].as_array().context("no history")?;
        let count = |event: &str| history.iter().filter(|entry| entry["event"] == event).count();
        ensure!(count("finding-opened") == 1, "{id} was opened {} times: {history:?}", count("finding-opened"));
        let reopened = finding["reopened"].as_u64();
        ensure!(reopened == Some(u64::try_from(count("finding-reopened"))?), "{id}: {reopened:?}: {history:?}");
    }
    println!("{} histories are consistent", all.len());
    Ok(())
}

/// Events that a killed agent had not sent yet are lost, but no event is counted twice or invented.
async fn no_event_is_counted_twice(plane: &ControlPlane, installed: &Installed) -> Result<()> {
    let open = recorded(installed, "open,in-progress").await?;
    let of_writer = |identity: &Identity| identity[3] == WRITER && identity[4] == "workload.read-only-root";
    let (_, id) = open
        .iter()
        .find(|(identity, _)| of_writer(identity))
        .context("the writer has no finding of its writable root")?;
    let counted = installed.show(id).await?["evidence"]["runtime"]["count"].as_u64().unwrap_or_default();
    let line = ["-n", "shop", "exec", &format!("deployment/{WRITER}"), "--", "cat", "/etc/written"];
    let done: u64 = plane.kubectl(&line).await?.trim().parse()?;
    println!("written {done} times, counted {counted}");
    ensure!(counted > 0 && counted <= done + VIEWS, "written {done} times and counted {counted}");
    Ok(())
}
