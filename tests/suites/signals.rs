//! Each signal in a real container: the kernel's eye names the right workload, container, program and arguments, and of a
//! quiet twin with the same image and the same privileges it tells nothing of the kind.
//!
//! Whose an act was is asked of the API server's objects by the pure inventory, and whose an address by the table of peers, as
//! the agent does it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holdfast_agent::places;
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

/// A cluster in which every row of the table has a container that behaviors and a quiet one, and an open eye on both.
struct Scene {
    plane: ControlPlane,
    sensors: Sensors,
    /// (workload, container) by (uid of the Pod, id of the container).
    places: BTreeMap<(String, String), (String, String)>,
    peers: Peers,
    /// What the table's names of addresses stand for.
    given: Vec<(&'static str, String)>,
    seen: Vec<RuntimeObservation>,
    _programs: TempDir,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_signal_names_who_did_it_and_a_quiet_twin_has_none() -> Result<()> {
    if !Path::new("/sys/kernel/tracing/events/syscalls").exists() && std::env::var_os("HOLDFAST_TRACEFS").is_none() {
        return again_with_tracefs("each_signal_names_who_did_it_and_a_quiet_twin_has_none");
    }
    let Some(mut scene) = Scene::set().await? else { return Ok(()) };
    let mut wrong = Vec::new();
    for row in ROWS {
        if let Err(error) = scene.play(row).await {
            wrong.push(format!("{}: {error:#}", row.name));
        }
    }
    ensure!(wrong.is_empty(), "{} of {} signals:\n{}", wrong.len(), ROWS.len(), wrong.join("\n"));
    ensure!(!format!("{:?}", scene.seen).contains(SECRET), "a secret has left: {:#?}", scene.seen);
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

impl Scene {
    /// Everybody is in place and at rest before the eye opens; none where a tier can't run.
    async fn set() -> Result<Option<Self>> {
        let options = Options { real_nodes: 1, ..Options::default() };
        let plane = ControlPlane::start_with("signals", options, |line| println!("{line}")).await;
        let Some(plane) = tier::available("node", plane)? else { return Ok(None) };
        let programs = behaviors()?;
        plane.namespace("shop", &[]).await?;
        let workloads = [false, true].into_iter().flat_map(|privileged| {
            [true, false].map(|behaviors| deployment(workload(behaviors, privileged), privileged, programs.path()))
        });
        apply(&plane.client().await?, &workloads.chain([service()]).collect::<Vec<_>>()).await?;
        for address in ["169.254.169.254/32", "203.0.113.7/32"] {
            plane.on_node("node-0", &["ip", "address", "add", address, "dev", "lo"]).await?;
        }
        let ready = ["-n", "shop", "wait", "--for=condition=Available", "--timeout=120s", "deployments", "--all"];
        if let Err(late) = plane.kubectl(&ready).await {
            return Err(late.context(plane.kubectl(&["-n", "shop", "describe", "pods"]).await?));
        }
        let places = places(&plane).await?;
        ensure!(places.len() == 2 * ROWS.len(), "not every container runs: {places:?}");
        let (peers, given) = (peers(&plane).await?, given(&plane).await?);
        let Some(sensors) = tier::available("ebpf", Sensors::open().map_err(anyhow::Error::from))? else {
            return Ok(None);
        };
        Ok(Some(Self { plane, sensors, places, peers, given, seen: Vec::new(), _programs: programs }))
    }

    async fn play(&mut self, row: &Row) -> Result<()> {
        let [behaviors, quiet] = [true, false].map(|behaviors| workload(behaviors, row.privileged));
        if !row.quiet.is_empty() {
            self.run(quiet, row.name, row.quiet).await?;
        }
        let does: Vec<_> = row.does.iter().map(|word| self.with_addresses(word)).collect();
        self.run(behaviors, row.name, &does.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        let address = self.with_addresses(row.told.address);
        self.until(behaviors, row, &format!("{:?}", row.told), |observation| row.told.by(observation, &address))?;
        self.peer(behaviors, row, &address)?;
        // What comes through the ring keeps its order: whatever the twin did has come as well.
        let loud: Vec<_> = self.of(quiet, row.name).filter(|observation| observation.kind == row.told.kind).collect();
        ensure!(loud.is_empty(), "the quiet twin is told of: {loud:#?}");
        self.run(quiet, row.name, &["true"]).await?;
        let watched = |observation: &RuntimeObservation| {
            observation.kind == SignalKind::ProcessStart && observation.name == "true"
        };
        self.until(quiet, row, "the twin itself to be watched", watched)
    }

    fn with_addresses(&self, text: &str) -> String {
        self.given.iter().fold(text.to_owned(), |text, (name, address)| text.replace(name, address))
    }

    /// The other end of what was told is whose the table says.
    fn peer(&self, workload: &str, row: &Row, address: &str) -> Result<()> {
        let observation =
            self.of(workload, row.name).find(|observation| row.told.by(observation, address)).context("forgotten")?;
        let peer = observation.address.map(|address| self.peers.resolve(address, observation.last).to_string());
        let (peer, expected) = (peer.unwrap_or_default(), self.with_addresses(row.told.peer));
        ensure!(peer == expected, "{address} is told to be {peer:?} and is {expected:?}");
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
        told: impl Fn(&RuntimeObservation) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.of(workload, row.name).any(&told) {
            let seen: Vec<_> = self.of(workload, row.name).collect();
            ensure!(Instant::now() < deadline, "waited for {what}; of {workload} only {seen:#?}");
            self.sensors.wait(Duration::from_millis(200))?;
            self.seen.extend(self.sensors.poll());
        }
        Ok(())
    }

    /// What was seen of a container, named as the API server names it.
    fn of<'a>(&'a self, workload: &'a str, container: &'a str) -> impl Iterator<Item = &'a RuntimeObservation> {
        self.seen.iter().filter(move |observation| {
            let place = self.places.get(&(observation.pod.clone(), observation.container.clone()));
            place.is_some_and(|(of, name)| of == &format!("Deployment shop/{workload}") && name == container)
        })
    }
}

/// The name of one of the four Deployments.
fn workload(behaviors: bool, privileged: bool) -> &'static str {
    match (behaviors, privileged) {
        (true, false) => "behaviors",
        (false, false) => "quiet",
        (true, true) => "behaviors-privileged",
        (false, true) => "quiet-privileged",
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

/// What the quiet Pod may be asked by.
fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "quiet", "namespace": "shop"},
        "spec": {"selector": {"app": "quiet"}, "ports": [{"port": 80}]},
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
        let (key, placed) = (ObjectKey::of(&known), places::read(known.kind, object.to_string().as_bytes()));
        inventory.apply(known);
        if let Some(mut placed) = placed {
            placed.owner = inventory.subject_of(&key).cloned();
            peers.put_pod(&placed.uid, placed.peer(), &placed.node, &placed.addresses);
        }
    }
    Ok(peers)
}

