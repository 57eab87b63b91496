//! One connected node: what it was told, what it was asked, whether its eye is open.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use holdfast_model::kernel::SignedNodeStatement;
use holdfast_model::{ClusterId, CoverageState, Nonce, RetestId, UnixMillis};
use holdfast_proof::NodeQuestion;
use holdfast_proof::node_statement;
use holdfast_proto::v1;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use v1::from_node::Message as From;
use v1::to_node::Message as To;

use super::sensing::Sensing;
use super::{NodeObservations, Nodes, locked, tell};
use crate::clock;
use crate::node_views::Seen;
use holdfast_agent_core::text;

pub(super) type Outbound = mpsc::Sender<Result<v1::ToNode, Status>>;

/// A node says something at least this often, or it is taken for gone.
const SILENCE: Duration = Duration::from_secs(45);
/// A stream ends this long before its certificate; of a very short life, after nine tenths.
const MARGIN: Duration = Duration::from_secs(60);
/// The largest statement of one node.
const STATEMENT_BYTES: usize = 8 * 1024 * 1024;
/// The longest name of a run: a boot id and a number.
const RUN_BYTES: usize = 128;

/// One connected node.
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) node: String,
    /// Cancelled when its stream has ended.
    pub(super) gone: CancellationToken,
    cluster: ClusterId,
    boot: String,
    certificate: NodeCertificate,
    to: Outbound,
    status: Mutex<NodeStatus>,
    sensing: Mutex<Sensing>,
    /// Why it left the last question unanswered; none where it answered.
    silence: Mutex<Option<String>>,
    looks: Mutex<HashMap<RetestId, Pending>>,
}

/// The certificate with which a node has connected.
#[derive(Debug, Clone)]
pub(super) struct NodeCertificate {
    /// DER.
    pub(super) der: Vec<u8>,
    /// The last moment at which it is valid.
    pub(super) not_after: UnixMillis,
}

/// What a node says of its own eye.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeStatus {
    pub(super) open: bool,
    pub(super) state: CoverageState,
    pub(super) reason: String,
    /// The same of its sensors.
    pub(super) sensors: (CoverageState, String),
}

/// A question that is not answered yet, with the parts of the answer that have come.
struct Pending {
    nonce: Nonce,
    /// uids of the Pods, sorted, each once.
    pods: Vec<String>,
    bytes: Vec<u8>,
    answer: oneshot::Sender<Seen>,
}

impl NodeStatus {
    pub(super) fn of(said: Option<&v1::KernelViewState>) -> Self {
        let sensors = (CoverageState::Starting, "its sensors have not said anything yet".to_owned());
        let Some(said) = said else {
            let reason = "the node does not say whether it can look into its kernel".to_owned();
            return Self { open: false, state: CoverageState::Failing, reason, sensors };
        };
        if said.available {
            return Self { open: true, state: CoverageState::Seen, reason: String::new(), sensors };
        }
        let reason = text::line(&said.reason);
        // A closed eye is never "seen", whatever the node calls it.
        let state = said.state.parse().ok().filter(|state| *state != CoverageState::Seen);
        let reason = if reason.is_empty() { "the node gives no reason".to_owned() } else { reason };
        Self { open: false, state: state.unwrap_or(CoverageState::Failing), reason, sensors }
    }
}

impl Line {
    pub(super) fn new(
        number: u64,
        cluster: ClusterId,
        node: &str,
        hello: &v1::NodeHello,
        certificate: NodeCertificate,
        to: Outbound,
    ) -> Self {
        Self {
            number,
            node: node.to_owned(),
            gone: CancellationToken::new(),
            cluster,
            boot: hello.boot.clone(),
            certificate,
            to,
            status: Mutex::new(NodeStatus::of(hello.kernel_view.as_ref())),
            sensing: Mutex::default(),
            silence: Mutex::default(),
            looks: Mutex::default(),
        }
    }

    /// Whether its certificate was made before the other's.
    pub(super) fn is_older_than(&self, other: &Self) -> bool {
        self.certificate.not_after < other.certificate.not_after
    }

    pub(super) fn is_open(&self) -> bool {
        locked(&self.status).open
    }

    /// What it says of its eye; where it says that it sees, and yet left the last question unanswered, that.
    pub(super) fn status(&self) -> NodeStatus {
        let status = locked(&self.status).clone();
        match &*locked(&self.silence) {
            Some(why) if status.open => {
                let reason = format!("it was asked what runs there and did not answer: {why}");
                NodeStatus { state: CoverageState::Failing, reason, ..status }
            }
            _ => status,
        }
    }

    /// Keeps whether it answered; whether that is news.
    fn answered(&self, seen: &Seen) -> bool {
        let silence = match seen {
            Seen::Statement(_) => None,
            Seen::Silent(why) => Some(why.clone()),
        };
        let before = std::mem::replace(&mut *locked(&self.silence), silence.clone());
        before != silence
    }

