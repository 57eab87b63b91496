//! The kernel sensors of the node, on a thread of their own: observations go into a channel, their state into a watch.
//!
//! A full channel blocks nothing: what does not fit is counted, and the counts go with every heartbeat. A repeated behavior carries
//! its whole count, so the next repetition makes up for a lost one. Every ten seconds a heartbeat probe must come back; when it does
//! not, the relay reports the sensors of the node as failing. Observations are also kept for each container
//! ([`ContainerObservations`]), for statements about what it did and did not do: there time counts up to the last probe.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use holdfast_ebpf::{ContainerObservations, Sensors as Kernel, Unavailable, since_boot};
use holdfast_model::{CoverageState, SignalKind, runtime_observation::RuntimeObservation};
use tokio::sync::{mpsc, watch};

use super::{OBSERVATIONS, Sensors, SharedObservations};
use crate::clock;

/// How long the thread sleeps where nothing happens.
const WAIT: Duration = Duration::from_secs(1);
/// How often repetitions are read, and the heartbeat probe is sent.
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// How long it may take to come back.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often opening is tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// Starts the thread. It ends when the receiver is dropped.
pub(super) fn start(
    kept: SharedObservations,
) -> std::io::Result<(mpsc::Receiver<RuntimeObservation>, watch::Receiver<Sensors>)> {
    let (seen, observations) = mpsc::channel(OBSERVATIONS);
    let (state, reported) = watch::channel(Sensors::default());
    let watcher = Watcher { seen, state, kept, lost: 0 };
    std::thread::Builder::new().name("holdfast-sense".to_owned()).spawn(move || watcher.run())?;
    Ok((observations, reported))
}

struct Watcher {
    seen: mpsc::Sender<RuntimeObservation>,
    state: watch::Sender<Sensors>,
    kept: SharedObservations,
    lost: u64,
}

impl Watcher {
    fn run(mut self) {
        while !self.seen.is_closed() {
            let Err(error) = self.watch() else { return };
            self.keep(ContainerObservations::stop);
            tracing::warn!(reason = %error, "no sensor of this node is attached");
            self.state.send_modify(|state| {
                state.attached.clear();
                state.unavailable = vec![error.to_string()];
            });
            std::thread::sleep(AGAIN);
        }
    }

    /// Watches until nobody listens any more, or the kernel refuses.
    fn watch(&mut self) -> Result<(), Unavailable> {
        let mut kernel = Kernel::open()?;
        self.attached(&kernel);
        let opened_at = since_boot();
        self.keep(|all| all.start(kernel.states(), opened_at));
        let (mut sent, mut number) = (None::<Instant>, 0);
        while !self.seen.is_closed() {
            kernel.wait(WAIT)?;
            self.hand_on(kernel.poll());
            if sent.is_none_or(|sent| sent.elapsed() >= PROBE_EVERY) {
                sent = Some(Instant::now());
                number += 1;
                self.hand_on(kernel.sweep());
                self.probe(&mut kernel, number);
            }
        }
        Ok(())
    }

    fn attached(&self, kernel: &Kernel) {
        let seeing = |state: &&holdfast_ebpf::SensorState| state.state == CoverageState::Seen;
        let attached = kernel.states().iter().filter(seeing).map(|state| state.sensor.to_owned()).collect();
        let unavailable = kernel.states().iter().filter(|state| !seeing(state));
        let unavailable = unavailable.map(|state| format!("{}: {}", state.sensor, state.reason)).collect();
        tracing::info!(?attached, ?unavailable, "the sensors are attached");
        self.state.send_modify(|state| (state.attached, state.unavailable) = (attached, unavailable));
    }

    /// A heartbeat probe that does not come back shows by its age: the time of the last one does not move.
    fn probe(&mut self, kernel: &mut Kernel, number: u64) {
        let sent_at = since_boot();
        let back = match kernel.probe(number, PATIENCE) {
            Ok(observations) => {
                self.hand_on(observations);
                true
            }
            Err(error) => {
                tracing::warn!(reason = %error, "the heartbeat probe is lost");
                false
            }
        };
        match kernel.counters_by_owner() {
            Ok(counters) if back => self.keep(|all| all.confirm_until(&counters, kernel.unattributed(), sent_at)),
            _ => self.keep(|all| all.record_outage(since_boot())),
        }
        let counters = kernel.counters().unwrap_or_default();
        let lost = self.lost;
        self.state.send_modify(|state| {
            if back {
                state.probe_at = clock::now();
            }
            state.counters.clear();
            for (sensor, counts) in counters {
                let each = [
                    ("generated", counts.generated),
                    ("delivered", counts.delivered),
                    ("folded", counts.folded),
                    ("dropped", counts.dropped),
                ];
                for (name, count) in each {
                    *state.counters.entry(format!("{sensor}.{name}")).or_default() += count;
                }
            }
            state.counters.insert("agent.dropped".to_owned(), lost);
        });
    }

    fn keep(&self, change: impl FnOnce(&mut ContainerObservations)) {
        change(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn hand_on(&mut self, observations: Vec<RuntimeObservation>) {
        self.keep(|all| all.record(&observations));
        // A write to the container's own root is evidence of no control; it is kept for the controls that ask what is used.
        for observation in observations.into_iter().filter(|observation| observation.kind != SignalKind::RootWrite) {
            self.lost += u64::from(self.seen.try_send(observation).is_err());
        }
    }
}
