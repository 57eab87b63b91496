//! Each kind of signal in a real container: the sensors report the right workload, container, program and arguments, and no
//! signal of that kind for the negative case, a container with the same image and privileges that runs something similar.
//!
//! As in the agent, the inventory maps a Pod to its workload, and the table of peers maps an address to its owner.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holdfast_agent_core::pod_index;
use holdfast_controls::facts::Facts;
use holdfast_controls::facts::workload::POD;
use holdfast_controls::inventory::ObjectKey;
use holdfast_controls::peers::Peers;
use holdfast_controls::{Inventory, Kind, Object, project};
use holdfast_ebpf::Sensors;
use holdfast_lab::{ControlPlane, Options, SHELL, apply};
use holdfast_model::{RuntimeObservation, SignalKind};
use holdfast_tests::tier;
use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "signals/table.rs"]
mod table;
use table::{ROWS, Row, SECRET};

const PATIENCE: Duration = Duration::from_secs(20);

/// A cluster in which every row of the table has a container that triggers the signal and one for the negative case, and
/// sensors that observe both.
struct Fixture {
    plane: ControlPlane,
    sensors: Sensors,
    /// (workload, container) by (uid of the Pod, id of the container).
    containers: BTreeMap<(String, String), (String, String)>,
    peers: Peers,
    /// The values of the table's placeholders for addresses.
    addresses: Vec<(&'static str, String)>,
    observed: Vec<RuntimeObservation>,
    _programs: TempDir,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_signal_names_its_container_and_the_negative_case_has_none() -> Result<()> {
    if !Path::new("/sys/kernel/tracing/events/syscalls").exists() && std::env::var_os("HOLDFAST_TRACEFS").is_none() {
        return again_with_tracefs("each_signal_names_its_container_and_the_negative_case_has_none");
    }
    let Some(mut fixture) = Fixture::prepare().await? else { return Ok(()) };
    let mut wrong = Vec::new();
    for row in ROWS {
        if let Err(error) = fixture.check(row).await {
            wrong.push(format!("{}: {error:#}", row.name));
        }
    }
    ensure!(wrong.is_empty(), "{} of {} signals:\n{}", wrong.len(), ROWS.len(), wrong.join("\n"));
    ensure!(
        !format!("{:?}", fixture.observed).contains(SECRET),
        "a secret is in an observation: {:#?}",
        fixture.observed
    );
    Ok(())
}

/// Runs this test in a mount namespace of its own, where tracefs is mounted.
fn again_with_tracefs(test: &str) -> Result<()> {
    let script = "mount -t tracefs tracefs /sys/kernel/tracing; exec \"$0\" --exact \"$1\" --nocapture";
    let status = Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .arg(std::env::current_exe()?)
        .arg(test)
        .env("HOLDFAST_TRACEFS", "mounted")
        .status()?;
    ensure!(status.success(), "{test} failed in its own mount namespace");
    Ok(())
}

impl Fixture {
    /// Starts every container before the sensors; `None` where a tier can't run.
    async fn prepare() -> Result<Option<Self>> {
        let options = Options { real_nodes: 1, ..Options::default() };
        let plane = ControlPlane::start_with("signals", options, |line| println!("{line}")).await;
        let Some(plane) = tier::available("node", plane)? else { return Ok(None) };
        let programs = behaviors()?;
        plane.namespace("shop", &[]).await?;
        let workloads = [false, true].into_iter().flat_map(|privileged| {
            [true, false].map(|active| deployment(workload(active, privileged), privileged, programs.path()))
        });
        apply(&plane.client().await?, &workloads.chain([service()]).collect::<Vec<_>>()).await?;
        for address in ["169.254.169.254/32", "203.0.113.7/32"] {
            plane.on_node("node-0", &["ip", "address", "add", address, "dev", "lo"]).await?;
        }
        let ready = ["-n", "shop", "wait", "--for=condition=Available", "--timeout=120s", "deployments", "--all"];
        if let Err(late) = plane.kubectl(&ready).await {
            return Err(late.context(plane.kubectl(&["-n", "shop", "describe", "pods"]).await?));
        }
        let containers = containers(&plane).await?;
        ensure!(containers.len() == 2 * ROWS.len(), "not every container runs: {containers:?}");
        let (peers, addresses) = (peers(&plane).await?, addresses(&plane).await?);
        let Some(sensors) = tier::available("ebpf", Sensors::open().map_err(anyhow::Error::from))? else {
            return Ok(None);
        };
        Ok(Some(Self { plane, sensors, containers, peers, addresses, observed: Vec::new(), _programs: programs }))
    }

    async fn check(&mut self, row: &Row) -> Result<()> {
        let [active, negative] = [true, false].map(|active| workload(active, row.privileged));
        if !row.negative.is_empty() {
            self.run(negative, row.name, row.negative).await?;
        }
        let command: Vec<_> = row.command.iter().map(|argument| self.with_addresses(argument)).collect();
        self.run(active, row.name, &command.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        let address = self.with_addresses(row.expected.address);
        let expected = |observation: &RuntimeObservation| row.expected.matches(observation, &address);
        self.until(active, row, &format!("{:?}", row.expected), expected)?;
        self.check_peer(active, row, &address)?;
        // The ring buffer keeps the order: the events of the negative case, which ran first, have been read as well.
        let unexpected: Vec<_> =
            self.of(negative, row.name).filter(|observation| observation.kind == row.expected.kind).collect();
        ensure!(unexpected.is_empty(), "observed of the negative case: {unexpected:#?}");
        self.run(negative, row.name, &["true"]).await?;
        let is_watched = |observation: &RuntimeObservation| {
            observation.kind == SignalKind::ProcessStart && observation.name == "true"
        };
        self.until(negative, row, "any observation of the negative case", is_watched)
    }

    fn with_addresses(&self, text: &str) -> String {
        self.addresses.iter().fold(text.to_owned(), |text, (name, address)| text.replace(name, address))
    }

    /// Checks that the observed address resolves to the row's peer.
    fn check_peer(&self, workload: &str, row: &Row, address: &str) -> Result<()> {
        let observation = self
            .of(workload, row.name)
            .find(|observation| row.expected.matches(observation, address))
            .context("no longer there")?;
        let peer = observation.address.map(|address| self.peers.resolve(address, observation.last).to_string());
        let (peer, expected) = (peer.unwrap_or_default(), self.with_addresses(row.expected.peer));
        ensure!(peer == expected, "{address} resolves to {peer:?} and not to {expected:?}");
        Ok(())
    }

    /// Runs a command in a container to its end.
    async fn run(&self, workload: &str, container: &str, command: &[&str]) -> Result<()> {
        let workload = format!("deployment/{workload}");
        let exec = ["-n", "shop", "exec", &workload, "-c", container, "--"];
        self.plane.kubectl(&[&exec[..], command].concat()).await?;
        Ok(())
    }

    fn until(
        &mut self,
        workload: &str,
        row: &Row,
        what: &str,
        is_expected: impl Fn(&RuntimeObservation) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.of(workload, row.name).any(&is_expected) {
            let observed: Vec<_> = self.of(workload, row.name).collect();
            ensure!(Instant::now() < deadline, "waited for {what}; observed of {workload}: {observed:#?}");
            self.sensors.wait(Duration::from_millis(200))?;
            self.observed.extend(self.sensors.poll());
        }
        Ok(())
    }

    /// The observations of a container, by its workload's and its own name.
    fn of<'a>(&'a self, workload: &'a str, container: &'a str) -> impl Iterator<Item = &'a RuntimeObservation> {
        self.observed.iter().filter(move |observation| {
            let container_of = self.containers.get(&(observation.pod.clone(), observation.container.clone()));
            container_of.is_some_and(|(of, name)| of == &format!("Deployment shop/{workload}") && name == container)
        })
    }
}

/// The name of one of the four Deployments.
fn workload(active: bool, privileged: bool) -> &'static str {
    match (active, privileged) {
        (true, false) => "active",
        (false, false) => "negative",
        (true, true) => "active-privileged",
        (false, true) => "negative-privileged",
    }
}

