//! One connected node: how it is doing, and what it has been asked and has not answered.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_agent_core::relay::node_coverage::NodeStatus;
use holdfast_agent_core::relay::sensor_records::SensorRecords;
use holdfast_agent_core::text;
use holdfast_model::kernel::SignedNodeStatement;
use holdfast_model::{ClusterId, Nonce, RetestId, UnixMillis};
use holdfast_proof::{NodeQuestion, node_statement};
use holdfast_proto::v1;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use v1::to_node::Message as To;

use super::wire;
use crate::clock;
use crate::node_views::ViewAnswer;

pub(super) type Outbound = mpsc::Sender<Result<v1::ToNode, Status>>;

/// A stream ends this long before its certificate; of a very short life, after nine tenths.
const MARGIN: Duration = Duration::from_secs(60);
/// The largest statement of one node.
const STATEMENT_BYTES: usize = 8 * 1024 * 1024;

/// One connected node.
pub(super) struct NodeConnection {
    pub(super) number: u64,
    /// The node's name.
    pub(super) name: String,
    /// The boot that it has named when it connected.
    pub(super) boot: String,
    /// Cancelled when its stream has ended.
    pub(super) ended: CancellationToken,
    cluster: ClusterId,
    certificate: NodeCertificate,
    to: Outbound,
    status: Mutex<NodeStatus>,
    sensors: Mutex<SensorRecords>,
    /// Why it left the last read request unanswered; none where it answered.
    unanswered: Mutex<Option<String>>,
    requests: Mutex<HashMap<RetestId, OpenRequest>>,
}

/// The certificate with which a node has connected.
#[derive(Debug, Clone)]
pub(super) struct NodeCertificate {
    /// DER.
    pub(super) der: Vec<u8>,
    /// The last moment at which it is valid.
    pub(super) not_after: UnixMillis,
}

/// A statement's bytes, and their signature.
type SignedBytes = (Vec<u8>, Vec<u8>);

/// A read request that is not answered yet, with the parts of the answer that have come.
struct OpenRequest {
    nonce: Nonce,
    /// uids of the Pods, sorted, each once.
    pods: Vec<String>,
    bytes: Vec<u8>,
    answer: oneshot::Sender<ViewAnswer>,
}

impl NodeConnection {
    pub(super) fn new(
        number: u64,
        cluster: ClusterId,
        name: &str,
        hello: &v1::NodeHello,
        certificate: NodeCertificate,
        to: Outbound,
    ) -> Self {
        Self {
            number,
            name: name.to_owned(),
            boot: hello.boot.clone(),
            ended: CancellationToken::new(),
            cluster,
            certificate,
            to,
            status: Mutex::new(NodeStatus::new(hello.kernel_view.as_ref().map(wire::kernel_view))),
            sensors: Mutex::default(),
            unanswered: Mutex::default(),
            requests: Mutex::default(),
        }
    }

    /// Whether its certificate was made before the other's.
    pub(super) fn is_older_than(&self, other: &Self) -> bool {
        self.certificate.not_after < other.certificate.not_after
    }

    pub(super) fn is_available(&self) -> bool {
        locked(&self.status).is_available
    }

    /// What it reports; where its view is available and it left the last read request unanswered, that.
    pub(super) fn status(&self) -> NodeStatus {
        let status = locked(&self.status).clone();
        match &*locked(&self.unanswered) {
            Some(why) if status.is_available => status.unanswered(why),
            _ => status,
        }
    }

    /// Takes in a heartbeat; whether its status is another one now.
    pub(super) fn apply_heartbeat(&self, heartbeat: &v1::NodeHeartbeat) -> bool {
        let sensors = locked(&self.sensors).apply(&wire::sensors(heartbeat));
        let view = heartbeat.kernel_view.as_ref().map(wire::kernel_view);
        let now = NodeStatus { sensors, ..NodeStatus::new(view) };
        let before = std::mem::replace(&mut *locked(&self.status), now.clone());
        before != now
    }

    pub(super) async fn send(&self, message: To) -> Result<(), Status> {
        let sent = self.to.send(Ok(v1::ToNode { message: Some(message) })).await;
        sent.map_err(|_| Status::cancelled("the node is gone"))
    }

    /// How long its certificate allows the stream to last.
    pub(super) fn lifetime(&self) -> Duration {
        let left = self.certificate.not_after.saturating_sub(clock::now());
        let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
        left - MARGIN.min(left / 10)
    }

