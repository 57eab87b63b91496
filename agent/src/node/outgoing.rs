//! What sensors saw, on its way to the relay: batched, numbered, kept until it is acknowledged, said again after a reconnect.
//!
//! Bounded: where too much waits no more is taken from the sensors, whose channel fills, and who count what they must drop.

use std::collections::VecDeque;

use holdfast_proto::{limits, v1};
use tokio::sync::mpsc;

use crate::jitter;

/// Records that may wait between the sensors and the relay.
pub const SIGHTINGS: usize = 4096;
/// Batches that may be unacknowledged.
const BATCHES: usize = 64;
/// Records in one batch.
const RECORDS: usize = 512;

/// Batches that are owed to the relay.
pub(super) struct Outgoing {
    records: mpsc::Receiver<Vec<u8>>,
    open: bool,
    /// A record that did not fit in the batch before.
    left_over: Option<Vec<u8>>,
    /// This start of the agent: what it numbers begins with 1.
    run: String,
    sequence: u64,
    unacknowledged: VecDeque<v1::Sightings>,
}

impl Outgoing {
    pub(super) fn new(boot: &str, records: mpsc::Receiver<Vec<u8>>) -> Self {
        let run = format!("{boot}.{:08x}", jitter::number());
        Self { records, open: true, left_over: None, run, sequence: 0, unacknowledged: VecDeque::new() }
    }

    /// Everything that was sent and not acknowledged, in order: a new stream begins with it.
    pub(super) fn again(&self) -> Vec<v1::Sightings> {
        self.unacknowledged.iter().cloned().collect()
    }

    /// The next batch; never, while too many are unacknowledged or nothing is seen. Losing this future loses nothing.
    pub(super) async fn next(&mut self) -> v1::Sightings {
        if !self.open || self.unacknowledged.len() >= BATCHES {
            return std::future::pending().await;
        }
        let first = match self.left_over.take() {
            Some(record) => record,
            None => match self.records.recv().await {
                Some(record) => record,
                None => {
                    self.open = false;
                    return std::future::pending().await;
                }
            },
        };
        let (mut bytes, mut records) = (first.len(), vec![first]);
        while records.len() < RECORDS
            && let Ok(record) = self.records.try_recv()
        {
            if bytes + record.len() > limits::BATCH_BYTES {
                self.left_over = Some(record);
                break;
            }
            bytes += record.len() + 8;
            records.push(record);
        }
        self.sequence += 1;
        let batch = v1::Sightings { run: self.run.clone(), sequence: self.sequence, records };
        self.unacknowledged.push_back(batch.clone());
        batch
    }

    /// Everything up to this batch is kept.
    pub(super) fn acknowledged(&mut self, ack: &v1::SightingsAck) {
        let sequence = if ack.run == self.run { ack.sequence } else { 0 };
        while self.unacknowledged.front().is_some_and(|batch| batch.sequence <= sequence) {
            self.unacknowledged.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_acknowledged_is_said_again_in_order() {
        let (send, records) = mpsc::channel(8);
        let mut outgoing = Outgoing::new("b", records);
        for byte in 1..=3u8 {
            send.send(vec![byte]).await.unwrap();
        }
        let first = outgoing.next().await;
        assert_eq!((first.sequence, first.records.len()), (1, 3));
        send.send(vec![4]).await.unwrap();
        let second = outgoing.next().await;
        assert_eq!(outgoing.again(), [first, second.clone()]);
        outgoing.acknowledged(&v1::SightingsAck { run: "another".into(), sequence: 2 });
        outgoing.acknowledged(&v1::SightingsAck { run: second.run.clone(), sequence: 1 });
        assert_eq!(outgoing.again(), [second]);
    }

    #[tokio::test]
    async fn a_batch_stays_under_the_limit_and_the_rest_comes_next() {
        let (send, records) = mpsc::channel(8);
        let mut outgoing = Outgoing::new("b", records);
        for _ in 0..3 {
            send.send(vec![0; limits::BATCH_BYTES / 2]).await.unwrap();
        }
        let sizes = [outgoing.next().await.records.len(), outgoing.next().await.records.len()];
        assert_eq!(sizes.iter().sum::<usize>(), 3);
    }
}