/// Addresses that the cluster has given, by their names in the table.
async fn given(plane: &ControlPlane) -> Result<Vec<(&'static str, String)>> {
    let ask = async |what: &[&str]| plane.kubectl(&[&["-n", "shop", "get"], what].concat()).await;
    let pod = ["pods", "-l", "app=quiet", "-o"];
    Ok(vec![
        ("{pod}", ask(&[&pod[..], &["jsonpath={.items[0].status.podIP}"]].concat()).await?),
        ("{pod-name}", ask(&[&pod[..], &["jsonpath={.items[0].metadata.name}"]].concat()).await?),
        ("{node}", ask(&[&pod[..], &["jsonpath={.items[0].status.hostIP}"]].concat()).await?),
        ("{service}", ask(&["service", "quiet", "-o", "jsonpath={.spec.clusterIP}"]).await?),
    ])
}

async fn objects(plane: &ControlPlane, ask: &[&str]) -> Result<Vec<Value>> {
    let mut answer: Value = serde_json::from_str(&plane.kubectl(ask).await?)?;
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

/// A folder with what no program of the image does.
fn behaviors() -> Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("holdfast-behaviors-").tempdir()?;
    let source = folder.path().join("behaviors.c");
    std::fs::write(&source, include_str!("signals/behaviors.c"))?;
    let output =
        Command::new("cc").args(["-static", "-Os", "-o"]).arg(folder.path().join("behaviors")).arg(&source).output()?;
    ensure!(output.status.success(), "cc: {}", String::from_utf8_lossy(&output.stderr));
    Ok(folder)
}

/// Every container of every Pod, under its top owner.
async fn places(plane: &ControlPlane) -> Result<BTreeMap<(String, String), (String, String)>> {
    let objects = objects(plane, &["-n", "shop", "get", "deployments,replicasets,pods", "-o", "json"]).await?;
    let mut inventory = Inventory::complete();
    for object in &objects {
        inventory.apply(read(object)?);
    }
    let mut places = BTreeMap::new();
    for pod in objects.iter().filter(|object| object["kind"] == "Pod") {
        let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
        let owner = inventory.subject_of(&ObjectKey::namespaced(&POD, "shop", text("name"))).context("nobody's Pod")?;
        for status in pod["status"]["containerStatuses"].as_array().into_iter().flatten() {
            let [id, name] = ["containerID", "name"].map(|field| status[field].as_str().unwrap_or_default());
            let id = id.strip_prefix("containerd://").with_context(|| format!("{name} does not run"))?;
            places.insert((text("uid").to_owned(), id.to_owned()), (owner.to_string(), name.to_owned()));
        }
    }
    Ok(places)
}