    /// Asks the node what runs, and waits for its answer; with it, whether its status is another one for it.
    pub(super) async fn read(
        &self,
        retest: RetestId,
        nonce: Nonce,
        mut pods: Vec<String>,
        within: Duration,
    ) -> (ViewAnswer, bool) {
        let status = self.status();
        if !status.is_available {
            return (ViewAnswer::Missing(status.kernel_view.1), false);
        }
        pods.sort_unstable();
        pods.dedup();
        let answer = match timeout(within, self.ask(retest, nonce, pods)).await {
            Ok(Some(answer)) => answer,
            Ok(None) => ViewAnswer::Missing("the connection to the node's agent was lost".to_owned()),
            Err(_) => ViewAnswer::Missing(format!("the node's agent did not answer within {} s", within.as_secs())),
        };
        locked(&self.requests).remove(&retest);
        let is_changed = self.note_answer(&answer);
        (answer, is_changed)
    }

    /// `None` where the stream ends first.
    async fn ask(&self, retest: RetestId, nonce: Nonce, pods: Vec<String>) -> Option<ViewAnswer> {
        let (answer, answered) = oneshot::channel();
        let open = OpenRequest { nonce, pods: pods.clone(), bytes: Vec::new(), answer };
        locked(&self.requests).insert(retest, open);
        let (retest_id, nonce) = (retest.as_bytes().to_vec(), nonce.as_bytes().to_vec());
        self.send(To::KernelRead(v1::KernelReadRequest { retest_id, nonce, pods })).await.ok()?;
        tokio::select! {
            answer = answered => answer.ok(),
            () = self.ended.cancelled() => None,
        }
    }

    /// Notes whether it answered; whether that is another state than before.
    fn note_answer(&self, answer: &ViewAnswer) -> bool {
        let unanswered = match answer {
            ViewAnswer::Statement(_) => None,
            ViewAnswer::Missing(why) => Some(why.clone()),
        };
        let before = std::mem::replace(&mut *locked(&self.unanswered), unanswered.clone());
        before != unanswered
    }

    /// Takes a part of an answer, and answers whoever asked when it is the last.
    pub(super) fn apply_part(&self, part: v1::KernelReadPart) {
        let mut requests = locked(&self.requests);
        let id = RetestId::from_slice(&part.retest_id);
        let Some((id, open)) = id.and_then(|id| Some((id, requests.get_mut(&id)?))) else { return };
        let Some(read) = open.apply(part) else { return };
        let answer = match read {
            Ok((bytes, signature)) => self.verified(id, open, bytes, signature),
            Err(why) => ViewAnswer::Missing(why),
        };
        if let Some(open) = requests.remove(&id) {
            // Whoever asked waits no more: the answer is too late.
            let _late = open.answer.send(answer);
        }
    }

    fn verified(&self, retest: RetestId, open: &OpenRequest, bytes: Vec<u8>, signature: Vec<u8>) -> ViewAnswer {
        match self.check(retest, open, bytes, signature) {
            Ok(signed) => ViewAnswer::Statement(signed),
            Err(reason) => {
                tracing::warn!(node = self.name, reason, "a node's statement was refused");
                ViewAnswer::Missing(format!("the node's statement was refused: {reason}"))
            }
        }
    }

    /// The statement, if it answers what was asked and is signed by the key of the node's certificate.
    fn check(
        &self,
        retest: RetestId,
        open: &OpenRequest,
        bytes: Vec<u8>,
        signature: Vec<u8>,
    ) -> Result<SignedNodeStatement, String> {
        let question = NodeQuestion {
            retest,
            nonce: open.nonce,
            cluster: self.cluster,
            node: &self.name,
            boot: Some(&self.boot),
            pods: Some(&open.pods),
        };
        let statement = String::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?;
        let signed = SignedNodeStatement { statement, signature, certificate: self.certificate.der.clone() };
        node_statement::check(&question, &signed).map_err(|problem| problem.to_string())?;
        Ok(signed)
    }
}

impl OpenRequest {
    /// The statement and its signature once the answer is whole, or why it can't become so.
    fn apply(&mut self, part: v1::KernelReadPart) -> Option<Result<SignedBytes, String>> {
        if !part.error.is_empty() {
            return Some(Err(text::line(&part.error)));
        }
        if self.bytes.len() + part.statement.len() > STATEMENT_BYTES {
            return Some(Err("the node's statement is too large".to_owned()));
        }
        self.bytes.extend_from_slice(&part.statement);
        part.last.then(|| Ok((std::mem::take(&mut self.bytes), part.signature)))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_ends_earlier_is_of_another_machine_that_had_the_name_before() {
        let connection = |not_after| {
            let certificate = NodeCertificate { der: Vec::new(), not_after };
            let (to, _nobody) = mpsc::channel(1);
            let hello = v1::NodeHello::default();
            NodeConnection::new(1, ClusterId::from_bytes([1; 16]), "a", &hello, certificate, to)
        };
        assert!(connection(2030).is_older_than(&connection(2031)));
        assert!(!connection(2031).is_older_than(&connection(2031)), "its own, when it connects again");
        assert!(!connection(2032).is_older_than(&connection(2031)));
    }
}