/// One Pod with a container for each row, all asleep.
fn deployment(name: &str, privileged: bool, programs: &Path) -> Value {
    let containers = ROWS.iter().filter(|row| row.privileged == privileged).map(|row| {
        json!({
            "name": row.name, "image": SHELL, "imagePullPolicy": "Never", "command": ["sleep", "infinity"],
            "securityContext": {"privileged": privileged},
            "volumeMounts": [{"name": "behaviors", "mountPath": "/behaviors", "readOnly": true}],
        })
    });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {
                "terminationGracePeriodSeconds": 0, "hostPID": privileged,
                "containers": containers.collect::<Vec<_>>(),
                "volumes": [{"name": "behaviors", "hostPath": {"path": programs}}],
            }},
        },
    })
}

/// A Service in front of the negative case's Pod.
fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "negative", "namespace": "shop"},
        "spec": {"selector": {"app": "negative"}, "ports": [{"port": 80}]},
    })
}

/// Every Pod and Service of the cluster by its addresses.
async fn peers(plane: &ControlPlane) -> Result<Peers> {
    let mut peers = Peers::default();
    peers.set_complete(true);
    let mut inventory = Inventory::complete();
    for object in
        objects(plane, &["get", "--all-namespaces", "deployments,replicasets,pods,services", "-o", "json"]).await?
    {
        let known = read(&object)?;
        if let (Facts::Service(service), Some(namespace)) = (&known.facts, &known.meta.namespace) {
            peers.put_service(namespace, &known.meta.name, service);
        }
        let (key, pod) = (ObjectKey::of(&known), pod_index::read(known.kind, object.to_string().as_bytes()));
        inventory.apply(known);
        if let Some(mut pod) = pod {
            pod.owner = inventory.subject_of(&key).cloned();
            peers.put_pod(&pod.uid, pod.peer(), &pod.node, &pod.addresses);
        }
    }
    Ok(peers)
}

