//! One node's stream: Pods and read requests to the node; heartbeats, statements and observations from it.

use std::time::Duration;

use holdfast_agent_core::relay::pod_updates;
use holdfast_agent_core::runtime::BatchId;
use holdfast_proto::v1;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::{Status, Streaming};
use v1::from_node::Message as From;
use v1::to_node::Message as To;

use super::node_connection::NodeConnection;
use super::nodes::Nodes;
use super::wire;
use crate::engine::NodeObservations;

/// A node sends something at least this often, or it is taken for gone.
const SILENCE: Duration = Duration::from_secs(45);
/// The longest name of a run: a boot id and a number.
const RUN_BYTES: usize = 128;

/// Serves a node until something ends its stream.
pub(super) async fn serve(
    nodes: &Nodes,
    node: &NodeConnection,
    mut inbound: Streaming<v1::FromNode>,
) -> Result<(), Status> {
    let mut pods = nodes.shared.pods.on_node(&node.name);
    let mut sent = pods.borrow_and_update().listed.clone();
    for update in pod_updates::whole(&sent) {
        node.send(To::PodUpdate(wire::pod_update_to_wire(update))).await?;
    }
    let ends = Instant::now() + node.lifetime();
    let mut uncommitted = None;
    loop {
        tokio::select! {
            () = nodes.shared.stop.cancelled() => return Err(Status::unavailable("this relay is ending")),
            () = node.ended.cancelled() => return Err(Status::aborted("another stream of this node has replaced this one")),
            () = sleep_until(ends) => return Err(Status::unauthenticated("the certificate is about to expire: renew it")),
            message = timeout(SILENCE, inbound.message()) => {
                let message = message.map_err(|_| Status::deadline_exceeded("the node has sent nothing for too long"))??;
                let Some(message) = message else { return Ok(()) };
                receive(nodes, node, message, &mut uncommitted).await?;
            }
            ack = committed(&mut uncommitted) => node.send(To::RuntimeObservationsAck(ack?)).await?,
            changed = pods.changed() => {
                changed.map_err(|_| Status::unavailable("this relay is ending"))?;
                let now = pods.borrow_and_update().listed.clone();
                for update in pod_updates::difference(&sent, &now) {
                    node.send(To::PodUpdate(wire::pod_update_to_wire(update))).await?;
                }
                sent = now;
            }
        }
    }
}

async fn receive(
    nodes: &Nodes,
    node: &NodeConnection,
    message: v1::FromNode,
    uncommitted: &mut Option<Uncommitted>,
) -> Result<(), Status> {
    match message.message {
        Some(From::Heartbeat(heartbeat)) => {
            if node.apply_heartbeat(&heartbeat) {
                nodes.shared.changed.send_replace(());
            }
            Ok(())
        }
        Some(From::KernelReadPart(part)) => {
            node.apply_part(part);
            Ok(())
        }
        Some(From::RuntimeObservations(batch)) => {
            *uncommitted = hand_on(nodes, node, batch).await?;
            Ok(())
        }
        Some(From::Hello(_)) => Err(Status::failed_precondition("Hello comes once")),
        // A kind of message that a later version knows.
        None => Ok(()),
    }
}

/// A batch that was handed on, and its acknowledgement once it is committed.
struct Uncommitted {
    ack: v1::RuntimeObservationsAck,
    committed: oneshot::Receiver<()>,
}

/// Hands a batch on. A node sends one at a time; whether it was taken before, the aggregator knows.
async fn hand_on(
    nodes: &Nodes,
    node: &NodeConnection,
    batch: v1::RuntimeObservations,
) -> Result<Option<Uncommitted>, Status> {
    let Some(receiver) = &nodes.shared.observations else { return Ok(None) };
    let v1::RuntimeObservations { run, sequence, observations: records } = batch;
    if !run.starts_with(&node.boot) || run.is_empty() || run.len() > RUN_BYTES {
        return Err(Status::invalid_argument("observations.run: of another boot than the Hello's"));
    }
    let ack = v1::RuntimeObservationsAck { run: run.clone(), sequence };
    let id = BatchId { node: node.name.clone(), run, sequence };
    let (sender, committed) = oneshot::channel();
    let handed_on = receiver.send(NodeObservations { id, records, committed: sender }).await;
    handed_on.map_err(|_| cannot_keep())?;
    Ok(Some(Uncommitted { ack, committed }))
}

/// The acknowledgement of the batch that is handed on, once it is committed; never, if there is none.
async fn committed(uncommitted: &mut Option<Uncommitted>) -> Result<v1::RuntimeObservationsAck, Status> {
    let Some(waiting) = uncommitted else { return std::future::pending().await };
    let committed = (&mut waiting.committed).await;
    let ack = std::mem::take(&mut waiting.ack);
    *uncommitted = None;
    committed.map(|()| ack).map_err(|_| cannot_keep())
}

fn cannot_keep() -> Status {
    Status::unavailable("what sensors observed cannot be kept now")
}