    pub(super) async fn send(&self, message: To) -> Result<(), Status> {
        let sent = self.to.send(Ok(v1::ToNode { message: Some(message) })).await;
        sent.map_err(|_| Status::cancelled("the node is gone"))
    }

    /// Asks the node to look, and waits for its answer; with it, whether its coverage is another one for it.
    pub(super) async fn look(
        &self,
        retest: RetestId,
        nonce: Nonce,
        mut pods: Vec<String>,
        within: Duration,
    ) -> (Seen, bool) {
        let status = self.status();
        if !status.open {
            return (Seen::Silent(status.reason), false);
        }
        pods.sort_unstable();
        pods.dedup();
        let (answer, answered) = oneshot::channel();
        locked(&self.looks).insert(retest, Pending { nonce, pods: pods.clone(), bytes: Vec::new(), answer });
        let look =
            v1::KernelReadRequest { retest_id: retest.as_bytes().to_vec(), nonce: nonce.as_bytes().to_vec(), pods };
        let asked = async {
            self.send(To::KernelRead(look)).await.ok()?;
            tokio::select! {
                seen = answered => seen.ok(),
                () = self.gone.cancelled() => None,
            }
        };
        let seen = match timeout(within, asked).await {
            Ok(Some(seen)) => seen,
            Ok(None) => Seen::Silent("the connection to the node's agent was lost".to_owned()),
            Err(_) => Seen::Silent(format!("the node's agent did not answer within {} s", within.as_secs())),
        };
        locked(&self.looks).remove(&retest);
        let news = self.answered(&seen);
        (seen, news)
    }

    /// Takes a part of an answer, and answers whoever asked when it is the last.
    fn part(&self, part: v1::KernelReadPart) {
        let mut looks = locked(&self.looks);
        let id = RetestId::from_slice(&part.retest_id);
        let Some((id, pending)) = id.and_then(|id| Some((id, looks.get_mut(&id)?))) else { return };
        let seen = if !part.error.is_empty() {
            Seen::Silent(text::line(&part.error))
        } else if pending.bytes.len() + part.statement.len() > STATEMENT_BYTES {
            Seen::Silent("the node's statement is too large".to_owned())
        } else {
            pending.bytes.extend_from_slice(&part.statement);
            if !part.last {
                return;
            }
            let bytes = std::mem::take(&mut pending.bytes);
            match self.check(id, pending, bytes, part.signature) {
                Ok(signed) => Seen::Statement(signed),
                Err(reason) => {
                    tracing::warn!(node = self.node, reason, "a node's statement was refused");
                    Seen::Silent(format!("the node's statement was refused: {reason}"))
                }
            }
        };
        if let Some(pending) = looks.remove(&id) {
            // Whoever asked waits no more: the answer is too late.
            let _late = pending.answer.send(seen);
        }
    }

    /// The statement, if it answers what was asked and is signed by the key of the node's certificate.
    fn check(
        &self,
        retest: RetestId,
        asked: &Pending,
        bytes: Vec<u8>,
        signature: Vec<u8>,
    ) -> Result<SignedNodeStatement, String> {
        let question = NodeQuestion {
            retest,
            nonce: asked.nonce,
            cluster: self.cluster,
            node: &self.node,
            boot: Some(&self.boot),
            pods: Some(&asked.pods),
        };
        let statement = String::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?;
        let signed = SignedNodeStatement { statement, signature, certificate: self.certificate.der.clone() };
        node_statement::check(&question, &signed).map_err(|problem| problem.to_string())?;
        Ok(signed)
    }
}

/// Serves a node until something ends its stream.
pub(super) async fn serve(nodes: &Nodes, line: &Line, mut inbound: Streaming<v1::FromNode>) -> Result<(), Status> {
    let mut pods = nodes.shared.places.on_node(&line.node);
    let mut told = pods.borrow_and_update().clone();
    for message in tell::whole(&told) {
        line.send(To::PodUpdate(message)).await?;
    }
    let ends = Instant::now() + left(line.certificate.not_after);
    let mut handed = None;
    loop {
        tokio::select! {
            () = nodes.shared.stop.cancelled() => return Err(Status::unavailable("this relay is ending")),
            () = line.gone.cancelled() => return Err(Status::aborted("another stream of this node has replaced this one")),
            () = sleep_until(ends) => return Err(Status::unauthenticated("the certificate is about to expire: renew it")),
            message = timeout(SILENCE, inbound.message()) => {
                let message = message.map_err(|_| Status::deadline_exceeded("the node has said nothing for too long"))??;
                let Some(message) = message else { return Ok(()) };
                take(nodes, line, message, &mut handed).await?;
            }
            ack = kept(&mut handed) => line.send(To::RuntimeObservationsAck(ack?)).await?,
            changed = pods.changed() => {
                changed.map_err(|_| Status::unavailable("this relay is ending"))?;
                let now = pods.borrow_and_update().clone();
                for message in tell::difference(&told, &now) {
                    line.send(To::PodUpdate(message)).await?;
                }
                told = now;
            }
        }
    }
}