/// The addresses that the cluster has assigned, by their placeholders in the table.
async fn addresses(plane: &ControlPlane) -> Result<Vec<(&'static str, String)>> {
    let get = async |what: &[&str]| plane.kubectl(&[&["-n", "shop", "get"], what].concat()).await;
    let pod = ["pods", "-l", "app=negative", "-o"];
    Ok(vec![
        ("{pod}", get(&[&pod[..], &["jsonpath={.items[0].status.podIP}"]].concat()).await?),
        ("{pod-name}", get(&[&pod[..], &["jsonpath={.items[0].metadata.name}"]].concat()).await?),
        ("{node}", get(&[&pod[..], &["jsonpath={.items[0].status.hostIP}"]].concat()).await?),
        ("{service}", get(&["service", "negative", "-o", "jsonpath={.spec.clusterIP}"]).await?),
    ])
}

async fn objects(plane: &ControlPlane, arguments: &[&str]) -> Result<Vec<Value>> {
    let mut answer: Value = serde_json::from_str(&plane.kubectl(arguments).await?)?;
    match answer["items"].take() {
        Value::Array(objects) => Ok(objects),
        _ => anyhow::bail!("no items"),
    }
}

/// One object as the agent reads it.
fn read(object: &Value) -> Result<Object> {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let group = text("apiVersion").split_once('/').map_or("", |(group, _)| group);
    Ok(project(Kind::find(group, text("kind")).context("an unknown kind")?, object)?)
}

/// A folder with the program `behaviors`, for calls that no program of the image makes.
fn behaviors() -> Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("holdfast-behaviors-").tempdir()?;
    let source = folder.path().join("behaviors.c");
    std::fs::write(&source, include_str!("signals/behaviors.c"))?;
    let output =
        Command::new("cc").args(["-static", "-Os", "-o"]).arg(folder.path().join("behaviors")).arg(&source).output()?;
    ensure!(output.status.success(), "cc: {}", String::from_utf8_lossy(&output.stderr));
    Ok(folder)
}

/// Every container of every Pod, with its top owner.
async fn containers(plane: &ControlPlane) -> Result<BTreeMap<(String, String), (String, String)>> {
    let objects = objects(plane, &["-n", "shop", "get", "deployments,replicasets,pods", "-o", "json"]).await?;
    let mut inventory = Inventory::complete();
    for object in &objects {
        inventory.apply(read(object)?);
    }
    let mut containers = BTreeMap::new();
    for pod in objects.iter().filter(|object| object["kind"] == "Pod") {
        let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
        let owner = inventory
            .subject_of(&ObjectKey::namespaced(&POD, "shop", text("name")))
            .context("a Pod without an owner")?;
        for status in pod["status"]["containerStatuses"].as_array().into_iter().flatten() {
            let [id, name] = ["containerID", "name"].map(|field| status[field].as_str().unwrap_or_default());
            let id = id.strip_prefix("containerd://").with_context(|| format!("{name} does not run"))?;
            containers.insert((text("uid").to_owned(), id.to_owned()), (owner.to_string(), name.to_owned()));
        }
    }
    Ok(containers)
}
