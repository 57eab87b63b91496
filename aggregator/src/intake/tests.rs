//! Streams over channels, against a real SQLite file: the life of a finding, and what must not happen.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use holdfast_model::digest::{LedgerDigest, controls_digest, statement_hash};
use holdfast_model::{
    Activity, Actor, Attestation, ClusterId, ControlId, DetectionBatch, FindingId, FindingKey, Location, Method,
    ObjectRead, Observation, Reach, Report, Resource, RetestOrder, Statement, Status as State, Verdict, canonical,
};
use holdfast_proto::{convert, parts, v1};
use holdfast_store::{Cluster, EventFilter, EventKey, Store};
use rcgen::{CertificateParams, KeyPair, SigningKey};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};

use super::{Certify, Identify, Intake, Peer, session};
use crate::authority::{Authority, AuthoritySettings};
use crate::environment::testing::TestEnvironment;
use crate::jobs::PeriodicRetests;
use crate::live::Live;
use crate::sessions::Sessions;
use crate::signing_request::SigningRequest;
use crate::writer::{Action, Writer};

const CONTROL: ControlId = ControlId::known("workload.privileged");

/// Streams in these tests start after admission.
struct Nobody;

impl Identify for Nobody {
    fn identify<'a>(&'a self, _: &'a Request<Streaming<v1::FromAgent>>) -> BoxFuture<'a, Result<Peer, Status>> {
        Box::pin(async { Err(Status::unauthenticated("not in this test")) })
    }
}

impl Certify for Nobody {
    fn certify(&self, _: ClusterId, asked: v1::NodeCsr) -> BoxFuture<'static, v1::NodeCertificate> {
        let refused = "not in this test".to_owned();
        Box::pin(
            async move { v1::NodeCertificate { request_id: asked.request_id, error: refused, ..Default::default() } },
        )
    }
}

struct Fixture {
    intake: Intake,
    environment: Arc<TestEnvironment>,
    authority: Authority,
    _folder: tempfile::TempDir,
}

const NOW: i64 = 1_790_000_000_000;

fn cluster(number: u8) -> ClusterId {
    ClusterId::from_bytes([number; 16])
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), &AuthoritySettings::default(), NOW).unwrap();
        let store = Store::open(&format!("sqlite:{}", folder.path().join("record.db").display())).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        for number in [1, 2] {
            tx.add_cluster(&Cluster::new(cluster(number), &format!("cluster-{number}"), 0)).await.unwrap();
        }
        tx.commit().await.unwrap();
        let environment = TestEnvironment::at(NOW);
        let sessions = Sessions::default();
        let policy = std::sync::Arc::new(crate::fleet::policy::shipped().unwrap());
        let (writer, _) = Writer::start(store.clone(), environment.clone(), policy, Live::default(), sessions.clone());
        let intake = Intake {
            store,
            writer,
            sessions,
            environment: environment.clone(),
            identify: Arc::new(Nobody),
            certify: Arc::new(Nobody),
            root: authority.root().into(),
        };
        Self { intake, environment, authority, _folder: folder }
    }

    async fn agent(&self, number: u8) -> Agent {
        self.agent_with(number, LedgerDigest::default()).await
    }

    async fn agent_with(&self, number: u8, ledger: LedgerDigest) -> Agent {
        let mut agent = self.stream(number);
        agent.send(v1::from_agent::Message::Hello(hello(number, &ledger))).await;
        let v1::to_agent::Message::Welcome(welcome) = agent.receive().await else { panic!("no Welcome") };
        (agent.epoch, agent.in_agreement) = (welcome.epoch, welcome.in_agreement);
        agent
    }

    fn stream(&self, number: u8) -> Agent {
        let (to, inbound) = mpsc::channel(64);
        let (outbound, from) = mpsc::channel(64);
        let intake = self.intake.clone();
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap();
        let request = SigningRequest::parse(request.der()).unwrap();
        let certificate = self.authority.issue(cluster(number), &request, NOW).unwrap().der;
        let peer = Peer { cluster: cluster(number), certificate, cut_off: Box::pin(std::future::pending()) };
        let task =
            tokio::spawn(async move { session::run(&intake, peer, ReceiverStream::new(inbound), &outbound).await });
        Agent { number, key, to, from, task, epoch: 0, sequence: 0, in_agreement: false }
    }

    async fn status(&self, finding: FindingId) -> State {
        self.intake.store.finding(finding).await.unwrap().expect("the finding is on record").status()
    }

    async fn becomes(&self, finding: FindingId, wanted: State) {
        let reached = async {
            while self.status(finding).await != wanted {
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(10), reached).await.is_err() {
            let events = self.intake.store.events(&EventFilter::default(), 5).await.unwrap();
            panic!("{:?} instead of {wanted:?}: {events:#?}", self.status(finding).await);
        }
    }

    async fn happens(&self, finding: FindingId, event: &str) {
        let happened = async {
            while self.events(Some(finding)).await.last().is_none_or(|last| last != event) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), happened).await.expect("the event in time");
    }

    async fn events(&self, finding: Option<FindingId>) -> Vec<String> {
        let filter = EventFilter { finding, ..EventFilter::default() };
        let events = self.intake.store.events(&filter, 100).await.unwrap();
        events.into_iter().rev().map(|event| event.activity.unwrap().event).collect()
    }
}

