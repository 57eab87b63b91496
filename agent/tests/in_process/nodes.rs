//! Nodes at the relay: who enrols as which node, what they are sent, what they attest to, and when they are shown as failing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holdfast_agent::api::Api;
use holdfast_agent::credential::{AgentKey, Credential};
use holdfast_agent::engine::{EngineCommand, EngineHandle, NodeObservations};
use holdfast_agent::health::Readiness;
use holdfast_agent::node::{Kernel, NodeConfig, NodeInputs, OpenView, Reading, Sensors, ViewUnavailable};
use holdfast_agent::node_views::{NodeViews, ViewAnswer, ViewRequest};
use holdfast_agent::pod_directory::PodDirectory;
use holdfast_agent::relay::{CertificateAnswer, CertificateRequest, Nodes, Relay, RelayContext, RelaySettings};
use holdfast_agent_core::engine::Progress;
use holdfast_agent_core::pod_index::{self, PodIndex};
use holdfast_controls::facts::workload::POD;
use holdfast_model::kernel::{self, Namespaces, NodeStatement, RunningContainer};
use holdfast_model::runtime_observation::{RuntimeObservation, SignalKind};
use holdfast_model::{Coverage, CoverageState, Nonce, RetestId, RootFingerprint};
use holdfast_proto::v1;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::PATIENCE;
use crate::aggregator::{CLUSTER, certificate, certificate_for};
use crate::api_server::ApiServer;

const ACCOUNT: &str = "system:serviceaccount:holdfast-node:agent";
const YEAR: i64 = 365 * 24 * 3_600_000;

/// Batches of runtime observations that came, by node, run and number, and their records.
type Kept = Arc<Mutex<BTreeMap<(String, String, u64), Vec<Vec<u8>>>>>;

