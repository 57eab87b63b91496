//! What sensors observed, on its way to the relay: folded, numbered, kept until it is acknowledged, sent again after a reconnect.
//!
//! One batch is under way at a time: it never changes once it was sent, so that whoever receives it again recognises it. What is
//! observed meanwhile is folded behind it. Bounded: where too much waits no more is taken from the sensors, whose channel fills
//! and who count what they must drop.

use std::time::Duration;

use holdfast_agent_core::observation_fold::{ObservationFold, REPEAT_AFTER};
use holdfast_model::canonical;
use holdfast_model::runtime_observation::RuntimeObservation;
use holdfast_proto::v1;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Records that may wait between the sensors and the relay.
pub const OBSERVATIONS: usize = 4096;
/// Behaviors in one batch: what becomes of them must fit one message of the uplink.
const RECORDS: usize = 128;
/// A record that is larger leaves without its arguments: every other text of a sensor is at most a few hundred bytes.
const RECORD_BYTES: usize = 7 * 1024;
/// A batch that was not full is followed no sooner, so that a burst is one batch.
const APART: Duration = Duration::from_millis(250);

/// Batches that the relay has not acknowledged.
pub(super) struct Outgoing {
    observations: mpsc::Receiver<RuntimeObservation>,
    is_open: bool,
    fold: ObservationFold,
    /// The fold's time counts from here.
    began: Instant,
    /// This start of the agent: what it numbers begins with 1.
    run: String,
    sequence: u64,
    unacknowledged: Option<v1::RuntimeObservations>,
    not_before: Instant,
}

impl Outgoing {
    pub(super) fn new(run: String, observations: mpsc::Receiver<RuntimeObservation>) -> Self {
        let (fold, began) = (ObservationFold::new(REPEAT_AFTER), Instant::now());
        let not_before = began;
        Self { observations, is_open: true, fold, began, run, sequence: 0, unacknowledged: None, not_before }
    }

    /// What was sent and not acknowledged: a new stream begins with it.
    pub(super) fn again(&self) -> Option<v1::RuntimeObservations> {
        self.unacknowledged.clone()
    }

    /// The next batch; never, while one is unacknowledged or nothing is observed. Dropping this future loses nothing.
    pub(super) async fn next(&mut self) -> v1::RuntimeObservations {
        loop {
            let due = match self.unacknowledged {
                Some(_) => None,
                None if self.fold.is_full() => Some(Instant::now()),
                None => self.fold.due().map(|due| (self.began + due).max(self.not_before)),
            };
            if due.is_some_and(|due| due <= Instant::now())
                && let Some(batch) = self.batch()
            {
                return batch;
            }
            let may_take = self.is_open && !self.fold.is_full();
            tokio::select! {
                observation = self.observations.recv(), if may_take => match observation {
                    Some(observation) => self.fold.add(observation, self.began.elapsed()),
                    None => self.is_open = false,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                else => std::future::pending().await,
            }
        }
    }

    fn batch(&mut self) -> Option<v1::RuntimeObservations> {
        let now = Instant::now();
        let taken = self.fold.take(RECORDS, now.duration_since(self.began));
        if taken.len() < RECORDS {
            self.not_before = now + APART;
        }
        let records: Vec<_> = taken.into_iter().map(record).collect();
        if records.is_empty() {
            return None;
        }
        self.sequence += 1;
        let batch = v1::RuntimeObservations { run: self.run.clone(), sequence: self.sequence, observations: records };
        self.unacknowledged = Some(batch.clone());
        Some(batch)
    }

    /// This batch was taken.
    pub(super) fn acknowledged(&mut self, ack: &v1::RuntimeObservationsAck) {
        self.unacknowledged.take_if(|batch| (&batch.run, batch.sequence) == (&ack.run, ack.sequence));
    }
}

fn record(observation: RuntimeObservation) -> Vec<u8> {
    let bytes = |observation: &RuntimeObservation| {
        canonical::bytes(observation).expect("an observation holds strings, integers and lists under string keys")
    };
    let whole = bytes(&observation);
    if whole.len() <= RECORD_BYTES {
        return whole;
    }
    bytes(&RuntimeObservation { arguments: Vec::new(), ..observation })
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use holdfast_model::runtime_observation::SignalKind;

    use super::*;

    fn observation(path: &str, count: u64, first: i64) -> RuntimeObservation {
        RuntimeObservation {
            kind: SignalKind::EtcWrite,
            cgroup: 7,
            pod: "u1".into(),
            container: "c1".into(),
            pid: 1,
            started: 1,
            name: "sh".into(),
            binary: "/bin/sh".into(),
            arguments: Vec::new(),
            path: path.into(),
            object: String::new(),
            address: None,
            count,
            first,
            last: first,
        }
    }

    fn counts(batch: &v1::RuntimeObservations) -> Vec<(String, u64)> {
        let read = |record: &Vec<u8>| serde_json::from_slice::<RuntimeObservation>(record).unwrap();
        batch.observations.iter().map(read).map(|observation| (observation.path, observation.count)).collect()
    }

    #[tokio::test]
    async fn one_batch_is_under_way_and_does_not_change() {
        let (send, records) = mpsc::channel(8);
        let mut outgoing =
            Outgoing { fold: ObservationFold::new(Duration::ZERO), ..Outgoing::new("b".to_owned(), records) };
        send.send(observation("/etc/a", 1, 5)).await.unwrap();
        let first = outgoing.next().await;
        assert_eq!((first.sequence, counts(&first)), (1, vec![("/etc/a".into(), 1)]));
        send.send(observation("/etc/a", 3, 5)).await.unwrap();
        send.send(observation("/etc/b", 1, 5)).await.unwrap();
        assert_eq!(outgoing.next().now_or_never(), None, "the first is not acknowledged");
        assert_eq!(outgoing.again(), Some(first.clone()));

        outgoing.acknowledged(&v1::RuntimeObservationsAck { run: "another".into(), sequence: 1 });
        outgoing.acknowledged(&v1::RuntimeObservationsAck { run: first.run.clone(), sequence: 2 });
        assert_eq!(outgoing.again(), Some(first.clone()));
        outgoing.acknowledged(&v1::RuntimeObservationsAck { run: first.run.clone(), sequence: 1 });
        let second = outgoing.next().await;
        assert_eq!((second.sequence, counts(&second)), (2, vec![("/etc/a".into(), 2), ("/etc/b".into(), 1)]));
    }

    #[tokio::test]
    async fn a_batch_has_a_limit_and_the_rest_comes_next() {
        let (send, records) = mpsc::channel(RECORDS + 1);
        let mut outgoing = Outgoing::new("b".to_owned(), records);
        for number in 0..=RECORDS {
            send.send(observation(&format!("/etc/{number}"), 1, 5)).await.unwrap();
        }
        drop(send);
        let mut sent = 0;
        while sent <= RECORDS {
            let batch = outgoing.next().await;
            assert!(batch.observations.len() <= RECORDS);
            sent += batch.observations.len();
            outgoing.acknowledged(&v1::RuntimeObservationsAck { run: batch.run, sequence: batch.sequence });
        }
        assert_eq!(sent, RECORDS + 1);
    }
}
