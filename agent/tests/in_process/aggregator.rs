//! An aggregator that believes its one agent: it enrols, welcomes, keeps what fails and acknowledges when it is told to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use holdfast_model::digest::{LedgerDigest, statement_hash};
use holdfast_model::join_token::{JoinSecret, JoinToken, RootFingerprint};
use holdfast_model::{
    Attestation, ClusterId, Coverage, FindingId, FindingKey, Location, Method, Nonce, Observation, Resource, RetestId,
    RetestOrder, RuntimeDetection,
};
use holdfast_proto::parts::Joiner;
use holdfast_proto::{convert, v1};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, IsCa, KeyPair, SanType,
};
use rustls_pki_types::CertificateSigningRequestDer;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};
use v1::from_agent::Message as Up;
use v1::to_agent::Message as Down;

type Downstream = mpsc::Sender<Result<v1::ToAgent, Status>>;

pub const CLUSTER: ClusterId = ClusterId::from_bytes([7; 16]);
/// How long an enrolled certificate lives.
const LIFE_MILLIS: i64 = 3_600_000;

#[derive(Default)]
pub struct Record {
    /// What fails, as the agent said it.
    pub failing: BTreeMap<(Resource, String), Vec<Location>>,
    /// Everything else that it said, in order.
    pub ended: Vec<(Resource, String, Observation)>,
    pub coverage: BTreeMap<String, Coverage>,
    pub proposals: Vec<v1::ScopeProposal>,
    pub attestations: Vec<Attestation>,
    pub detections: Vec<RuntimeDetection>,
    /// The last detection batch of each run, by source and run; and how many came again.
    pub taken: BTreeMap<(String, String), u64>,
    pub repeated: usize,
    pub hellos: Vec<v1::Hello>,
    /// Those that said something of a resource.
    pub batches: usize,
    pub complete: Vec<u8>,
    pub enrolled: usize,
    pub renewed: usize,
    /// Nodes that got a certificate.
    pub nodes: Vec<String>,
}

pub struct Aggregator {
    pub record: Arc<Mutex<Record>>,
    pub url: String,
    pub token: JoinToken,
    pub acknowledge: Arc<AtomicBool>,
    /// Applies, and says nothing of it.
    pub mute: Arc<AtomicBool>,
    pub life: Arc<AtomicU64>,
    orders: Arc<Mutex<Option<Downstream>>>,
    hang_up: Arc<Mutex<CancellationToken>>,
}

#[derive(Clone)]
struct Service {
    record: Arc<Mutex<Record>>,
    acknowledge: Arc<AtomicBool>,
    mute: Arc<AtomicBool>,
    life: Arc<AtomicU64>,
    orders: Arc<Mutex<Option<Downstream>>>,
    hang_up: Arc<Mutex<CancellationToken>>,
    root: Arc<CertifiedIssuer<'static, KeyPair>>,
}

