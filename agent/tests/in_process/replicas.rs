//! Two replicas of the cluster part, one Lease, one Secret: who leads, who follows, and that nothing is lost in between.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use holdfast_agent::collect::Pace;
use holdfast_agent::health::Readiness;
use holdfast_agent::lease::Timing;
use holdfast_agent::node::{NodeConfig, NodeInputs};
use holdfast_agent::relay::RelaySettings;
use holdfast_agent::{AgentConfig, AgentStatus, KubeSource, Shared};
use holdfast_model::runtime_observation::RuntimeObservation;
use holdfast_model::{Observation, RuntimeDetection};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::aggregator::Aggregator;
use crate::api_server::ApiServer;
use crate::nodes::{FakeKernel, observation};
use crate::running::{pod, replica_set};
use crate::{PATIENCE, deployment, ended, fails, web};

const TIMING: Timing =
    Timing { life: Duration::from_secs(1), deadline: Duration::from_millis(600), period: Duration::from_millis(100) };

struct Replica {
    stop: CancellationToken,
    status: watch::Receiver<AgentStatus>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn cluster() -> (ApiServer, Aggregator) {
    let api = ApiServer::start(true).await;
    api.put("deployments", deployment("web", true));
    api.put("leases", json!({"metadata": {"name": "holdfast-agent", "namespace": "holdfast"}}));
    api.put("secrets", json!({"metadata": {"name": "credential", "namespace": "holdfast"}}));
    (api, Aggregator::start().await)
}

fn replica(api: &ApiServer, aggregator: &Aggregator, name: &str) -> Replica {
    replica_with(api, aggregator, name, None)
}

/// One that serves nodes at this port of the loopback.
fn relaying(api: &ApiServer, aggregator: &Aggregator, name: &str, port: u16) -> Replica {
    let account = "holdfast-node/agent".parse().unwrap();
    replica_with(api, aggregator, name, Some(RelaySettings { listen: ([127, 0, 0, 1], port).into(), account }))
}

fn replica_with(api: &ApiServer, aggregator: &Aggregator, name: &str, relay: Option<RelaySettings>) -> Replica {
    let fast = Duration::from_millis(20);
    let shared = Shared {
        namespace: "holdfast".into(),
        lease: "holdfast-agent".into(),
        secret: "credential".into(),
        timing: TIMING,
    };
    let config = AgentConfig {
        join_token: Some(aggregator.token.clone()),
        name: name.into(),
        shared: Some(shared),
        relay,
        runtime_scan: Duration::from_secs(3600),
        pace: Pace { retry: (fast, fast), refused: fast, ..Pace::default() },
        ..AgentConfig::new(KubeSource::Client(api.client.clone()), &aggregator.url, "/nonexistent/nobody-writes-here")
    };
    let (tell, status) = holdfast_agent::status();
    let stop = CancellationToken::new();
    let task = tokio::spawn(holdfast_agent::run(config, tell, stop.clone()));
    Replica { stop, status, task }
}

impl Replica {
    async fn until(&self, what: &str, condition: impl FnMut(&AgentStatus) -> bool) -> AgentStatus {
        let mut status = self.status.clone();
        match tokio::time::timeout(PATIENCE, status.wait_for(condition)).await {
            Ok(reached) => reached.unwrap().clone(),
            Err(_) => panic!("not within {PATIENCE:?}: {what}; {:?}", self.status.borrow().clone()),
        }
    }

