//! Everything that can be killed is killed at random while workloads come, change and go; afterwards the record is what a
//! fresh look at the cluster says, and its history explains itself.
//!
//! `HOLDFAST_CHAOS_SECONDS` says how long (90 where it says nothing), `HOLDFAST_CHAOS_SEED` repeats a run's choices.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use holdfast_lab::{ControlPlane, SHELL, apply};
use holdfast_tests::installed::{Form, Installed, scene, state};
use holdfast_tests::inventory::{self, Identity};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const CLUSTER: &str = "prod-eu";
const NODES: u16 = 2;
/// The workload whose behaviors are counted, and how many looks at its root may be counted beside them.
const WRITER: &str = "writer";
const LOOKS: u64 = 50;
/// How long everything may take to come to rest.
const REST: Duration = Duration::from_secs(180);
/// How long a node's program stays dead at most.
const DEAD: Duration = Duration::from_secs(8);

/// What may be done to the cluster.
#[derive(Debug, Clone, Copy)]
enum Deed {
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

/// What is killed, each in its turn in an order that is drawn anew every round.
const HARM: [Deed; 7] =
    [Deed::NodeAgent, Deed::Leader, Deed::Leader, Deed::Standby, Deed::Aggregator, Deed::Containerd, Deed::Kubelet];

/// What people do meanwhile.
const WORK: [Deed; 6] = [Deed::Apply, Deed::Apply, Deed::Apply, Deed::Delete, Deed::Scale, Deed::Grant];

/// The storm: what it draws, what it has killed, what it has done.
struct Storm<'a> {
    plane: &'a ControlPlane,
    random: StdRng,
    /// Programs of nodes that are dead, and when they are started again.
    dead: BTreeMap<(String, &'static str), Instant>,
    done: BTreeMap<&'static str, u32>,
}

impl Storm<'_> {
    async fn rage(&mut self, length: Duration) -> Result<()> {
        let end = Instant::now() + length;
        let (mut harm, mut next) = (Vec::new(), Instant::now());
        while Instant::now() < end {
            if Instant::now() >= next {
                if harm.is_empty() {
                    harm = HARM.to_vec();
                    harm.shuffle(&mut self.random);
                }
                self.do_one(harm.pop().context("nothing to kill")?).await?;
                next = Instant::now() + Duration::from_millis(self.random.random_range(1000..6000));
            }
            let work = *WORK.choose(&mut self.random).context("nothing to do")?;
            self.do_one(work).await?;
            self.revive(Instant::now())?;
            tokio::time::sleep(Duration::from_millis(self.random.random_range(50..900))).await;
        }
        self.revive(Instant::now() + 2 * DEAD)
    }

    async fn do_one(&mut self, deed: Deed) -> Result<()> {
        let did = self.act(deed).await.with_context(|| format!("{deed:?}"))?;
        *self.done.entry(name(deed)).or_default() += u32::from(did);
        Ok(())
    }

