//! Sends retests on a cluster's live stream: what is due, oldest first, only so many at a time.
//!
//! The record holds what is wanted; this task only sends it. A retest for an agent that is away waits there and is found
//! when the agent returns. An answer that does not come by its deadline is asked for again, after a pause.

use std::time::Duration;

use holdfast_model::{ClusterId, RetestId};
use holdfast_proto::{convert, v1};
use holdfast_store::Store;
use tokio::sync::mpsc;
use tonic::Status;

use crate::environment::SharedEnvironment;
use crate::sessions::Session;
use crate::writer::{WriteError, Writer};

/// Most retests that one agent works on at a time.
const AT_A_TIME: u64 = 64;
/// Shortest and longest pause before the record is asked again without being woken.
const PAUSE: (i64, i64) = (100, 60_000);

/// What the task needs.
pub(crate) struct Dispatch<'a> {
    pub store: &'a Store,
    pub writer: &'a Writer,
    pub environment: &'a SharedEnvironment,
    pub session: &'a Session,
    pub cluster: ClusterId,
    pub outbound: &'a mpsc::Sender<Result<v1::ToAgent, Status>>,
}

impl Dispatch<'_> {
    /// Sends until the stream is gone or the record fails.
    pub(crate) async fn run(&self) -> Result<(), WriteError> {
        loop {
            let sent = self.send_due().await?;
            if sent == 0 {
                self.wait().await?;
            }
        }
    }

    async fn send_due(&self) -> Result<usize, WriteError> {
        let now = self.environment.now();
        let out = self.store.retests_out(self.cluster, now).await?;
        let room = u32::try_from(AT_A_TIME.saturating_sub(out)).unwrap_or_default();
        if room == 0 {
            return Ok(0);
        }
        let due = self.store.due_retests(self.cluster, now, room).await?;
        if due.is_empty() {
            return Ok(0);
        }
        let ids: Vec<RetestId> = due.iter().map(|retest| retest.id).collect();
        let orders = self.writer.dispatch(self.cluster, ids).await?;
        for order in &orders {
            let message = v1::to_agent::Message::RetestOrder(convert::retest_to_wire(order));
            let sent = self.outbound.send(Ok(v1::ToAgent { message: Some(message) })).await;
            sent.map_err(|_| WriteError::Stopped)?;
        }
        Ok(orders.len())
    }

    async fn wait(&self) -> Result<(), WriteError> {
        let next = self.store.next_retest_due(self.cluster).await?;
        let pause = next.map_or(PAUSE.1, |due_at| (due_at - self.environment.now()).clamp(PAUSE.0, PAUSE.1));
        let pause = Duration::from_millis(u64::try_from(pause).unwrap_or_default());
        // Either way the record is asked again: a pause that ends is no error.
        let _ = tokio::time::timeout(pause, self.session.woken()).await;
        Ok(())
    }
}