impl Aggregator {
    pub async fn start() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.subject_alt_names = vec![SanType::URI("spiffe://holdfast-test".try_into().unwrap())];
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &root).unwrap();
        let chain = server.pem() + &root.pem();
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(chain, key.serialize_pem()))
            .client_ca_root(Certificate::from_pem(root.pem()))
            .client_auth_optional(true);
        let fingerprint = RootFingerprint::of(root.der());
        let token = JoinToken {
            id: holdfast_model::id::JoinTokenId::from_bytes([1; 16]),
            secret: JoinSecret::from_bytes([2; 32]),
            root: fingerprint,
        };
        let service = Service {
            record: Arc::default(),
            acknowledge: Arc::new(AtomicBool::new(true)),
            mute: Arc::default(),
            life: Arc::new(AtomicU64::new(LIFE_MILLIS as u64)),
            orders: Arc::default(),
            hang_up: Arc::default(),
            root: Arc::new(root),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let serving = Server::builder()
            .tls_config(tls)
            .unwrap()
            .add_service(v1::enrolment_server::EnrolmentServer::new(service.clone()))
            .add_service(v1::uplink_server::UplinkServer::new(service.clone()))
            .serve_with_incoming(incoming);
        tokio::spawn(serving);
        let Service { record, acknowledge, mute, life, orders, hang_up, .. } = service;
        Self { record, url, token, acknowledge, mute, life, orders, hang_up }
    }

    /// Orders a retest of this control on this resource.
    pub async fn order(&self, number: u8, resource: &Resource, control: &str, methods: &[Method]) {
        let order = RetestOrder {
            retest: RetestId::from_bytes([number; 16]),
            nonce: Nonce::from_bytes([number; 16]),
            resource: resource.clone(),
            uid: String::new(),
            control: control.to_owned().into(),
            control_version: holdfast_controls::Control::find(control).unwrap().version,
            methods: methods.to_vec(),
        };
        let to_agent = self.orders.lock().unwrap().clone().unwrap();
        to_agent.send(Ok(down(Down::RetestOrder(convert::retest_to_wire(&order))))).await.unwrap();
    }

    /// Ends the stream, as a restart would.
    pub fn hang_up(&self) {
        std::mem::take(&mut *self.hang_up.lock().unwrap()).cancel();
    }
}

fn down(message: Down) -> v1::ToAgent {
    v1::ToAgent { message: Some(message) }
}

#[tonic::async_trait]
impl v1::enrolment_server::Enrolment for Service {
    async fn enrol(&self, request: Request<v1::EnrolRequest>) -> Result<Response<v1::Certificate>, Status> {
        self.record.lock().unwrap().enrolled += 1;
        Ok(Response::new(self.issue(request.into_inner().csr)))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::Certificate>, Status> {
        assert!(request.peer_certs().is_some(), "renewal shows the old certificate");
        self.record.lock().unwrap().renewed += 1;
        self.life.store(LIFE_MILLIS as u64, Ordering::SeqCst);
        Ok(Response::new(self.issue(request.into_inner().csr)))
    }
}

impl Service {
    fn certificate(&self, csr: Vec<u8>, name: &str) -> Vec<u8> {
        certificate(&self.root, csr, name)
    }

    fn issue(&self, csr: Vec<u8>) -> v1::Certificate {
        v1::Certificate {
            certificate: self.certificate(csr, &format!("spiffe://holdfast-test/cluster/{CLUSTER}")),
            root: self.root.der().to_vec(),
            cluster_id: CLUSTER.as_bytes().to_vec(),
            not_after: now() + self.life.load(Ordering::SeqCst) as i64,
        }
    }

    fn digest(&self) -> LedgerDigest {
        let mut digest = LedgerDigest::default();
        for ((resource, control), locations) in &self.record.lock().unwrap().failing {
            let id = finding(resource, control);
            digest.toggle(id, statement_hash(id, 1, locations));
        }
        digest
    }

    fn apply(&self, batch: v1::Batch) {
        let mut record = self.record.lock().unwrap();
        record.batches += usize::from(!batch.reports.is_empty());
        for report in batch.reports {
            let report = convert::report(report).unwrap();
            for statement in report.statements {
                let key = (report.resource.clone(), statement.control.as_str().to_owned());
                match statement.observation {
                    Observation::Fail { locations, .. } => {
                        record.failing.insert(key, locations);
                    }
                    ended => {
                        record.failing.remove(&key);
                        record.ended.push((key.0, key.1, ended));
                    }
                }
            }
        }
        for detection_batch in batch
            .detection_batches
            .into_iter()
            .map(|detection_batch| convert::detection_batch(detection_batch).unwrap())
        {
            let taken = record.taken.entry((detection_batch.source, detection_batch.run)).or_default();
            if detection_batch.sequence > *taken {
                *taken = detection_batch.sequence;
                record.detections.extend(detection_batch.detections);
            } else {
                record.repeated += 1;
            }
        }
        for coverage in batch.coverage {
            let coverage = convert::coverage(coverage).unwrap();
            record.coverage.insert(coverage.subject.clone(), coverage);
        }
        record.proposals.extend(batch.scope_proposals);
        record.complete.extend(batch.complete_buckets);
    }
}

/// A certificate for the request's key that bears this name alone, and never ends.
pub fn certificate(root: &CertifiedIssuer<'static, KeyPair>, csr: Vec<u8>, name: &str) -> Vec<u8> {
    certificate_for(root, csr, name, None)
}

/// The same for so long.
pub fn certificate_for(
    root: &CertifiedIssuer<'static, KeyPair>,
    csr: Vec<u8>,
    name: &str,
    life: Option<Duration>,
) -> Vec<u8> {
    let mut csr = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr)).unwrap();
    if let Some(life) = life {
        let now = UNIX_EPOCH.elapsed().unwrap();
        csr.params.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + life;
    }
    csr.params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
    csr.signed_by(root).unwrap().der().to_vec()
}