async fn take(nodes: &Nodes, line: &Line, message: v1::FromNode, handed: &mut Option<Handed>) -> Result<(), Status> {
    match message.message {
        Some(From::Heartbeat(beat)) => {
            let sensors = locked(&line.sensing).hear(&beat);
            let now = NodeStatus { sensors, ..NodeStatus::of(beat.kernel_view.as_ref()) };
            let before = std::mem::replace(&mut *locked(&line.status), now.clone());
            if before != now {
                nodes.shared.changed.send_replace(());
            }
            Ok(())
        }
        Some(From::KernelReadPart(part)) => {
            line.part(part);
            Ok(())
        }
        Some(From::RuntimeObservations(batch)) => {
            *handed = observations(nodes, line, batch).await?;
            Ok(())
        }
        Some(From::Hello(_)) => Err(Status::failed_precondition("Hello comes once")),
        // A kind of message that a later version knows.
        None => Ok(()),
    }
}

/// A batch that was handed on: what to answer once it is kept.
struct Handed {
    ack: v1::RuntimeObservationsAck,
    kept: oneshot::Receiver<()>,
}

/// Hands a batch on. A node says one at a time; whether it was taken before, the aggregator knows.
async fn observations(nodes: &Nodes, line: &Line, batch: v1::RuntimeObservations) -> Result<Option<Handed>, Status> {
    let Some(keeper) = &nodes.shared.observations else { return Ok(None) };
    let v1::RuntimeObservations { run, sequence, observations } = batch;
    if !run.starts_with(&line.boot) || run.is_empty() || run.len() > RUN_BYTES {
        return Err(Status::invalid_argument("observations.run: of another boot than the Hello's"));
    }
    let (told, kept) = oneshot::channel();
    let ack = v1::RuntimeObservationsAck { run: run.clone(), sequence };
    let handed = NodeObservations { node: line.node.clone(), run, sequence, records: observations, kept: told };
    keeper.send(handed).await.map_err(|_| cannot_keep())?;
    Ok(Some(Handed { ack, kept }))
}

/// The acknowledgement of the batch that is handed on, once it is kept; never, if there is none.
async fn kept(handed: &mut Option<Handed>) -> Result<v1::RuntimeObservationsAck, Status> {
    let Some(waiting) = handed else { return std::future::pending().await };
    let kept = (&mut waiting.kept).await;
    let ack = std::mem::take(&mut waiting.ack);
    *handed = None;
    kept.map(|()| ack).map_err(|_| cannot_keep())
}

fn cannot_keep() -> Status {
    Status::unavailable("what sensors saw cannot be kept now")
}

fn left(not_after: UnixMillis) -> Duration {
    let left = not_after.saturating_sub(clock::now());
    let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
    left - MARGIN.min(left / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(open: bool, state: &str, reason: &str) -> v1::KernelViewState {
        v1::KernelViewState {
            available: open,
            state: state.into(),
            reason: reason.into(),
            ..v1::KernelViewState::default()
        }
    }

    #[test]
    fn a_closed_eye_is_never_seen_and_always_has_a_reason() {
        assert_eq!(NodeStatus::of(Some(&said(true, "", ""))).state, CoverageState::Seen);
        let closed = NodeStatus::of(Some(&said(false, "seen", "")));
        assert_eq!((closed.open, closed.state), (false, CoverageState::Failing));
        assert!(!closed.reason.is_empty());
        let refused = NodeStatus::of(Some(&said(false, "forbidden", "CAP_BPF\nis missing")));
        assert_eq!((refused.state, refused.reason.as_str()), (CoverageState::Forbidden, "CAP_BPF\\nis missing"));
        assert!(!NodeStatus::of(None).open);
    }

    #[test]
    fn a_certificate_that_ends_earlier_is_of_another_machine_that_had_the_name_before() {
        let line = |not_after| {
            let certificate = NodeCertificate { der: Vec::new(), not_after };
            let (to, _nobody) = mpsc::channel(1);
            Line::new(1, ClusterId::from_bytes([1; 16]), "a", &v1::NodeHello::default(), certificate, to)
        };
        assert!(line(2030).is_older_than(&line(2031)));
        assert!(!line(2031).is_older_than(&line(2031)), "its own, when it connects again");
        assert!(!line(2032).is_older_than(&line(2031)));
    }
}