    /// Does it, where there is anything to do it to.
    async fn act(&mut self, deed: Deed) -> Result<bool> {
        match deed {
            Deed::NodeAgent => {
                let node = self.node();
                let pod = self.pod("holdfast-node", &format!("--field-selector=spec.nodeName={node}")).await?;
                self.kill("holdfast-node", pod).await
            }
            Deed::Leader => {
                let leader = self.leader().await?;
                self.kill("holdfast-agent", leader).await
            }
            Deed::Standby => {
                let leader = self.leader().await?.unwrap_or_default();
                let pod = self.pod("holdfast-agent", &format!("--field-selector=metadata.name!={leader}")).await?;
                self.kill("holdfast-agent", pod).await
            }
            Deed::Aggregator => self.kill("holdfast", Some("holdfast-aggregator-0".to_owned())).await,
            Deed::Containerd => self.fell("containerd"),
            Deed::Kubelet => self.fell("kubelet"),
            Deed::Apply => {
                let replicas = self.random.random_range(0..3);
                let object = workload(&self.workload(), self.random.random_bool(0.5), replicas);
                apply(&self.plane.client().await?, &[object]).await.map(|()| true)
            }
            Deed::Delete => {
                let line =
                    ["-n", "shop", "delete", "deployment", &self.workload(), "--ignore-not-found", "--wait=false"];
                self.plane.kubectl(&line).await.map(|said| !said.is_empty())
            }
            Deed::Scale => {
                let (name, replicas) = (self.workload(), self.random.random_range(0..3));
                let line = ["-n", "shop", "scale", "deployment", &name, &format!("--replicas={replicas}")];
                // There may be none of this name.
                Ok(self.plane.kubectl(&line).await.is_ok())
            }
            Deed::Grant => {
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

    /// Kills a program of a node; it is started again before long.
    fn fell(&mut self, program: &'static str) -> Result<bool> {
        let node = self.node();
        if self.dead.contains_key(&(node.clone(), program)) {
            return Ok(false);
        }
        self.plane.kill_on_node(&node, program)?;
        let dead = Duration::from_millis(self.random.random_range(500..u64::try_from(DEAD.as_millis())?));
        self.dead.insert((node, program), Instant::now() + dead);
        Ok(true)
    }

    /// Starts what has been dead for long enough, and what ended because something else was dead.
    fn revive(&mut self, now: Instant) -> Result<()> {
        self.dead.retain(|_, due| *due > now);
        for node in self.plane.node_names() {
            for program in ["containerd", "kubelet"] {
                if !self.dead.contains_key(&(node.clone(), program)) {
                    self.plane.revive_on_node(&node, program)?;
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
        Ok(killed(id)? > 0)
    }
}

fn name(deed: Deed) -> &'static str {
    match deed {
        Deed::NodeAgent => "node agents killed",
        Deed::Leader => "leaders killed",
        Deed::Standby => "standbys killed",
        Deed::Aggregator => "aggregators killed",
        Deed::Containerd => "containerds killed",
        Deed::Kubelet => "kubelets killed",
        Deed::Apply => "workloads applied",
        Deed::Delete => "workloads deleted",
        Deed::Scale => "workloads scaled",
        Deed::Grant => "roles changed",
    }
}

/// Kills the processes in a container's control group, found without asking any program that may itself be dead.
fn killed(container: &str) -> Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        // A process may end while it is looked at.
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

/// One whose container writes to a file under /etc over and over, and into it how often it did.
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
        Ok(text) => text.parse().with_context(|| format!("{variable} is no number")),
        Err(_) => Ok(otherwise),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_everything_was_killed_at_random_the_record_equals_a_fresh_inventory() -> Result<()> {
    let seconds = number("HOLDFAST_CHAOS_SECONDS", 90)?;
    let seed = number("HOLDFAST_CHAOS_SEED", rand::random())?;
    let Some((plane, mut installed)) = scene(CLUSTER, NODES, Form::Apart).await? else { return Ok(()) };
    println!("HOLDFAST_CHAOS_SEED={seed} HOLDFAST_CHAOS_SECONDS={seconds}");
    let told = story(&plane, &mut installed, seed, Duration::from_secs(seconds)).await;
    let said = if told.is_err() { state(&plane).await } else { String::new() };
    told.with_context(|| format!("HOLDFAST_CHAOS_SEED={seed}\n{said}"))
}

async fn story(plane: &ControlPlane, installed: &mut Installed, seed: u64, length: Duration) -> Result<()> {
    plane.namespace("shop", &[]).await?;
    installed.go_straight(plane).await?;
    apply(&plane.client().await?, &[writer()]).await?;
    let random = StdRng::seed_from_u64(seed);
    let mut storm = Storm { plane, random, dead: BTreeMap::new(), done: BTreeMap::new() };
    storm.rage(length).await?;
    println!("{:?}", storm.done);
    let calm = Instant::now();
    at_rest("every kubelet to answer", async || {
        storm.revive(Instant::now())?;
        kubelets_answer(plane).await
    })
    .await?;
    plane.kubectl(&["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=120s"]).await?;
    at_rest("the record to equal the cluster", async || the_record_equals_the_cluster(plane, installed).await).await?;
    at_rest("nothing to be verified that fails", async || nothing_is_verified_that_fails(plane, installed).await)
        .await?;
    at_rest("coverage of exactly the nodes", async || coverage_names_the_nodes(plane, installed).await).await?;
    println!("at rest {:.1} s after the last deed", calm.elapsed().as_secs_f64());
    let verified = installed.holdfast(&["activity", "--verify", "-o", "json"]).await?;
    ensure!(verified["holds"] == true, "the log does not verify: {verified}");
    println!("the log of {} entries verifies", verified["entries"]);
    every_history_explains_itself(installed).await?;
    no_act_is_counted_twice(plane, installed).await
}

/// Waits until it is so, and still so at a second look.
async fn at_rest(what: &str, mut look: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let end = Instant::now() + REST;
    let (mut last, mut times) = (String::new(), 0);
    while Instant::now() < end {
        match look().await {
            Ok(()) if times > 0 => return Ok(()),
            Ok(()) => times += 1,
            Err(error) => (last, times) = (format!("{error:#}"), 0),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    bail!("waited {} s for {what}: {last}", REST.as_secs())
}

/// A node is called Ready for a while after its kubelet has died.
async fn kubelets_answer(plane: &ControlPlane) -> Result<()> {
    for node in plane.node_names() {
        let said = plane.kubectl(&["get", "--raw", &format!("/api/v1/nodes/{node}/proxy/healthz")]).await?;
        ensure!(said.trim() == "ok", "the kubelet of {node} says {said}");
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

/// Each was opened once, and came back as often as it was closed before.
async fn every_history_explains_itself(installed: &Installed) -> Result<()> {
    let all = recorded(installed, "open,in-progress,resolved,verified,retired").await?;
    for id in all.values() {
        let finding = installed.show(id).await?;
        let history = finding["history"].as_array().context("no history")?;
        let count = |event: &str| history.iter().filter(|entry| entry["event"] == event).count();
        ensure!(count("finding-opened") == 1, "{id} was opened {} times: {history:?}", count("finding-opened"));
        let reopened = finding["reopened"].as_u64();
        ensure!(reopened == Some(u64::try_from(count("finding-reopened"))?), "{id}: {reopened:?}: {history:?}");
    }
    println!("{} histories explain themselves", all.len());
    Ok(())
}

/// What a killed agent's sensors had not told is lost; nothing is told of that did not happen.
async fn no_act_is_counted_twice(plane: &ControlPlane, installed: &Installed) -> Result<()> {
    let open = recorded(installed, "open,in-progress").await?;
    let of_writer = |identity: &Identity| identity[3] == WRITER && identity[4] == "workload.read-only-root";
    let (_, id) = open.iter().find(|(identity, _)| of_writer(identity)).context("the writer's root is no finding")?;
    let counted = installed.show(id).await?["evidence"]["runtime"]["count"].as_u64().unwrap_or_default();
    let line = ["-n", "shop", "exec", &format!("deployment/{WRITER}"), "--", "cat", "/etc/written"];
    let done: u64 = plane.kubectl(&line).await?.trim().parse()?;
    println!("written {done} times, counted {counted}");
    ensure!(counted > 0 && counted <= done + LOOKS, "written {done} times and counted {counted}");
    Ok(())
}
