//! One stream to the relay: Hello and Welcome, Pod updates, kernel reads on request, batches of observations.

use std::time::Duration;

use holdfast_model::{Nonce, RetestId, canonical};
use holdfast_proto::{PROTOCOL, limits, v1};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Streaming};
use v1::from_node::Message as Up;
use v1::relay_client::RelayClient;
use v1::to_node::Message as Down;

use super::link::{Link, LinkError, Member};
use super::outgoing::Outgoing;
use super::statement::{self, NodePods, ReadRequest};
use super::view::NodeView;
use super::{NodeConfig, Sensors, host};
use crate::clock;
use crate::health::Readiness;
use crate::random;
use holdfast_agent_core::text;

/// How long the relay may take for its first answer.
const WELCOME: Duration = Duration::from_secs(10);
/// Messages in flight.
const WINDOW: usize = 32;
/// Wait before a renewal that failed is tried again.
const RENEW_AGAIN: Duration = Duration::from_secs(60);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("the relay does not know this node: {0}")]
    Unknown(String),
    #[error("the relay ended the stream: {0}")]
    Stream(String),
    #[error("the relay broke the protocol: {0}")]
    Protocol(&'static str),
    #[error("a renewed certificate is put to use")]
    Renewed,
}

/// An open stream.
struct Session<'a> {
    member: Member,
    boot: String,
    up: mpsc::Sender<v1::FromNode>,
    node_pods: NodePods,
    sensors: &'a watch::Receiver<Sensors>,
}

/// Connects and serves the stream until it ends.
pub(super) async fn run(
    config: &NodeConfig,
    link: &mut Link,
    view: &mut NodeView,
    outgoing: &mut Outgoing,
    sensors: &watch::Receiver<Sensors>,
    ready: &watch::Sender<Readiness>,
) -> Ended {
    let (client, member) = match link.connect().await {
        Ok(connected) => connected,
        Err(error) => return error.into(),
    };
    let ended = match talk(config, link, client, member, view, outgoing, sensors, ready).await {
        Ok(never) => match never {},
        Err(ended) => ended,
    };
    if matches!(ended, Ended::Unknown(_)) {
        link.forget();
    }
    ended
}

#[allow(clippy::too_many_arguments, reason = "everything that one stream touches, each borrowed for its length")]
async fn talk(
    config: &NodeConfig,
    link: &mut Link,
    mut client: RelayClient<Channel>,
    member: Member,
    view: &mut NodeView,
    outgoing: &mut Outgoing,
    sensors: &watch::Receiver<Sensors>,
    ready: &watch::Sender<Readiness>,
) -> Result<std::convert::Infallible, Ended> {
    let (up, messages) = mpsc::channel(WINDOW);
    let mut session = Session { member, boot: host::boot(), up, node_pods: NodePods::default(), sensors };
    let state = view.state(&sensors.borrow());
    let mut down = session.open(&mut client, messages, state).await.inspect_err(|_| link.forget())?;
    tracing::info!(node = session.member.node, "connected to the relay");
    ready.send_replace(Readiness::Ready);
    if let Some(batch) = outgoing.again() {
        session.send(Up::RuntimeObservations(batch)).await?;
    }
    let mut heartbeat = tokio::time::interval(config.heartbeat);
    let renew = sleep(session.member.renew_in() + random::up_to(session.member.renew_in() / 10));
    tokio::pin!(renew);
    loop {
        tokio::select! {
            message = down.message() => {
                let message = message.map_err(|status| stream(&status))?;
                let message = message.ok_or_else(|| Ended::Stream("without a word".to_owned()))?;
                session.receive(message, link, view, outgoing).await?;
            }
            batch = outgoing.next() => session.send(Up::RuntimeObservations(batch)).await?,
            _ = heartbeat.tick() => {
                view.open().await;
                session.send(Up::Heartbeat(session.heartbeat(view))).await?;
            }
            () = &mut renew => match link.renew(&session.member).await {
                Ok(()) => return Err(Ended::Renewed),
                Err(error) => {
                    tracing::warn!(error = %crate::api::chain(&error), "the certificate could not be renewed");
                    renew.set(sleep(RENEW_AGAIN));
                }
            },
        }
    }
}

