//! The sensors of the node's kernel, on a thread of their own: what they see goes into a channel, how they are is told.
//!
//! A channel that is full holds nobody back: what does not fit is counted, and the counts go with every heartbeat. Repeated
//! behaviors carry their whole count, so a repetition that is lost is told by the next one. Every ten seconds a heartbeat probe must
//! come back; when it does not, the relay shows the node as blind. What is seen is also kept of every container, for whoever asks
//! what it has done and what not ([`ContainerObservations`]): there time counts up to the last heartbeat probe.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use holdfast_ebpf::{ContainerObservations, Sensors as Kernel, Unavailable, since_boot};
use holdfast_model::{CoverageState, SignalKind, runtime_observation::RuntimeObservation};
use tokio::sync::{mpsc, watch};

use super::{OBSERVATIONS, Sensors, Watching};
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
pub(super) fn start(kept: Watching) -> std::io::Result<(mpsc::Receiver<RuntimeObservation>, watch::Receiver<Sensors>)> {
    let (seen, observations) = mpsc::channel(OBSERVATIONS);
    let (state, told) = watch::channel(Sensors::default());
    let watcher = Watcher { seen, state, kept, lost: 0 };
    std::thread::Builder::new().name("holdfast-sense".to_owned()).spawn(move || watcher.run())?;
    Ok((observations, told))
}

struct Watcher {
    seen: mpsc::Sender<RuntimeObservation>,
    state: watch::Sender<Sensors>,
    kept: Watching,
    lost: u64,
}

impl Watcher {
    fn run(mut self) {
        while !self.seen.is_closed() {
            let Err(blind) = self.watch() else { return };
            self.keep(ContainerObservations::stop);
            tracing::warn!(reason = %blind, "the sensors of this node see nothing");
            self.state.send_modify(|state| {
                state.attached.clear();
                state.blind = vec![blind.to_string()];
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
        let blind = kernel.states().iter().filter(|state| !seeing(state));
        let blind = blind.map(|state| format!("{}: {}", state.sensor, state.reason)).collect();
        tracing::info!(?attached, ?blind, "the sensors are attached");
        self.state.send_modify(|state| (state.attached, state.blind) = (attached, blind));
    }

    /// A heartbeat probe that does not come back shows by its age: the time of the last one does not move.
    fn probe(&mut self, kernel: &mut Kernel, number: u64) {
        let sent_at = since_boot();
        let back = match kernel.probe(number, PATIENCE) {
            Ok(observations) => {
                self.hand_on(observations);
                true
            }
            Err(blind) => {
                tracing::warn!(reason = %blind, "the heartbeat probe is lost");
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
        // That a container writes to its own root is nobody's evidence: it is kept here for whoever asks what is used.
        for observation in observations.into_iter().filter(|observation| observation.kind != SignalKind::RootWrite) {
            self.lost += u64::from(self.seen.try_send(observation).is_err());
        }
    }
}