/// A relay between an API server and an authority that signs what it is asked to.
struct RelayHarness {
    api: ApiServer,
    pods: PodDirectory,
    index: Mutex<PodIndex>,
    root: RootFingerprint,
    address: SocketAddr,
    nodes: Nodes,
    coverage: Arc<Mutex<BTreeMap<String, Coverage>>>,
    kept: Kept,
    signing: Signing,
    /// The engine's: it has not seen everything yet.
    _progress: watch::Sender<Progress>,
    files: tempfile::TempDir,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Drop for RelayHarness {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A node of a test: whether it is connected, and how it ends.
struct Node {
    ready: watch::Receiver<Readiness>,
    stop: CancellationToken,
    observations: mpsc::Sender<RuntimeObservation>,
    sense: watch::Sender<Sensors>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A kernel that shows what a test sets, or nothing for a reason.
#[derive(Clone)]
pub struct FakeKernel(Arc<Mutex<Result<Vec<RunningContainer>, ViewUnavailable>>>);

impl FakeKernel {
    pub fn seeing(containers: &[(&str, &str)]) -> Self {
        let of = |(pod, id): &(&str, &str)| RunningContainer {
            pod: (*pod).into(),
            id: (*id).into(),
            ..RunningContainer::default()
        };
        Self(Arc::new(Mutex::new(Ok(containers.iter().map(of).collect()))))
    }

    fn set(&self, view: Result<Vec<RunningContainer>, ViewUnavailable>) {
        *self.0.lock().unwrap() = view;
    }
}

impl Kernel for FakeKernel {
    fn open(&self) -> Result<Box<dyn OpenView>, ViewUnavailable> {
        self.0.lock().unwrap().clone().map(|_| Box::new(self.clone()) as Box<dyn OpenView>)
    }
}

impl OpenView for FakeKernel {
    fn read(&mut self) -> Result<Reading, ViewUnavailable> {
        let containers = self.0.lock().unwrap().clone()?;
        let (method, host) = (kernel::ViewMethod::TaskIterator, Namespaces::default());
        Ok(Reading { method, host, seen: 9, containers, incomplete: None })
    }
}

/// A container writes this file, for the first time.
pub fn observation(path: &str) -> RuntimeObservation {
    RuntimeObservation {
        kind: SignalKind::EtcWrite,
        cgroup: 7,
        pod: "uid-web-a".into(),
        container: "c1".into(),
        pid: 1,
        started: 1,
        name: "sh".into(),
        binary: "/bin/sh".into(),
        arguments: Vec::new(),
        path: path.into(),
        object: String::new(),
        address: None,
        count: 1,
        first: 1,
        last: 1,
    }
}

fn unavailable() -> ViewUnavailable {
    ViewUnavailable { state: CoverageState::Forbidden, reason: "CAP_BPF is missing".into() }
}

impl RelayHarness {
    async fn start() -> Self {
        let api = ApiServer::start(true).await;
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.subject_alt_names = vec![SanType::URI("spiffe://holdfast-test".try_into().unwrap())];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = Arc::new(AgentKey::generate().unwrap());
        let name = format!("spiffe://holdfast-test/cluster/{CLUSTER}");
        let own = v1::Certificate {
            certificate: certificate(&authority, key.csr().unwrap(), &name),
            root: authority.der().to_vec(),
            cluster_id: CLUSTER.as_bytes().to_vec(),
            not_after: i64::MAX,
        };
        let root = RootFingerprint::of(&own.root);
        let credential = watch::channel(Credential::enrolled(own, 0).unwrap()).1;
        let (engine, commands, progress) = EngineHandle::new();
        let (requests, wanted) = mpsc::channel(8);
        let (observations, seen) = mpsc::channel(8);
        let pods = PodDirectory::default();
        let settings =
            RelaySettings { listen: "127.0.0.1:0".parse().unwrap(), account: "holdfast-node/agent".parse().unwrap() };
        let context = RelayContext {
            api: Api::new(api.client.clone()),
            pods: pods.clone(),
            key,
            credential,
            requests,
            engine,
            observations: Some(observations),
        };
        let listening = Relay::listen(settings, context).await.unwrap();
        let (address, nodes) = (listening.address(), listening.nodes());
        let (coverage, kept, signing) = (Arc::default(), Arc::default(), Signing::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(listening.serve());
        tasks.spawn(sign(authority, wanted, signing.clone()));
        tasks.spawn(cover(Arc::clone(&coverage), commands));
        tasks.spawn(keep(Arc::clone(&kept), seen));
        let (files, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
        let index = Mutex::default();
        Self {
            api,
            pods,
            index,
            root,
            address,
            nodes,
            coverage,
            kept,
            signing,
            _progress: progress,
            files,
            tasks,
            stop,
        }
    }

    fn put_pod(&self, uid: &str, node: &str, id: &str) {
        let object = json!({
            "metadata": {"uid": uid, "name": uid, "namespace": "shop"}, "spec": {"nodeName": node},
            "status": {"containerStatuses": [{"name": "web", "containerID": format!("containerd://{id}")}]},
        });
        let mut index = self.index.lock().unwrap();
        index.put(*pod_index::read(&POD, object.to_string().as_bytes()).unwrap());
        self.pods.publish(index.take_changes());
    }

    /// A node's agent with a token that the API server knows.
    fn node(&self, name: &str, kernel: FakeKernel) -> Node {
        self.api.know_token(name, ACCOUNT, "holdfast-relay", name);
        self.node_with(name, name, kernel)
    }

    fn node_with(&self, called: &str, token: &str, kernel: FakeKernel) -> Node {
        let file = self.files.path().join(token);
        std::fs::write(&file, token).unwrap();
        let relay = format!("https://localhost:{}", self.address.port());
        let heartbeat = Duration::from_millis(50);
        let config = NodeConfig { name: called.into(), heartbeat, ..NodeConfig::new(relay, self.root, file) };
        let (report, ready) = watch::channel(Readiness::NotReady(String::new()));
        let (observations, seen) = mpsc::channel(8);
        let stop = self.stop.child_token();
        let (sense, sensors) = watch::channel(Sensors::default());
        let senses = NodeInputs { observations: seen, sensors, ..NodeInputs::of(kernel) };
        tokio::spawn(holdfast_agent::node::run(config, senses, report, stop.clone()));
        Node { ready, stop, observations, sense }
    }

    async fn read(&self, number: u8, node: &str, pods: &[&str]) -> ViewAnswer {
        let pods = BTreeMap::from([(node.to_owned(), pods.iter().map(|uid| (*uid).to_owned()).collect())]);
        let (retest, nonce) = (RetestId::from_bytes([number; 16]), Nonce::from_bytes([number; 16]));
        self.nodes.read(ViewRequest { retest, nonce, pods }).await.remove(node).unwrap()
    }

    async fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}; {:?}", self.coverage.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn until_covered(&self, node: &str, state: CoverageState) -> Coverage {
        self.until_row(kernel::coverage_subject(node), state).await
    }

    async fn until_row(&self, subject: String, state: CoverageState) -> Coverage {
        let row = || self.coverage.lock().unwrap().get(&subject).cloned();
        self.until("the coverage", || row().is_some_and(|row| row.state == state)).await;
        row().unwrap()
    }
}

impl Node {
    async fn until_connected(&self) {
        let mut ready = self.ready.clone();
        let connected = ready.wait_for(|ready| *ready == Readiness::Ready);
        tokio::time::timeout(PATIENCE, connected).await.expect("it connects").unwrap();
    }

    async fn refusal(&self) -> String {
        let mut ready = self.ready.clone();
        let refused = ready.wait_for(|ready| matches!(ready, Readiness::NotReady(why) if !why.is_empty()));
        match &*tokio::time::timeout(PATIENCE, refused).await.expect("it is refused").unwrap() {
            Readiness::NotReady(why) => why.clone(),
            Readiness::Ready => unreachable!(),
        }
    }
}

/// How the authority signs: how long certificates live (none: for ever), and how many it has made.
#[derive(Clone, Default)]
struct Signing {
    life: Arc<Mutex<Option<Duration>>>,
    made: Arc<AtomicUsize>,
}

async fn sign(
    authority: CertifiedIssuer<'static, KeyPair>,
    mut wanted: mpsc::Receiver<CertificateRequest>,
    signing: Signing,
) {
    while let Some(CertificateRequest { node, csr, answer }) = wanted.recv().await {
        let name = format!("spiffe://holdfast-test/cluster/{CLUSTER}/node/{node}");
        let life = *signing.life.lock().unwrap();
        answer.send(CertificateAnswer(Ok((certificate_for(&authority, csr, &name, life), YEAR)))).unwrap();
        signing.made.fetch_add(1, Ordering::SeqCst);
    }
}

async fn cover(rows: Arc<Mutex<BTreeMap<String, Coverage>>>, mut commands: mpsc::Receiver<EngineCommand>) {
    while let Some(command) = commands.recv().await {
        if let EngineCommand::Cover(row) = command {
            rows.lock().unwrap().insert(row.subject.clone(), row);
        }
    }
}

async fn keep(kept: Kept, mut seen: mpsc::Receiver<NodeObservations>) {
    while let Some(NodeObservations { id, records, committed }) = seen.recv().await {
        let before = kept.lock().unwrap().insert((id.node, id.run, id.sequence), records.clone());
        // The stream may have ended meanwhile: then the batch comes again as it was.
        assert!(before.is_none_or(|before| before == records));
        let _gone = committed.send(());
    }
}

fn statement(answer: ViewAnswer) -> NodeStatement {
    match answer {
        ViewAnswer::Statement(signed) => serde_json::from_str(&signed.statement).unwrap(),
        ViewAnswer::Missing(why) => panic!("no statement: {why}"),
    }
}

#[tokio::test]
async fn a_node_joins_by_its_token_and_attests_to_what_runs_there() {
    let relay = RelayHarness::start().await;
    relay.put_pod("u1", "worker-1", "c1");
    relay.put_pod("u2", "worker-1", "c2");
    relay.put_pod("u3", "worker-2", "c3");
    let node = relay.node("worker-1", FakeKernel::seeing(&[("u1", "c1"), ("u2", "c2"), ("stranger", "c9")]));
    node.until_connected().await;
    relay.until_covered("worker-1", CoverageState::Seen).await;
    assert_eq!(relay.nodes.available(), ["worker-1"]);

    let stated = statement(relay.read(1, "worker-1", &["u2", "u1", "u1"]).await);
    assert_eq!((stated.node.as_str(), stated.cluster, stated.nonce), ("worker-1", CLUSTER, Nonce::from_bytes([1; 16])));
    assert_eq!(stated.pods, ["u1", "u2"]);
    let named: Vec<_> = stated.containers.iter().map(|c| (c.pod.as_str(), c.name.as_deref())).collect();
    assert_eq!(named, [("u1", Some("web")), ("u2", Some("web"))]);

    // A container that starts later is known by its name as well.
    relay.put_pod("u4", "worker-1", "c4");
    let missing = relay.read(2, "worker-2", &["u3"]).await;
    assert!(matches!(missing, ViewAnswer::Missing(why) if why.contains("no agent")));
    assert_eq!(relay.coverage.lock().unwrap()["node/worker-2/kernel-view"].state, CoverageState::Starting);
    // A node that is added later joins by itself.
    let later = relay.node("worker-2", FakeKernel::seeing(&[("u3", "c3")]));
    later.until_connected().await;
    relay.until_covered("worker-2", CoverageState::Seen).await;
    assert_eq!(statement(relay.read(3, "worker-2", &["u3"]).await).containers.len(), 1);
}

#[tokio::test]
async fn a_token_of_another_audience_or_account_is_refused_and_a_name_is_not_believed() {
    let relay = RelayHarness::start().await;
    let kernel = || FakeKernel::seeing(&[]);
    relay.api.know_token("api-token", ACCOUNT, "https://kubernetes.default.svc", "worker-1");
    relay.api.know_token("other-account", "system:serviceaccount:shop:web", "holdfast-relay", "worker-1");
    let wrong_audience = relay.node_with("worker-1", "api-token", kernel());
    assert!(wrong_audience.refusal().await.contains("does not accept the token"), "{}", wrong_audience.refusal().await);
    let other = relay.node_with("worker-1", "other-account", kernel());
    assert!(other.refusal().await.contains("not of the node agent's service account"));
    let unknown = relay.node_with("worker-1", "made-up", kernel());
    assert!(unknown.refusal().await.contains("does not accept the token"));
    assert!(relay.nodes.available().is_empty());

    relay.api.know_token("of-worker-2", ACCOUNT, "holdfast-relay", "worker-2");
    let misnamed = relay.node_with("worker-1", "of-worker-2", kernel());
    misnamed.until_connected().await;
    relay.until_covered("worker-2", CoverageState::Seen).await;
    assert_eq!(relay.nodes.available(), ["worker-2"]);
}

#[tokio::test]
async fn a_node_whose_kernel_view_is_unavailable_is_shown_so_and_answers_with_the_reason() {
    let relay = RelayHarness::start().await;
    let kernel = FakeKernel::seeing(&[]);
    kernel.set(Err(unavailable()));
    let node = relay.node("worker-1", kernel.clone());
    node.until_connected().await;
    let row = relay.until_covered("worker-1", CoverageState::Forbidden).await;
    assert_eq!(row.reason, "CAP_BPF is missing");
    assert!(relay.nodes.available().is_empty());
    assert!(matches!(relay.read(1, "worker-1", &["u1"]).await, ViewAnswer::Missing(why) if why.contains("CAP_BPF")));

    kernel.set(Ok(Vec::new()));
    relay.until_covered("worker-1", CoverageState::Seen).await;
    assert!(statement(relay.read(2, "worker-1", &["u1"]).await).containers.is_empty());
    kernel.set(Err(unavailable()));
    assert!(matches!(relay.read(3, "worker-1", &["u1"]).await, ViewAnswer::Missing(why) if why.contains("CAP_BPF")));
    relay.until_covered("worker-1", CoverageState::Forbidden).await;
}

#[tokio::test]
async fn a_node_whose_probe_stops_or_that_loses_behaviors_is_shown_and_its_view_stays_available() {
    let relay = RelayHarness::start().await;
    let node = relay.node("worker-1", FakeKernel::seeing(&[]));
    node.until_connected().await;
    let row = async |state| relay.until_row(kernel::sensors_subject("worker-1"), state).await.reason;
    assert!(row(CoverageState::Starting).await.starts_with("its sensors"));
    let now = jiff::Timestamp::now().as_millisecond();
    let sees = |probe_at, dropped| Sensors {
        attached: vec!["file".to_owned()],
        counters: BTreeMap::from([("file.dropped".to_owned(), dropped)]),
        probe_at,
        ..Sensors::default()
    };
    node.sense.send_replace(sees(now, 0));
    row(CoverageState::Seen).await;
    node.sense.send_replace(sees(now - 300_000, 0));
    let failing = row(CoverageState::Failing).await;
    assert!(failing.starts_with("the heartbeat probe has not come back for 5 min"), "{failing}");
    node.sense.send_replace(sees(now, 0));
    row(CoverageState::Seen).await;
    node.sense.send_replace(sees(now, 12));
    let lost = row(CoverageState::Failing).await;
    assert!(lost.starts_with("at least 10 behaviors were lost") && lost.contains("(file)"), "{lost}");
    relay.until_covered("worker-1", CoverageState::Seen).await;
    assert_eq!(relay.nodes.available(), ["worker-1"]);
}

#[tokio::test]
async fn a_node_whose_statement_never_comes_is_failing_until_one_does() {
    let relay = RelayHarness::start().await;
    let kernel = FakeKernel::seeing(&[]);
    let node = relay.node("worker-1", kernel.clone());
    node.until_connected().await;
    relay.until_covered("worker-1", CoverageState::Seen).await;

    let id = "c".repeat(1 << 20);
    kernel.set(Ok((0..10)
        .map(|_| RunningContainer { id: id.clone(), pod: "u1".into(), ..Default::default() })
        .collect()));
    assert!(matches!(relay.read(1, "worker-1", &["u1"]).await, ViewAnswer::Missing(why) if why.contains("too large")));
    let row = relay.until_covered("worker-1", CoverageState::Failing).await;
    assert!(row.reason.contains("did not answer: the node's statement is too large"), "{}", row.reason);
    assert_eq!(relay.nodes.available(), ["worker-1"], "it is asked again");

    kernel.set(Ok(Vec::new()));
    assert!(statement(relay.read(2, "worker-1", &["u1"]).await).containers.is_empty());
    relay.until_covered("worker-1", CoverageState::Seen).await;
}

#[tokio::test]
async fn a_node_that_is_gone_is_failing_and_what_it_had_not_sent_comes_once_when_it_is_back() {
    let relay = RelayHarness::start().await;
    relay.put_pod("u1", "worker-1", "c1");
    let node = relay.node("worker-1", FakeKernel::seeing(&[("u1", "c1")]));
    node.until_connected().await;
    node.observations.send(observation("/etc/one")).await.unwrap();
    relay.until("the first batch", || relay.kept.lock().unwrap().len() == 1).await;

    // Another agent of the same node takes the stream over; the first one comes back, and they go on replacing each other.
    let twin = relay.node("worker-1", FakeKernel::seeing(&[("u1", "c1")]));
    twin.until_connected().await;
    twin.stop.cancel();
    node.observations.send(observation("/etc/two")).await.unwrap();
    relay.until("the second batch", || relay.kept.lock().unwrap().len() == 2).await;
    let path = |record: &Vec<u8>| serde_json::from_slice::<RuntimeObservation>(record).unwrap().path;
    let kept: Vec<_> = relay.kept.lock().unwrap().iter().map(|((_, _, n), records)| (*n, path(&records[0]))).collect();
    assert_eq!(kept, [(1, "/etc/one".to_owned()), (2, "/etc/two".to_owned())]);

    node.stop.cancel();
    let row = || relay.coverage.lock().unwrap()["node/worker-1/kernel-view"].state;
    relay.until("the loss", || row() != CoverageState::Seen).await;
    assert!(matches!(relay.read(9, "worker-1", &["u1"]).await, ViewAnswer::Missing(_)));
}

#[tokio::test]
async fn a_relay_of_another_installation_gets_no_token() {
    let relay = RelayHarness::start().await;
    relay.api.know_token("t", ACCOUNT, "holdfast-relay", "worker-1");
    let file = relay.files.path().join("t");
    std::fs::write(&file, "t").unwrap();
    let address = format!("https://localhost:{}", relay.address.port());
    let config = NodeConfig::new(address, RootFingerprint::of(b"another root"), file);
    let (report, ready) = watch::channel(Readiness::NotReady(String::new()));
    let stop = relay.stop.child_token();
    tokio::spawn(holdfast_agent::node::run(config, NodeInputs::of(FakeKernel::seeing(&[])), report, stop.clone()));
    let node = Node { ready, stop, observations: mpsc::channel(1).0, sense: watch::channel(Sensors::default()).0 };
    assert!(node.refusal().await.contains("cannot connect to the relay"), "{}", node.refusal().await);
    assert!(relay.nodes.available().is_empty() && !relay.tasks.is_empty());
}

#[tokio::test]
async fn a_nodes_certificate_is_renewed_before_it_ends_and_its_statements_verify_before_and_after() {
    let relay = RelayHarness::start().await;
    *relay.signing.life.lock().unwrap() = Some(Duration::from_secs(4));
    relay.put_pod("u1", "worker-1", "c1");
    let node = relay.node("worker-1", FakeKernel::seeing(&[("u1", "c1")]));
    node.until_connected().await;
    let mut certificates = Vec::new();
    for round in 1..=3u8 {
        relay.until("a certificate", || relay.signing.made.load(Ordering::SeqCst) >= usize::from(round)).await;
        relay.until_covered("worker-1", CoverageState::Seen).await;
        // What it attests is checked against the certificate of the stream that it came by.
        let deadline = Instant::now() + PATIENCE;
        let certificate = loop {
            assert!(Instant::now() < deadline, "no statement under a new certificate");
            match relay.read(round, "worker-1", &["u1"]).await {
                ViewAnswer::Statement(signed) if !certificates.contains(&signed.certificate) => {
                    break signed.certificate;
                }
                ViewAnswer::Statement(_) | ViewAnswer::Missing(_) => {
                    tokio::time::sleep(Duration::from_millis(20)).await
                }
            }
        };
        certificates.push(certificate);
        node.observations.send(observation(&format!("/etc/{round}"))).await.unwrap();
        relay.until("what its sensors saw", || relay.kept.lock().unwrap().len() == usize::from(round)).await;
    }
    let runs: BTreeSet<_> = relay.kept.lock().unwrap().keys().map(|(_, run, _)| run.clone()).collect();
    assert_eq!(runs.len(), 1, "it is the same start of the same agent");
}