struct Agent {
    number: u8,
    key: KeyPair,
    to: mpsc::Sender<Result<v1::FromAgent, Status>>,
    from: mpsc::Receiver<Result<v1::ToAgent, Status>>,
    task: JoinHandle<Result<(), Status>>,
    epoch: u64,
    sequence: u64,
    in_agreement: bool,
}

impl Agent {
    async fn send(&mut self, message: v1::from_agent::Message) {
        let _ = self.to.send(Ok(v1::FromAgent { message: Some(message) })).await;
    }

    async fn receive(&mut self) -> v1::to_agent::Message {
        let heard = tokio::time::timeout(Duration::from_secs(10), self.from.recv()).await;
        heard.expect("a message in time").expect("an open stream").unwrap().message.unwrap()
    }

    fn batch(&mut self, reports: &[Report]) -> v1::Batch {
        self.sequence += 1;
        let reports = reports.iter().map(convert::report_to_wire).collect();
        v1::Batch { epoch: self.epoch, sequence: self.sequence, reports, ..v1::Batch::default() }
    }

    async fn state(&mut self, name: &str, observation: Observation) {
        let batch = self.batch(&[report(name, observation)]);
        self.send(v1::from_agent::Message::Batch(batch)).await;
        self.acknowledged().await;
    }

    async fn acknowledged(&mut self) {
        let v1::to_agent::Message::Ack(ack) = self.receive().await else { panic!("no Ack") };
        assert_eq!((ack.epoch, ack.sequence), (self.epoch, self.sequence));
    }

    async fn order(&mut self) -> RetestOrder {
        let v1::to_agent::Message::RetestOrder(order) = self.receive().await else { panic!("no Retest") };
        convert::retest(order).unwrap()
    }

    fn attestation(&self, order: &RetestOrder, verdict: Verdict) -> Attestation {
        let key = key(self.number, &order.resource.name);
        Attestation {
            form: Attestation::FORM.into(),
            retest: order.retest,
            nonce: order.nonce,
            cluster: cluster(self.number),
            finding: key.finding_id(),
            resource: order.resource.clone(),
            uid: "u".into(),
            control: order.control.clone(),
            control_version: order.control_version,
            verdict,
            reason: format!("it is {verdict}"),
            reach: Reach::Config,
            methods: vec![Method::LiveRead],
            locations: Vec::new(),
            reads: Vec::new(),
            nodes: Vec::new(),
            windows: None,
            read_at: 1,
            agent_version: "0".into(),
        }
    }

    async fn attest(&mut self, attestation: &Attestation) {
        let attestation = canonical::bytes(attestation).unwrap();
        let signature = self.key.sign(&attestation).unwrap();
        for part in parts::split(v1::RetestAnswer { attestation, signature, more: false }) {
            self.send(v1::from_agent::Message::RetestAnswer(part)).await;
        }
    }

    async fn answer(&mut self, order: &RetestOrder, verdict: Verdict) {
        self.attest(&self.attestation(order, verdict)).await;
    }

    async fn refusal(self) -> Status {
        drop(self.to);
        self.task.await.unwrap().unwrap_err()
    }
}

fn hello(number: u8, ledger: &LedgerDigest) -> v1::Hello {
    v1::Hello {
        protocol: holdfast_proto::PROTOCOL,
        fingerprint: format!("kube-system-{number}"),
        root_digest: ledger.root().to_vec(),
        ..v1::Hello::default()
    }
}

fn key(number: u8, name: &str) -> FindingKey {
    let resource = Resource::namespaced("apps", "Deployment", "shop", name);
    FindingKey { cluster: cluster(number), resource, control: CONTROL }
}

fn failing() -> Observation {
    let location = Location::field("spec.template.spec.containers[0].securityContext.privileged", "true");
    Observation::Fail { severity: holdfast_model::Severity::Critical, locations: vec![location] }
}

fn report(name: &str, observation: Observation) -> Report {
    Report {
        resource: key(1, name).resource,
        read: holdfast_model::Read { uid: "u".into(), resource_version: "1".into(), hash: Vec::new() },
        origin: Default::default(),
        statements: vec![Statement { control: CONTROL, control_version: 1, observation }],
    }
}

#[tokio::test]
async fn a_fix_is_seen_retested_and_verified_with_a_receipt() {
    let fixture = Fixture::new().await;
    let mut agent = fixture.agent(1).await;
    let id = key(1, "web").finding_id();
    agent.state("web", failing()).await;
    assert_eq!(fixture.status(id).await, State::Open);

    agent.state("web", Observation::Pass).await;
    let order = agent.order().await;
    assert_eq!(fixture.status(id).await, State::Resolved);
    agent.answer(&order, Verdict::Fixed).await;
    fixture.becomes(id, State::Verified).await;

    let receipt = fixture.intake.store.receipt(order.retest).await.unwrap().expect("a receipt");
    let key = EventKey { cluster: Some(receipt.cluster), id: receipt.event };
    let event = fixture.intake.store.event(key).await.unwrap().unwrap();
    assert_eq!(event.activity.unwrap().event, "finding-verified");
    assert_eq!(fixture.events(Some(id)).await, ["finding-opened", "finding-resolved", "finding-verified"]);

    agent.state("web", failing()).await;
    let again = fixture.intake.store.finding(id).await.unwrap().unwrap();
    assert_eq!((again.status(), again.state.reopened), (State::Open, 1));
}

