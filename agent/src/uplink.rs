//! The one stream to the aggregator: connect, agree, send what differs, acknowledge, connect again.
//!
//! It pulls batches from the engine and hands orders to the retests; of controls and Kubernetes it knows the versions. What a
//! lost connection leaves open is decided by the digests and by what was not acknowledged, never by sending everything again.
//! `wire` turns a batch into its message: nothing before it knows one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use holdfast_agent_core::outbox::UplinkBatch;
use holdfast_agent_core::text;
use holdfast_controls::catalog;
use holdfast_model::RetestOrder;
use holdfast_model::digest::controls_digest;
use holdfast_proto::{PROTOCOL, convert, parts, v1};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use v1::from_agent::Message as Up;
use v1::to_agent::Message as Down;

use crate::clock;
use crate::cluster::Server;
use crate::credential::{AgentKey, Credential, CredentialError, Issued};
use crate::engine::{EngineCommand, EngineHandle, EngineStopped};
use crate::enrol::{self, EnrolError};
use crate::random;
use crate::relay::{CertificateAnswer, CertificateRequest};
use crate::vault::Vault;

mod wire;

/// Batches that may be under way at once.
const WINDOW: usize = 8;
/// How often the agent sends a sign of life, when it has nothing else to send.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long the aggregator may take for its first answer.
const WELCOME: Duration = Duration::from_secs(10);
/// After a session that held this long the next failure waits shortly again. Two agents that share a credential replace each
/// other for ever, and must not do so ten times a second.
const HELD: Duration = Duration::from_secs(30);
/// A renewed certificate is never renewed again sooner, whatever the clocks say.
const RENEW_APART: Duration = Duration::from_secs(1);
/// First and longest wait before connecting again.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How the link to the aggregator stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// Whether a session is open.
    pub connected: bool,
    /// Why the last one ended, or could not begin.
    pub last_error: Option<String>,
}