    async fn until_leading(&self) {
        self.until("leading", |status| status.link.connected && status.progress.synced).await;
    }
}

#[tokio::test]
async fn of_two_replicas_one_leads_and_both_speak_as_one_agent() {
    let (api, aggregator) = cluster().await;
    let first = replica(&api, &aggregator, "first");
    first.until_leading().await;
    let second = replica(&api, &aggregator, "second");
    let standing_by = second.until("standing by", |status| status.standby.is_some()).await;
    assert!(standing_by.standby.as_ref().unwrap().starts_with("first_"), "{standing_by:?}");
    assert!(!standing_by.link.connected);
    assert_eq!(standing_by.readiness(), Readiness::Ready);
    {
        let record = aggregator.record.lock().unwrap();
        assert_eq!((record.enrolled, record.hellos.len()), (1, 1));
    }

    // A leader that is told to stop gives the Lease back: nobody waits it out.
    first.stop.cancel();
    let stopped = Instant::now();
    second.until_leading().await;
    assert!(stopped.elapsed() < Duration::from_secs(5));
    let record = aggregator.record.lock().unwrap();
    assert_eq!(record.enrolled, 1, "the second one found the first one's credential");
    assert!(fails(&record, &web()) && ended(&record, &web()).is_empty());
    assert_eq!(api.object("leases", "holdfast", "holdfast-agent")["spec"]["leaseTransitions"], 2);
}

#[tokio::test]
async fn a_leader_that_vanishes_is_followed_and_what_changed_meanwhile_is_said() {
    let (api, aggregator) = cluster().await;
    let first = replica(&api, &aggregator, "first");
    first.until_leading().await;
    let second = replica(&api, &aggregator, "second");
    second.until("standing by", |status| status.standby.is_some()).await;

    first.task.abort();
    api.put("deployments", deployment("web", false));
    api.put("deployments", deployment("shop", true));
    let vanished = Instant::now();
    second.until_leading().await;
    assert!(vanished.elapsed() < Duration::from_secs(10), "{:?}", vanished.elapsed());
    let shop = holdfast_model::Resource::namespaced("apps", "Deployment", "shop", "shop");
    let deadline = Instant::now() + PATIENCE;
    while !fails(&aggregator.record.lock().unwrap(), &shop) {
        assert!(Instant::now() < deadline, "the new finding was lost");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let record = aggregator.record.lock().unwrap();
    // What the new leader never saw failing is not said to pass: the aggregator has it retested.
    assert!(!ended(&record, &web()).contains(&Observation::Gone));
    assert_eq!(record.enrolled, 1);
}

#[tokio::test]
async fn a_leader_that_cannot_renew_ends_its_duties_before_the_lease_does() {
    let (api, aggregator) = cluster().await;
    let only = replica(&api, &aggregator, "only");
    only.until_leading().await;
    api.set_read_only(true);
    let refused = Instant::now();
    let lost = only.until("the end of its duties", |status| !status.link.connected && status.link.last_error.is_some());
    let lost = lost.await;
    assert!(refused.elapsed() < TIMING.life, "it worked on for {:?}", refused.elapsed());
    assert!(matches!(lost.readiness(), Readiness::NotReady(_)), "{lost:?}");
    api.set_read_only(false);
    only.until_leading().await;
}

#[tokio::test]
async fn whoever_writes_a_label_into_the_lease_unseats_nobody() {
    let (api, aggregator) = cluster().await;
    let only = replica(&api, &aggregator, "only");
    only.until_leading().await;
    let renewed = || api.object("leases", "holdfast", "holdfast-agent")["spec"]["renewTime"].clone();
    for _ in 0..5 {
        api.overtake_the_next_write();
        while api.is_overtaking() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let before = renewed();
        while renewed() == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let sessions = aggregator.record.lock().unwrap().hellos.len();
    assert_eq!((sessions, only.status.borrow().link.connected), (1, true));
}

/// What the sensors of one node say, through a relay at this port.
fn node(
    api: &ApiServer,
    aggregator: &Aggregator,
    port: u16,
    folder: &Path,
) -> (mpsc::Sender<RuntimeObservation>, DropGuard) {
    api.know_token("node-1", "system:serviceaccount:holdfast-node:agent", "holdfast-relay", "node-1");
    let file = folder.join("token");
    std::fs::write(&file, "node-1").unwrap();
    let config = NodeConfig::new(format!("https://localhost:{port}"), aggregator.token.root, file);
    let (sensors, observations) = mpsc::channel(8);
    let senses = NodeInputs { observations, ..NodeInputs::of(FakeKernel::seeing(&[])) };
    let stop = CancellationToken::new();
    let ready = watch::channel(Readiness::NotReady(String::new())).0;
    tokio::spawn(holdfast_agent::node::run(config, senses, ready, stop.clone()));
    (sensors, stop.drop_guard())
}

/// How often the record has counted that the root of `web` was written to, and how many detection batches came again.
fn counted(aggregator: &Aggregator) -> (u64, usize) {
    let record = aggregator.record.lock().unwrap();
    let of_web = |detection: &&RuntimeDetection| detection.control.as_str() == "workload.read-only-root";
    assert!(record.detections.iter().all(|detection| detection.resource == web()));
    (record.detections.iter().filter(of_web).map(|detection| detection.seen.count).sum(), record.repeated)
}

async fn until_counted(aggregator: &Aggregator, what: &str, condition: impl Fn((u64, usize)) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition(counted(aggregator)) {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}; {:?}", counted(aggregator));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_sensors_saw_is_counted_once_though_the_leader_dies_and_acknowledgements_are_lost() {
    let (api, aggregator) = cluster().await;
    api.put("replicasets", replica_set());
    api.put("pods", pod("web-a", "node-1"));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let first = relaying(&api, &aggregator, "first", port);
    first.until_leading().await;
    let second = relaying(&api, &aggregator, "second", port);
    second.until("standing by", |status| status.standby.is_some()).await;
    let folder = tempfile::tempdir().unwrap();
    let (sensors, _stop) = node(&api, &aggregator, port, folder.path());

    sensors.send(observation("/etc/one")).await.unwrap();
    until_counted(&aggregator, "the first act", |(count, _)| count == 1).await;

    // Committed, and the leader dies before it hears of it.
    aggregator.mute.store(true, Ordering::SeqCst);
    sensors.send(observation("/etc/two")).await.unwrap();
    until_counted(&aggregator, "the second act", |(count, _)| count == 2).await;
    first.task.abort();
    aggregator.mute.store(false, Ordering::SeqCst);
    second.until_leading().await;
    until_counted(&aggregator, "the second act, again", |(_, repeated)| repeated == 1).await;

    // Not committed, and the stream breaks.
    aggregator.acknowledge.store(false, Ordering::SeqCst);
    let hellos = aggregator.record.lock().unwrap().hellos.len();
    sensors.send(RuntimeObservation { count: 7, ..observation("/etc/three") }).await.unwrap();
    aggregator.hang_up();
    until_counted(&aggregator, "another stream", |_| aggregator.record.lock().unwrap().hellos.len() > hellos).await;
    assert_eq!(counted(&aggregator), (2, 1));
    aggregator.acknowledge.store(true, Ordering::SeqCst);
    aggregator.hang_up();
    until_counted(&aggregator, "the rest", |(count, _)| count == 9).await;
    // A last act shows that everything before it has come.
    sensors.send(observation("/etc/last")).await.unwrap();
    until_counted(&aggregator, "the last act", |(count, _)| count >= 10).await;
    assert_eq!(counted(&aggregator).0, 10);
}

#[tokio::test]
async fn a_replica_without_its_secret_says_so() {
    let (api, aggregator) = cluster().await;
    api.vanish("secrets", "holdfast", "credential");
    let only = replica(&api, &aggregator, "only");
    let mut only = only;
    let ended = tokio::time::timeout(PATIENCE, &mut only.task).await.unwrap().unwrap();
    let error = format!("{:#}", ended.unwrap_err());
    assert!(error.contains("the Secret holdfast/credential"), "{error}");
}