fn finding(resource: &Resource, control: &str) -> FindingId {
    FindingKey { cluster: CLUSTER, resource: resource.clone(), control: control.to_owned().into() }.finding_id()
}

#[tonic::async_trait]
impl v1::uplink_server::Uplink for Service {
    type ConnectStream = ReceiverStream<Result<v1::ToAgent, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<v1::FromAgent>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        assert!(request.peer_certs().is_some(), "a stream shows a certificate");
        let (send, receive) = mpsc::channel(64);
        let stop = self.hang_up.lock().unwrap().clone();
        let (service, up) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => drop(service.orders.lock().unwrap().take()),
                () = service.serve(up, send) => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(receive)))
    }
}

impl Service {
    async fn serve(&self, mut up: Streaming<v1::FromAgent>, send: Downstream) {
        let (mut epoch, mut parts) = (0, Joiner::default());
        while let Ok(Some(message)) = up.message().await {
            let answer = match message.message.unwrap() {
                Up::Hello(hello) => {
                    let in_agreement = hello.root_digest == self.digest().root();
                    *self.orders.lock().unwrap() = Some(send.clone());
                    let mut record = self.record.lock().unwrap();
                    record.hellos.push(hello);
                    epoch = record.hellos.len() as u64;
                    Some(Down::Welcome(v1::Welcome { epoch, in_agreement, clock: now() }))
                }
                Up::Buckets(buckets) => {
                    let theirs: Vec<_> = buckets.digests.iter().map(|d| d.as_slice().try_into().unwrap()).collect();
                    let numbers = self.digest().differing(&theirs);
                    Some(Down::DifferingBuckets(v1::DifferingBuckets { numbers }))
                }
                Up::Batch(batch) if self.acknowledge.load(Ordering::SeqCst) => {
                    let sequence = batch.sequence;
                    self.apply(batch);
                    (!self.mute.load(Ordering::SeqCst)).then_some(Down::Ack(v1::Ack { epoch, sequence }))
                }
                Up::NodeCsr(asked) => {
                    let name = format!("spiffe://holdfast-test/cluster/{CLUSTER}/node/{}", asked.node);
                    let certificate = self.certificate(asked.csr, &name);
                    self.record.lock().unwrap().nodes.push(asked.node);
                    let (request_id, not_after) = (asked.request_id, now() + LIFE_MILLIS);
                    Some(Down::NodeCertificate(v1::NodeCertificate {
                        request_id,
                        certificate,
                        not_after,
                        error: String::new(),
                    }))
                }
                Up::RetestAnswer(part) => {
                    if let Some(answer) = parts.take(part).unwrap() {
                        let attestation = serde_json::from_slice(&answer.attestation).unwrap();
                        self.record.lock().unwrap().attestations.push(attestation);
                    }
                    None
                }
                _ => None,
            };
            if let Some(answer) = answer
                && send.send(Ok(down(answer))).await.is_err()
            {
                return;
            }
        }
    }
}

fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}