/// Everything that the uplink needs.
pub struct Uplink {
    /// The aggregator's address.
    pub url: String,
    /// Where the credential is kept.
    pub vault: Vault,
    /// The agent's key.
    pub key: Arc<AgentKey>,
    /// Who the agent is.
    pub credential: Credential,
    /// Receives the credential when it has changed: the relay presents it to the nodes.
    pub renewed: watch::Sender<Credential>,
    /// Nodes that need a certificate.
    pub nodes: mpsc::Receiver<CertificateRequest>,
    /// The uid of the namespace kube-system.
    pub fingerprint: String,
    /// The API server, whose version is asked at every connection.
    pub server: Server,
    /// The engine.
    pub engine: EngineHandle,
    /// Where orders go.
    pub orders: mpsc::Sender<RetestOrder>,
    /// Where answers come from.
    pub answers: mpsc::Receiver<v1::RetestAnswer>,
    /// How the link stands.
    pub link: watch::Sender<Link>,
    /// Whether the aggregator has welcomed this agent with the controls that it evaluates: their digest is enough then.
    pub introduced: bool,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Connect(#[from] EnrolError),
    #[error("the aggregator ended the stream: {0}")]
    Ended(String),
    #[error("the aggregator broke the protocol: {0}")]
    Protocol(&'static str),
    #[error(transparent)]
    State(#[from] CredentialError),
    #[error(transparent)]
    Engine(#[from] EngineStopped),
    #[error("a renewed certificate is put to use")]
    Renewed,
}

impl From<tonic::Status> for SessionError {
    fn from(status: tonic::Status) -> Self {
        Self::Ended(text::line(&format!("{:?}: {}", status.code(), status.message())))
    }
}

/// One open stream.
struct Session {
    up: mpsc::Sender<v1::FromAgent>,
    down: Streaming<v1::ToAgent>,
    epoch: u64,
    /// How far this machine's clock is ahead of the aggregator's, which is the one that certificates go by.
    ahead: i64,
    in_flight: usize,
    acknowledged: u64,
    sent: u64,
    pull: Option<oneshot::Receiver<UplinkBatch>>,
    /// Whether the buckets must still be compared, once the first lists have ended.
    disagrees: bool,
    /// Nodes whose certificates were asked for in this session, by the number of the request; answered with nothing when it ends.
    certifying: HashMap<u64, oneshot::Sender<CertificateAnswer>>,
    certified: u64,
}

impl Session {
    /// Now, by the aggregator's clock.
    fn now(&self) -> i64 {
        clock::now().saturating_sub(self.ahead)
    }
}

impl Uplink {
    /// Connects, and connects again, until the engine is gone.
    pub async fn run(mut self) {
        let mut wait = reconnect();
        loop {
            let ended = self.session(&mut wait).await;
            if matches!(ended, SessionError::Engine(_)) {
                return;
            }
            let why = crate::api::chain(&ended);
            if !matches!(ended, SessionError::Renewed) {
                tracing::warn!(error = %why, "no connection to the aggregator");
                self.link.send_replace(Link { connected: false, last_error: Some(why) });
                sleep(wait.next().unwrap_or(RECONNECT.1)).await;
            }
        }
    }

    async fn session(&mut self, wait: &mut ExponentialBackoff) -> SessionError {
        let opened = self.open().await;
        self.introduced = match &opened {
            Ok(_) => true,
            Err(SessionError::Connect(_)) => self.introduced,
            // It may be an aggregator that has lost the list and refuses its digest: the next attempt sends the list.
            Err(_) => false,
        };
        match opened {
            Ok((mut session, channel)) => {
                let began = Instant::now();
                self.link.send_replace(Link { connected: true, last_error: None });
                let ended = match self.converse(&mut session, channel).await {
                    Ok(never) => match never {},
                    Err(ended) => ended,
                };
                if began.elapsed() >= HELD {
                    *wait = reconnect();
                }
                ended
            }
            Err(ended) => ended,
        }
    }

    /// Connects with the newest certificate that works, and sends the Hello.
    async fn open(&mut self) -> Result<(Session, tonic::transport::Channel), SessionError> {
        let mut refused = SessionError::Ended("no certificate".to_owned());
        for issued in self.credential.certificates().cloned().collect::<Vec<_>>() {
            match self.open_with(&issued).await {
                Ok(opened) => {
                    if self.credential.used(&issued) {
                        self.vault.keep(&self.credential).await?;
                        tracing::info!("the renewed certificate is in use");
                    }
                    return Ok(opened);
                }
                Err(error @ SessionError::Engine(_)) => return Err(error),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    async fn open_with(&self, issued: &Issued) -> Result<(Session, tonic::transport::Channel), SessionError> {
        let channel = enrol::connect(&self.url, &self.key, &self.credential, issued).await?;
        let version = self.server.refresh().await;
        if let Some(minor) = version.minor {
            self.engine.send(EngineCommand::ServerMinor(minor)).await?;
        }
        let root = self.engine.ask(EngineCommand::Open).await?.await.map_err(|_| EngineStopped)?;
        let (up, outgoing) = mpsc::channel(WINDOW + 4);
        send(&up, Up::Hello(self.hello(version.name, root))).await?;
        let connecting = async {
            let mut client = enrol::uplink_client(channel.clone());
            let mut down = client.connect(ReceiverStream::new(outgoing)).await?.into_inner();
            let first = down.message().await?;
            Ok::<_, tonic::Status>((down, first))
        };
        let slow = |_| SessionError::Ended("no welcome".to_owned());
        let (down, first) = tokio::time::timeout(WELCOME, connecting).await.map_err(slow)??;
        let Some(v1::ToAgent { message: Some(Down::Welcome(welcome)) }) = first else {
            return Err(SessionError::Protocol("the first message is no welcome"));
        };
        let (epoch, disagrees) = (welcome.epoch, !welcome.in_agreement);
        let ahead = clock::now().saturating_sub(welcome.clock);
        let session = Session {
            up,
            down,
            epoch,
            ahead,
            in_flight: 0,
            acknowledged: 0,
            sent: 0,
            pull: None,
            disagrees,
            certifying: HashMap::new(),
            certified: 0,
        };
        Ok((session, channel))
    }

    fn hello(&self, server_version: String, root: Option<[u8; 32]>) -> v1::Hello {
        let controls: Vec<_> = catalog::all().map(|control| format!("{}@{}", control.id, control.version)).collect();
        v1::Hello {
            protocol: PROTOCOL,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            fingerprint: self.fingerprint.clone(),
            clock: clock::now(),
            claimed_cluster: self.credential.cluster.to_string(),
            root_digest: root.map(Vec::from).unwrap_or_default(),
            server_version,
            controls_digest: controls_digest(&controls).to_vec(),
            controls: if self.introduced { Vec::new() } else { controls },
        }
    }

    /// Sends and receives until something ends the session.
    async fn converse(
        &mut self,
        session: &mut Session,
        channel: tonic::transport::Channel,
    ) -> Result<std::convert::Infallible, SessionError> {
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        let mut progress = self.engine.progress.clone();
        let renew = sleep(self.until_renewal(session));
        tokio::pin!(renew);
        loop {
            if session.disagrees && progress.borrow_and_update().synced {
                session.disagrees = false;
                let digest = self.engine.ask(EngineCommand::Digest).await?.await.map_err(|_| EngineStopped)?;
                send(&session.up, Up::Buckets(wire::buckets(&digest))).await?;
            }
            if session.in_flight < WINDOW && session.pull.is_none() {
                session.pull = Some(self.engine.ask(EngineCommand::Pull).await?);
            }
            tokio::select! {
                batch = pulled(&mut session.pull) => {
                    session.pull = None;
                    self.send_batch(session, batch.map_err(|_| EngineStopped)?).await?;
                }
                message = session.down.message() => {
                    let message = message?.ok_or_else(|| SessionError::Ended("without a reason".to_owned()))?;
                    self.receive(session, message).await?;
                }
                Some(request) = self.nodes.recv() => self.certify(session, request).await?,
                Some(answer) = self.answers.recv() => send_answer(&session.up, answer).await?,
                changed = progress.changed(), if session.disagrees => {
                    changed.map_err(|_| EngineStopped)?;
                }
                _ = heartbeat.tick() => send(&session.up, Up::Heartbeat(v1::Heartbeat { clock: clock::now() })).await?,
                () = &mut renew => match self.renew(session, channel.clone()).await {
                    Ok(()) => return Err(SessionError::Renewed),
                    Err(SessionError::Connect(error)) => {
                        tracing::warn!(error = %crate::api::chain(&error), "the certificate could not be renewed");
                        renew.set(sleep(Duration::from_secs(60) + random::up_to(Duration::from_secs(60))));
                    }
                    Err(other) => return Err(other),
                },
            }
        }
    }

    async fn send_batch(&self, session: &mut Session, batch: UplinkBatch) -> Result<(), SessionError> {
        session.in_flight += 1;
        session.sent = batch.sequence;
        send(&session.up, Up::Batch(wire::batch(session.epoch, batch))).await
    }

    async fn receive(&self, session: &mut Session, message: v1::ToAgent) -> Result<(), SessionError> {
        match message.message {
            Some(Down::Ack(ack)) if ack.epoch == session.epoch => {
                if ack.sequence > session.sent {
                    return Err(SessionError::Protocol("an acknowledgement of what was not sent"));
                }
                let newly = ack.sequence.saturating_sub(session.acknowledged);
                session.acknowledged = session.acknowledged.max(ack.sequence);
                session.in_flight = session.in_flight.saturating_sub(usize::try_from(newly).unwrap_or(usize::MAX));
                self.engine.send(EngineCommand::Acknowledged(ack.sequence)).await?;
            }
            Some(Down::DifferingBuckets(buckets)) if !buckets.numbers.is_empty() => {
                self.engine.send(EngineCommand::Resync(buckets.numbers)).await?;
            }
            Some(Down::RetestOrder(order)) => match convert::retest(order) {
                // The aggregator asks again for what was not answered: a full queue loses nothing.
                Ok(order) => drop(self.orders.try_send(order)),
                Err(malformed) => tracing::warn!(%malformed, "a retest order was not understood"),
            },
            Some(Down::NodeCertificate(answer)) => {
                if let Some(waiting) = session.certifying.remove(&answer.request_id) {
                    // A node that waits no more asks again.
                    let _gone = waiting.send(CertificateAnswer::from(answer));
                }
            }
            Some(Down::Welcome(_)) => return Err(SessionError::Protocol("a second welcome")),
            // Answers to an earlier epoch, agreement, and what a newer aggregator may send.
            _ => {}
        }
        Ok(())
    }

    /// Hands a node's request on. Its answer comes as a message of its own.
    async fn certify(&self, session: &mut Session, request: CertificateRequest) -> Result<(), SessionError> {
        session.certifying.retain(|_, waiting| !waiting.is_closed());
        session.certified += 1;
        let request_id = session.certified;
        session.certifying.insert(request_id, request.answer);
        let node = request.node.as_str().to_owned();
        send(&session.up, Up::NodeCsr(v1::NodeCsr { request_id, node, csr: request.csr })).await
    }

    fn until_renewal(&self, session: &Session) -> Duration {
        let left = u64::try_from(self.credential.renew_in(session.now())).unwrap_or(0);
        (Duration::from_millis(left) + random::up_to(Duration::from_millis(left / 10))).max(RENEW_APART)
    }

    /// Keeps a renewed certificate beside the old one.
    async fn renew(&mut self, session: &Session, channel: tonic::transport::Channel) -> Result<(), SessionError> {
        let issued = enrol::renew(channel, &self.key, session.now()).await?;
        self.credential.next = Some(issued);
        self.vault.keep(&self.credential).await?;
        self.renewed.send_replace(self.credential.clone());
        Ok(())
    }
}

/// The batch that was pulled; never, if none was.
async fn pulled(pull: &mut Option<oneshot::Receiver<UplinkBatch>>) -> Result<UplinkBatch, oneshot::error::RecvError> {
    match pull {
        Some(pull) => pull.await,
        None => std::future::pending().await,
    }
}

/// Sends an answer, in parts where it is larger than a message.
async fn send_answer(up: &mpsc::Sender<v1::FromAgent>, answer: v1::RetestAnswer) -> Result<(), SessionError> {
    for part in parts::split(answer) {
        send(up, Up::RetestAnswer(part)).await?;
    }
    Ok(())
}

async fn send(up: &mpsc::Sender<v1::FromAgent>, message: Up) -> Result<(), SessionError> {
    let sent = up.send(v1::FromAgent { message: Some(message) }).await;
    sent.map_err(|_| SessionError::Ended("the stream is closed".to_owned()))
}

fn reconnect() -> ExponentialBackoff {
    let (shortest, longest) = RECONNECT;
    ExponentialBuilder::new().with_min_delay(shortest).with_max_delay(longest).without_max_times().with_jitter().build()
}