#[tokio::test]
async fn what_was_verified_is_looked_at_again_after_the_period_and_reopens_if_it_fails() {
    let fixture = Fixture::new().await;
    let mut agent = fixture.agent(1).await;
    let id = key(1, "web").finding_id();
    agent.state("web", failing()).await;
    agent.state("web", Observation::Pass).await;
    let order = agent.order().await;
    agent.answer(&order, Verdict::Fixed).await;
    fixture.becomes(id, State::Verified).await;

    let Intake { store, writer, environment, .. } = &fixture.intake;
    let day = Duration::from_secs(24 * 60 * 60);
    let periodic = PeriodicRetests::new(store.clone(), writer.clone(), environment.clone(), day);
    fixture.environment.pass(day.as_millis() as i64 - 1);
    assert_eq!(periodic.pass().await.unwrap(), 0);
    fixture.environment.pass(1);
    assert_eq!((periodic.pass().await.unwrap(), periodic.pass().await.unwrap()), (1, 0));
    let order = agent.order().await;
    agent.answer(&order, Verdict::Fixed).await;
    fixture.happens(id, "retest-confirmed").await;
    assert_eq!((fixture.status(id).await, periodic.pass().await.unwrap()), (State::Verified, 0));

    fixture.environment.pass(day.as_millis() as i64);
    assert_eq!(periodic.pass().await.unwrap(), 1);
    let order = agent.order().await;
    agent.answer(&order, Verdict::StillFailing).await;
    fixture.becomes(id, State::Open).await;
}

#[tokio::test]
async fn a_deleted_workload_is_retired_never_verified() {
    let fixture = Fixture::new().await;
    let mut agent = fixture.agent(1).await;
    let id = key(1, "web").finding_id();
    agent.state("web", failing()).await;
    agent.state("web", Observation::Gone).await;
    let order = agent.order().await;
    agent.answer(&order, Verdict::WorkloadDeleted).await;
    fixture.becomes(id, State::Retired).await;
}

#[tokio::test]
async fn a_claim_is_refuted_by_the_live_object() {
    let fixture = Fixture::new().await;
    let mut agent = fixture.agent(1).await;
    let id = key(1, "web").finding_id();
    agent.state("web", failing()).await;
    let user = holdfast_model::Actor::User("u1".into());
    fixture.intake.writer.act(user, cluster(1), id, Action::Claim(String::new())).await.unwrap();
    let order = agent.order().await;
    agent.answer(&order, Verdict::StillFailing).await;
    fixture.becomes(id, State::Open).await;
    assert_eq!(fixture.events(Some(id)).await, ["finding-opened", "finding-resolved", "claim-refuted"]);
}

#[tokio::test]
async fn an_offline_agent_finds_its_retest_when_it_returns() {
    let fixture = Fixture::new().await;
    let id = key(1, "web").finding_id();
    let mut agent = fixture.agent(1).await;
    agent.state("web", failing()).await;
    drop(agent);
    let user = holdfast_model::Actor::User("u1".into());
    fixture.intake.writer.act(user, cluster(1), id, Action::Claim("done".into())).await.unwrap();

    let mut agent = fixture.agent(1).await;
    let lost = agent.order().await;
    drop(agent);
    let mut agent = fixture.agent(1).await;
    let order = agent.order().await;
    assert_eq!((order.retest, order.nonce == lost.nonce), (lost.retest, false));
    agent.answer(&lost, Verdict::Fixed).await;
    agent.answer(&order, Verdict::Fixed).await;
    fixture.becomes(id, State::Verified).await;
}

#[tokio::test]
async fn a_batch_sent_twice_is_applied_once_and_acknowledged_twice() {
    let fixture = Fixture::new().await;
    let mut agent = fixture.agent(1).await;
    let batch = agent.batch(&[report("web", failing())]);
    for _ in 0..2 {
        agent.send(v1::from_agent::Message::Batch(batch.clone())).await;
        agent.acknowledged().await;
    }
    assert_eq!(fixture.events(Some(key(1, "web").finding_id())).await, ["finding-opened"]);
}

#[tokio::test]
async fn a_batch_lost_before_its_acknowledgement_is_sent_again_and_found_unchanged() {
    let fixture = Fixture::new().await;
    let mut agent = fixture.agent(1).await;
    let batch = agent.batch(&[report("web", failing())]);
    agent.send(v1::from_agent::Message::Batch(batch)).await;
    drop(agent);
    let mut agent = fixture.agent(1).await;
    agent.state("web", failing()).await;
    assert_eq!(fixture.events(Some(key(1, "web").finding_id())).await, ["finding-opened"]);
}