impl Session<'_> {
    /// Sends Hello and awaits Welcome. After a refused certificate the next attempt uses the token.
    async fn open(
        &self,
        client: &mut RelayClient<Channel>,
        messages: mpsc::Receiver<v1::FromNode>,
        view: v1::KernelViewState,
    ) -> Result<Streaming<v1::ToNode>, Ended> {
        let hello = v1::NodeHello {
            protocol: PROTOCOL,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            boot: self.boot.clone(),
            kernel_view: Some(view),
            kernel_release: host::kernel_release(),
        };
        self.send(Up::Hello(hello)).await?;
        let opening = async {
            let mut down = client.connect(ReceiverStream::new(messages)).await?.into_inner();
            let first = down.message().await?;
            Ok::<_, tonic::Status>((down, first))
        };
        let opened = timeout(WELCOME, opening).await.map_err(|_| Ended::Stream("no welcome".to_owned()))?;
        let (down, first) = opened.map_err(|status| stream(&status))?;
        match first.and_then(|first| first.message) {
            Some(Down::Welcome(welcome)) if welcome.node == self.member.node => Ok(down),
            Some(Down::Welcome(_)) => Err(Ended::Protocol("it takes this node for another one")),
            _ => Err(Ended::Protocol("the first message is no welcome")),
        }
    }

    fn heartbeat(&self, view: &NodeView) -> v1::NodeHeartbeat {
        let sensors = self.sensors.borrow();
        v1::NodeHeartbeat {
            clock: clock::now(),
            kernel_view: Some(view.state(&sensors)),
            counters: sensors.counters.iter().map(|(name, count)| (text::clip(name), *count)).collect(),
            probe_at: sensors.probe_at,
        }
    }

    async fn receive(
        &mut self,
        message: v1::ToNode,
        link: &Link,
        view: &mut NodeView,
        outgoing: &mut Outgoing,
    ) -> Result<(), Ended> {
        match message.message {
            Some(Down::PodUpdate(pods)) => self.node_pods.apply(pods),
            Some(Down::KernelRead(look)) => self.look(look, link, view).await?,
            Some(Down::RuntimeObservationsAck(ack)) => outgoing.acknowledged(&ack),
            Some(Down::Welcome(_)) => return Err(Ended::Protocol("a second welcome")),
            // A message of a newer relay.
            _ => {}
        }
        Ok(())
    }

    /// Reads the kernel view and answers. The read begins after the nonce has arrived.
    async fn look(&self, look: v1::KernelReadRequest, link: &Link, view: &mut NodeView) -> Result<(), Ended> {
        let (Some(retest), Some(nonce)) = (RetestId::from_slice(&look.retest_id), Nonce::from_slice(&look.nonce))
        else {
            return Err(Ended::Protocol("a look without a retest"));
        };
        let refuse = |why: String| v1::KernelReadPart {
            retest_id: look.retest_id.clone(),
            nonce: look.nonce.clone(),
            error: why,
            last: true,
            ..v1::KernelReadPart::default()
        };
        let reading = match view.look().await {
            Ok(reading) => reading,
            Err(shut) => return self.send(Up::KernelReadPart(refuse(text::line(&shut.reason)))).await,
        };
        let (cluster, node, boot) = (self.member.cluster, self.member.node.clone(), self.boot.clone());
        let mut pods = look.pods.clone();
        pods.sort_unstable();
        pods.dedup();
        let request = ReadRequest { retest, nonce, cluster, node, boot, pods };
        let stated = statement::statement(request, reading, &self.node_pods, clock::now());
        let bytes = canonical::bytes(&stated).expect("a statement holds strings, integers and lists under string keys");
        let signature = match link.key.sign(&bytes) {
            Ok(signature) => signature,
            Err(error) => return self.send(Up::KernelReadPart(refuse(crate::api::chain(&error)))).await,
        };
        let parts = bytes.chunks(limits::BATCH_BYTES).count();
        for (number, part) in bytes.chunks(limits::BATCH_BYTES).enumerate() {
            let last = number + 1 == parts;
            let part = v1::KernelReadPart {
                retest_id: look.retest_id.clone(),
                nonce: look.nonce.clone(),
                statement: part.to_vec(),
                last,
                signature: if last { signature.clone() } else { Vec::new() },
                error: String::new(),
            };
            self.send(Up::KernelReadPart(part)).await?;
        }
        Ok(())
    }

    async fn send(&self, message: Up) -> Result<(), Ended> {
        let sent = self.up.send(v1::FromNode { message: Some(message) }).await;
        sent.map_err(|_| Ended::Stream("the stream is closed".to_owned()))
    }
}

fn stream(status: &tonic::Status) -> Ended {
    let reason = text::line(&format!("{:?}: {}", status.code(), status.message()));
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => Ended::Unknown(reason),
        _ => Ended::Stream(reason),
    }
}