#[tokio::test]
async fn a_stream_that_was_replaced_writes_nothing_more() {
    let fixture = Fixture::new().await;
    let mut old = fixture.agent(1).await;
    let late = old.batch(&[report("web", failing())]);
    let mut new = fixture.agent(1).await;
    old.send(v1::from_agent::Message::Batch(late.clone())).await;
    assert_eq!(old.refusal().await.code(), Code::Aborted);
    new.send(v1::from_agent::Message::Batch(late)).await;
    let refusal = new.refusal().await;
    assert!(refusal.message().contains("epoch 1 is over"), "{refusal}");
    assert!(fixture.intake.store.finding(key(1, "web").finding_id()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_batch_after_a_hole_is_refused() {
    let fixture = Fixture::new().await;
    let mut agent = fixture.agent(1).await;
    agent.sequence = 1;
    let batch = agent.batch(&[report("web", failing())]);
    agent.send(v1::from_agent::Message::Batch(batch)).await;
    assert!(agent.refusal().await.message().contains("batch 2 came where 1 was due"));
}

#[tokio::test]
async fn a_forged_cluster_is_refused_and_logged() {
    let fixture = Fixture::new().await;
    let mut agent = fixture.stream(1);
    let claim = v1::Hello { claimed_cluster: cluster(2).to_string(), ..hello(1, &LedgerDigest::default()) };
    agent.send(v1::from_agent::Message::Hello(claim)).await;
    assert_eq!(agent.refusal().await.code(), Code::PermissionDenied);
    assert_eq!(fixture.events(None).await, ["cluster-claim-refused"]);
}

#[tokio::test]
async fn controls_that_are_on_record_need_not_be_said_again_and_others_must() {
    let fixture = Fixture::new().await;
    let controls = vec!["workload.privileged@1".to_owned()];
    let said = |controls: &[String], digest: [u8; 32]| {
        let hello = hello(1, &LedgerDigest::default());
        let (controls, controls_digest) = (controls.to_vec(), digest.to_vec());
        v1::from_agent::Message::Hello(v1::Hello { controls, controls_digest, ..hello })
    };
    let digest = controls_digest(&controls);
    for controls in [&controls[..], &[]] {
        let mut agent = fixture.stream(1);
        agent.send(said(controls, digest)).await;
        assert!(matches!(agent.receive().await, v1::to_agent::Message::Welcome(_)));
    }
    let kept = fixture.intake.store.cluster(cluster(1)).await.unwrap().unwrap().controls;
    assert_eq!(kept, controls);
    let mut other = fixture.stream(1);
    other.send(said(&[], [7; 32])).await;
    assert_eq!(other.refusal().await.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_fingerprint_of_another_cluster_is_refused_with_the_choice() {
    let fixture = Fixture::new().await;
    let _holder = fixture.agent(1).await;
    let mut clone = fixture.stream(2);
    clone.send(v1::from_agent::Message::Hello(hello(1, &LedgerDigest::default()))).await;
    let refusal = clone.refusal().await;
    assert_eq!(refusal.code(), Code::PermissionDenied);
    assert!(refusal.message().contains("revoke that entry"), "{refusal}");
    assert!(fixture.events(None).await.contains(&"fingerprint-held".to_owned()));
}

#[tokio::test]
async fn a_attestation_of_another_cluster_key_or_nonce_proves_nothing() {
    let fixture = Fixture::new().await;
    let id = key(1, "web").finding_id();
    let mut agent = fixture.agent(1).await;
    agent.state("web", failing()).await;
    agent.state("web", Observation::Pass).await;
    let order = agent.order().await;

    let mut replayed = agent.attestation(&order, Verdict::Fixed);
    replayed.nonce = holdfast_model::Nonce::from_bytes([9; 16]);
    agent.attest(&replayed).await;
    let mut foreign = agent.attestation(&order, Verdict::Fixed);
    foreign.cluster = cluster(2);
    agent.attest(&foreign).await;
    assert_eq!(agent.refusal().await.code(), Code::PermissionDenied);
    assert_eq!(fixture.status(id).await, State::Resolved);
    assert!(fixture.events(None).await.contains(&"attestation-refused".to_owned()));

    let mut agent = fixture.agent(1).await;
    let order = agent.order().await;
    let attestation = canonical::bytes(&agent.attestation(&order, Verdict::Fixed)).unwrap();
    agent
        .send(v1::from_agent::Message::RetestAnswer(v1::RetestAnswer { attestation, signature: vec![7], more: false }))
        .await;
    assert_eq!(agent.refusal().await.code(), Code::PermissionDenied);
    assert_eq!(fixture.status(id).await, State::Resolved);
}

#[tokio::test]
async fn what_a_restarted_agent_no_longer_repeats_is_retested_never_closed() {
    let fixture = Fixture::new().await;
    let mut agent = fixture.agent(1).await;
    agent.state("web", failing()).await;
    agent.state("api", failing()).await;
    drop(agent);

    let (web, api) = (key(1, "web").finding_id(), key(1, "api").finding_id());
    let hash = |id| {
        let Observation::Fail { locations, .. } = failing() else { unreachable!() };
        statement_hash(id, 1, &locations)
    };
    let mut ledger = LedgerDigest::default();
    ledger.toggle(api, hash(api));
    let mut agent = fixture.agent_with(1, ledger.clone()).await;
    assert!(!agent.in_agreement);
    let digests = ledger.buckets().iter().map(|bucket| bucket.to_vec()).collect();
    let buckets = v1::Buckets { digests, root_digest: ledger.root().to_vec() };
    agent.send(v1::from_agent::Message::Buckets(buckets)).await;
    let v1::to_agent::Message::DifferingBuckets(differing) = agent.receive().await else { panic!("no buckets") };
    assert_eq!(differing.numbers, [web.as_bytes()[0]]);

    let mut batch = agent.batch(&[]);
    batch.complete_buckets = differing.numbers;
    agent.send(v1::from_agent::Message::Batch(batch)).await;
    agent.acknowledged().await;
    let order = agent.order().await;
    assert_eq!(order.resource.name, "web");
    assert_eq!(fixture.status(web).await, State::Open);
    agent.answer(&order, Verdict::StillFailing).await;
    drop(agent);

    assert!(fixture.agent_with(1, ledger).await.in_agreement);
    assert_eq!((fixture.status(web).await, fixture.status(api).await), (State::Open, State::Open));
}

#[tokio::test]
async fn an_answer_that_settles_nothing_is_asked_for_again_after_a_pause() {
    let fixture = Fixture::new().await;
    let id = key(1, "web").finding_id();
    let mut agent = fixture.agent(1).await;
    agent.state("web", failing()).await;
    agent.state("web", Observation::Pass).await;
    let order = agent.order().await;
    agent.answer(&order, Verdict::Unreachable).await;
    let asked_again = async {
        while fixture.intake.store.retest(order.retest).await.unwrap().unwrap().verdict.is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), asked_again).await.unwrap();
    let finding = fixture.intake.store.finding(id).await.unwrap().unwrap();
    assert_eq!((finding.status(), finding.unverified()), (State::Resolved, Some("it is unreachable")));

    fixture.environment.pass(5_000);
    fixture.intake.sessions.wake(cluster(1));
    let again = agent.order().await;
    assert_eq!(again.retest, order.retest);
    assert_ne!(again.nonce, order.nonce);
    agent.answer(&again, Verdict::Fixed).await;
    fixture.becomes(id, State::Verified).await;
}

#[tokio::test]
async fn a_namespace_out_of_scope_retires_and_its_return_retests() {
    let fixture = Fixture::new().await;
    let id = key(1, "web").finding_id();
    let mut agent = fixture.agent(1).await;
    agent.state("web", failing()).await;
    let owner = holdfast_model::Actor::User("platform".into());
    fixture.intake.writer.set_scope(owner.clone(), cluster(1), vec!["shop".into()]).await.unwrap();
    assert_eq!(fixture.status(id).await, State::Retired);
    agent.state("api", failing()).await;
    assert_eq!(fixture.status(key(1, "api").finding_id()).await, State::Retired);

    fixture.intake.writer.set_scope(owner, cluster(1), Vec::new()).await.unwrap();
    let first = agent.order().await;
    agent.answer(&first, Verdict::StillFailing).await;
    fixture.becomes(key(1, &first.resource.name).finding_id(), State::Open).await;
}

#[tokio::test]
async fn a_revoked_cluster_loses_its_stream_and_is_not_let_in_again() {
    let fixture = Fixture::new().await;
    let agent = fixture.agent(1).await;
    let mut tx = fixture.intake.store.begin().await.unwrap();
    assert!(tx.revoke_cluster(cluster(1), 1).await.unwrap());
    tx.commit().await.unwrap();
    fixture.intake.sessions.end(cluster(1));
    assert_eq!(agent.refusal().await.code(), Code::Aborted);

    let mut back = fixture.stream(1);
    back.send(v1::from_agent::Message::Hello(hello(1, &LedgerDigest::default()))).await;
    assert_eq!(back.refusal().await.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn an_answer_that_comes_after_its_deadline_counts_while_it_is_still_wanted() {
    let fixture = Fixture::new().await;
    let id = key(1, "web").finding_id();
    let mut agent = fixture.agent(1).await;
    agent.state("web", failing()).await;
    agent.state("web", Observation::Pass).await;
    let order = agent.order().await;
    fixture.environment.pass(30_000);
    fixture.intake.sessions.wake(cluster(1));
    let missed = async {
        while !fixture.events(Some(id)).await.contains(&"retest-unsettled".to_owned()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), missed).await.unwrap();
    agent.answer(&order, Verdict::Fixed).await;
    fixture.becomes(id, State::Verified).await;
}

#[tokio::test]
async fn an_answer_counts_once() {
    let fixture = Fixture::new().await;
    let id = key(1, "web").finding_id();
    let mut agent = fixture.agent(1).await;
    agent.state("web", failing()).await;
    agent.state("web", Observation::Pass).await;
    let order = agent.order().await;
    agent.answer(&order, Verdict::Inconclusive).await;
    agent.answer(&order, Verdict::Fixed).await;
    agent.state("other", failing()).await;
    assert_eq!(fixture.events(Some(id)).await, ["finding-opened", "finding-resolved", "retest-unsettled"]);
}

/// Another replica may have revoked it: nothing ends this stream but its own next message.
#[tokio::test]
async fn an_answer_of_a_cluster_that_was_revoked_meanwhile_proves_nothing() {
    let fixture = Fixture::new().await;
    let id = key(1, "web").finding_id();
    let mut agent = fixture.agent(1).await;
    agent.state("web", failing()).await;
    agent.state("web", Observation::Pass).await;
    let order = agent.order().await;
    let mut tx = fixture.intake.store.begin().await.unwrap();
    tx.revoke_cluster(cluster(1), 1).await.unwrap();
    tx.commit().await.unwrap();
    agent.answer(&order, Verdict::Fixed).await;
    assert_eq!(agent.refusal().await.code(), Code::Unauthenticated);
    assert_eq!(fixture.status(id).await, State::Resolved);
}

#[tokio::test]
async fn a_message_that_would_cost_much_more_than_its_bytes_is_refused() {
    let fixture = Fixture::new().await;
    let name = "n".repeat(4000);
    let pass = report(&name, Observation::Pass).statements.remove(0);
    let many = Report { statements: vec![pass; 20_000], ..report(&name, Observation::Pass) };
    let mut agent = fixture.agent(1).await;
    let batch = agent.batch(&[many]);
    agent.send(v1::from_agent::Message::Batch(batch)).await;
    assert_eq!(agent.refusal().await.code(), Code::InvalidArgument);

    let mut agent = fixture.agent(1).await;
    agent.state("web", failing()).await;
    agent.send(v1::from_agent::Message::Buckets(v1::Buckets::default())).await;
    agent.receive().await;
    let batch = v1::Batch { complete_buckets: vec![7; 100_000], ..agent.batch(&[]) };
    agent.send(v1::from_agent::Message::Batch(batch)).await;
    assert_eq!(agent.refusal().await.code(), Code::InvalidArgument);

    let mut agent = fixture.agent(1).await;
    let coverage = v1::Coverage { subject: "s".repeat(3000), state: "seen".into(), ..Default::default() };
    let batch = v1::Batch { coverage: vec![coverage], ..agent.batch(&[]) };
    agent.send(v1::from_agent::Message::Batch(batch)).await;
    assert_eq!(agent.refusal().await.code(), Code::InvalidArgument, "no index of PostgreSQL takes it");
}

#[tokio::test]
async fn a_attestation_with_a_text_over_the_limit_is_refused() {
    let fixture = Fixture::new().await;
    let mut agent = fixture.agent(1).await;
    agent.state("web", failing()).await;
    agent.state("web", Observation::Pass).await;
    let order = agent.order().await;
    let mut attestation = agent.attestation(&order, Verdict::StillFailing);
    attestation.locations = vec![Location::field("spec", "x".repeat(5000))];
    agent.attest(&attestation).await;
    assert_eq!(agent.refusal().await.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_attestation_in_parts_counts_as_the_whole_and_one_without_an_end_ends_the_stream() {
    let fixture = Fixture::new().await;
    let mut agent = fixture.agent(1).await;
    agent.state("web", failing()).await;
    agent.state("web", Observation::Pass).await;
    let order = agent.order().await;
    let mut attestation = agent.attestation(&order, Verdict::Fixed);
    let read = ObjectRead {
        path: format!("/api/v1/{}", "x".repeat(300)),
        status: 200,
        uid: String::new(),
        resource_version: "1".into(),
        hash: vec![7; 32],
    };
    attestation.reads = vec![read; 4000];
    assert!(canonical::bytes(&attestation).unwrap().len() > holdfast_proto::limits::MESSAGE_BYTES);
    agent.attest(&attestation).await;
    fixture.becomes(key(1, "web").finding_id(), State::Verified).await;

    let endless = v1::RetestAnswer { attestation: vec![b'{'; 500_000], signature: Vec::new(), more: true };
    for _ in 0..40 {
        agent.send(v1::from_agent::Message::RetestAnswer(endless.clone())).await;
    }
    assert_eq!(agent.refusal().await.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn a_stream_that_was_overtaken_before_it_began_does_not_end_the_later_one() {
    let sessions = Sessions::default();
    let later = sessions.open(cluster(1), 6);
    let earlier = sessions.open(cluster(1), 5);
    tokio::time::timeout(Duration::from_secs(10), earlier.ended()).await.unwrap();
    assert!(futures::FutureExt::now_or_never(later.ended()).is_none());
    drop(earlier);
    assert!(sessions.is_connected(cluster(1)));
}

#[tokio::test]
async fn a_claim_counts_on_what_the_cluster_can_do_then_and_a_cluster_with_a_new_kernel_view_proves_again() {
    let fixture = Fixture::new().await;
    let mut agent = fixture.agent(1).await;
    let id = key(1, "web").finding_id();
    agent.state("web", failing()).await;
    agent.state("web", Observation::Pass).await;
    let order = agent.order().await;
    assert_eq!(order.methods, [Method::LiveRead], "no node has a kernel view yet");
    agent.answer(&order, Verdict::Fixed).await;
    fixture.becomes(id, State::Verified).await;

    let Intake { store, writer, environment, .. } = &fixture.intake;
    let periodic =
        PeriodicRetests::new(store.clone(), writer.clone(), environment.clone(), Duration::from_secs(24 * 60 * 60));
    assert_eq!(periodic.pass().await.unwrap(), 0);
    let subject = holdfast_model::kernel::coverage_subject("node-1");
    let coverage = v1::Coverage { subject, state: "seen".into(), ..Default::default() };
    let batch = v1::Batch { coverage: vec![coverage], ..agent.batch(&[]) };
    agent.send(v1::from_agent::Message::Batch(batch)).await;
    agent.acknowledged().await;
    assert_eq!((periodic.pass().await.unwrap(), periodic.pass().await.unwrap()), (1, 0));
    let order = agent.order().await;
    assert_eq!(order.methods, [Method::LiveRead, Method::RuntimeRecheck]);
    agent.answer(&order, Verdict::Fixed).await;
    fixture.happens(id, "retest-unsettled").await;
    assert_eq!(fixture.status(id).await, State::Verified, "what was proved stays proved");

    fixture.environment.pass(60_000);
    fixture.intake.sessions.wake(cluster(1));
    let order = agent.order().await;
    let nodes = vec![crate::receipts::tests::attested(&fixture.authority, cluster(1), &order, NOW)];
    let (reach, methods) = (Reach::Running, order.methods.clone());
    let attestation = Attestation { reach, methods, nodes, ..agent.attestation(&order, Verdict::Fixed) };
    agent.attest(&attestation).await;
    fixture.happens(id, "retest-confirmed").await;
    assert!(fixture.events(Some(id)).await.contains(&"proof-extended".to_owned()));
    assert_eq!(store.finding(id).await.unwrap().unwrap().reach(), Some(Reach::Running));
    assert_eq!(periodic.pass().await.unwrap(), 0, "further than that no proof goes");
}

#[tokio::test]
async fn a_cluster_that_loses_its_kernel_view_between_two_retests_of_one_claim_gets_no_easier_pass() {
    let fixture = Fixture::new().await;
    let mut agent = fixture.agent(1).await;
    let kernel_view = |agent: &mut Agent, state: &str| {
        let subject = holdfast_model::kernel::coverage_subject("node-1");
        let coverage = v1::Coverage { subject, state: state.into(), ..Default::default() };
        v1::from_agent::Message::Batch(v1::Batch { coverage: vec![coverage], ..agent.batch(&[]) })
    };
    agent.state("web", failing()).await;
    let seen = kernel_view(&mut agent, "seen");
    agent.send(seen).await;
    agent.acknowledged().await;
    agent.state("web", Observation::Pass).await;
    let order = agent.order().await;
    assert_eq!(order.methods, [Method::LiveRead, Method::RuntimeRecheck]);

    let nodes = vec![crate::receipts::tests::attested(&fixture.authority, cluster(1), &order, NOW)];
    let (reach, methods) = (Reach::Running, order.methods.clone());
    let locations = vec![Location::field("process nginx (pid 7)", "CapEff has CAP_SYS_ADMIN")];
    let disagrees = agent.attestation(&order, Verdict::StillFailing);
    agent.attest(&Attestation { reach, methods, nodes, locations, ..disagrees }).await;
    let failing = kernel_view(&mut agent, "failing");
    agent.send(failing).await;
    agent.acknowledged().await;

    fixture.environment.pass(60_000);
    fixture.intake.sessions.wake(cluster(1));
    let again = agent.order().await;
    assert_ne!(again.retest, order.retest);
    assert_eq!(again.methods, [Method::LiveRead, Method::RuntimeRecheck]);
    agent.answer(&again, Verdict::Fixed).await;
    let id = key(1, "web").finding_id();
    fixture.happens(id, "retest-unsettled").await;
    assert_eq!(fixture.status(id).await, State::Open, "what the objects say alone closes nothing now");
}

#[tokio::test]
async fn what_cannot_be_written_is_refused_alone_and_the_rest_of_its_group_is_kept() {
    let fixture = Fixture::new().await;
    let mut agent = fixture.agent(1).await;
    let note = |event: &str, detail| {
        let (event, cause) = (event.to_owned(), String::new());
        Activity { at: NOW, actor: Actor::Agent(cluster(1)), event, cluster: None, finding: None, cause, detail }
    };
    let writer = &fixture.intake.writer;
    let batch = agent.batch(&[report("web", failing())]);
    agent.send(v1::from_agent::Message::Batch(batch)).await;
    // One thread: the writer finds all of them waiting and takes them as one group. Canonical JSON has no floats.
    let (before, poison, after) = tokio::join!(
        writer.note(note("before", serde_json::json!({}))),
        writer.note(note("poison", serde_json::json!({ "share": 0.5 }))),
        writer.note(note("after", serde_json::json!({}))),
    );
    assert!(before.is_ok() && after.is_ok());
    assert!(matches!(poison, Err(crate::writer::WriteError::Store(_))), "{poison:?}");
    agent.acknowledged().await;
    let events = fixture.events(None).await;
    let count = |name: &str| events.iter().filter(|event| *event == name).count();
    assert_eq!((count("before"), count("poison"), count("after")), (1, 0, 1));
}

#[tokio::test]
async fn a_nodes_request_is_answered_in_its_turn_with_its_number() {
    let fixture = Fixture::new().await;
    let mut agent = fixture.agent(1).await;
    let asked = v1::NodeCsr { request_id: 42, node: "worker-1".into(), csr: Vec::new() };
    agent.send(v1::from_agent::Message::NodeCsr(asked)).await;
    let v1::to_agent::Message::NodeCertificate(answer) = agent.receive().await else { panic!("no certificate") };
    assert_eq!((answer.request_id, answer.error.as_str()), (42, "not in this test"));
}

#[tokio::test]
async fn what_the_kernel_shows_joins_the_finding_of_the_posture_and_raises_it() {
    let fixture = Fixture::new().await;
    let mut agent = fixture.agent(1).await;
    let id = key(1, "web").finding_id();
    agent.state("web", failing()).await;
    let before = fixture.intake.store.finding(id).await.unwrap().unwrap();
    let place = Location::field("process nginx (pid 7)", "CapEff has CAP_SYS_ADMIN").in_object("Pod web-1 on node a");
    let detection = holdfast_model::RuntimeDetection {
        resource: before.key.resource.clone(),
        origin: Default::default(),
        control: before.key.control.clone(),
        control_version: 1,
        severity: before.state.base_severity,
        seen: holdfast_model::Occurrences::once(vec![place], NOW),
    };
    let detection_batch = |source: &str, run: &str, sequence| {
        let detections = vec![detection.clone()];
        convert::detection_batch_to_wire(&DetectionBatch {
            source: source.into(),
            run: run.into(),
            sequence,
            detections,
        })
    };
    // The second one comes twice in one stream, and once more through another leader, with what is new and what is old.
    for detection_batches in [vec![("a", 1)], vec![("a", 2)], vec![("a", 2)]] {
        let detection_batches =
            detection_batches.into_iter().map(|(run, sequence)| detection_batch("node-1", run, sequence)).collect();
        let batch = v1::Batch { detection_batches, ..agent.batch(&[]) };
        agent.send(v1::from_agent::Message::Batch(batch)).await;
        agent.acknowledged().await;
    }
    let mut agent = fixture.agent(1).await;
    let detection_batches = vec![
        detection_batch("node-1", "a", 2),
        detection_batch("node-1", "b", 1),
        detection_batch("node-1", "a", 1),
        detection_batch("", "a", 1),
    ];
    let batch = v1::Batch { detection_batches, ..agent.batch(&[]) };
    agent.send(v1::from_agent::Message::Batch(batch)).await;
    agent.acknowledged().await;
    let finding = fixture.intake.store.finding(id).await.unwrap().unwrap();
    let (evidence, step) = (finding.kernel().unwrap(), &finding.state.calibration.as_ref().unwrap().steps[0]);
    assert_eq!((finding.status(), evidence.seen.count, step.raise), (State::Open, 4, 1));
    let posture = |finding: &holdfast_record::Finding| (finding.locations().to_vec(), finding.statement());
    assert_eq!(posture(&finding), posture(&before), "the posture's stay");
    assert!(finding.severity() > before.severity() || before.severity() == holdfast_model::Severity::Critical);
    let events = fixture.events(Some(id)).await;
    assert_eq!(events.iter().filter(|event| *event == "runtime-evidence").count(), 1, "one record, not two alerts");

    let mut wire = detection_batch("node-1", "b", 2);
    let place = wire.detections[0].locations[0].clone();
    wire.detections[0].locations = std::iter::repeat_n(place, 17).collect();
    let batch = v1::Batch { detection_batches: vec![wire], ..agent.batch(&[]) };
    agent.send(v1::from_agent::Message::Batch(batch)).await;
    assert_eq!(agent.refusal().await.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn rows_of_nodes_that_vanished_while_nobody_led_go_with_the_first_complete_word() {
    let fixture = Fixture::new().await;
    let row = |node: &str, state: &str| v1::Coverage {
        subject: holdfast_model::kernel::coverage_subject(node),
        state: state.into(),
        reason: String::new(),
        since: NOW,
    };
    let rows = async || {
        let rows = fixture.intake.store.coverage(Some(cluster(1))).await.unwrap();
        rows.into_iter().map(|row| row.coverage.subject).collect::<Vec<_>>()
    };
    let send = async |agent: &mut Agent, coverage, coverage_complete| {
        let batch = v1::Batch { coverage, coverage_complete, ..agent.batch(&[]) };
        agent.send(v1::from_agent::Message::Batch(batch)).await;
        agent.acknowledged().await;
    };
    let mut agent = fixture.agent(1).await;
    send(&mut agent, vec![row("a", "seen"), row("b", "seen"), row("c", "seen")], true).await;
    send(&mut agent, vec![row("c", "absent")], false).await;
    assert_eq!(rows().await, [row("a", "").subject, row("b", "").subject]);
    let mut agent = fixture.agent(1).await;
    send(&mut agent, vec![row("b", "starting")], false).await;
    assert_eq!(rows().await.len(), 2, "not everything has been said yet");
    send(&mut agent, Vec::new(), true).await;
    assert_eq!(rows().await, [row("b", "").subject]);
}
