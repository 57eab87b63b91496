//! The sensors of the node's kernel, on a thread of their own: what they see goes into a channel, how they are is told.
//!
//! A channel that is full holds nobody back: what does not fit is counted, and the counts go with every heartbeat. Repeated
//! acts carry their whole count, so a repetition that is lost is told by the next one. Once a minute a canary must come
//! back; when it does not, the relay shows the node as blind.

use std::time::{Duration, Instant};

use holdfast_ebpf::{Blind, Sensors as Kernel};
use holdfast_model::{CoverageState, sighting::Sighting};
use tokio::sync::{mpsc, watch};

use super::{SIGHTINGS, Sensors};
use crate::clock;

/// How long the thread sleeps where nothing happens.
const WAIT: Duration = Duration::from_secs(1);
/// How often repetitions are read.
const SWEEP: Duration = Duration::from_secs(10);
/// How often the canary is sent out.
const CANARY: Duration = Duration::from_secs(60);
/// How long it may take to come back.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often opening is tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// Starts the thread. It ends when the receiver is dropped.
pub(super) fn start() -> std::io::Result<(mpsc::Receiver<Sighting>, watch::Receiver<Sensors>)> {
    let (seen, sightings) = mpsc::channel(SIGHTINGS);
    let (state, told) = watch::channel(Sensors::default());
    let watcher = Watcher { seen, state, lost: 0 };
    std::thread::Builder::new().name("holdfast-sense".to_owned()).spawn(move || watcher.run())?;
    Ok((sightings, told))
}

struct Watcher {
    seen: mpsc::Sender<Sighting>,
    state: watch::Sender<Sensors>,
    lost: u64,
}

impl Watcher {
    fn run(mut self) {
        while !self.seen.is_closed() {
            let Err(blind) = self.watch() else { return };
            tracing::warn!(reason = %blind, "the sensors of this node see nothing");
            self.state.send_modify(|state| {
                state.attached.clear();
                state.blind = vec![blind.to_string()];
            });
            std::thread::sleep(AGAIN);
        }
    }

    /// Watches until nobody listens any more, or the kernel refuses.
    fn watch(&mut self) -> Result<(), Blind> {
        let mut kernel = Kernel::open()?;
        self.attached(&kernel);
        let (mut swept, mut sent, mut number) = (Instant::now(), None::<Instant>, 0);
        while !self.seen.is_closed() {
            kernel.wait(WAIT)?;
            self.hand_on(kernel.poll());
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                self.hand_on(kernel.sweep());
            }
            if sent.is_none_or(|sent| sent.elapsed() >= CANARY) {
                sent = Some(Instant::now());
                number += 1;
                self.canary(&mut kernel, number);
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

    /// A canary that does not come back is told by its absence: the time of the last one stands still.
    fn canary(&mut self, kernel: &mut Kernel, number: u64) {
        let back = match kernel.canary(number, PATIENCE) {
            Ok(sightings) => {
                self.hand_on(sightings);
                true
            }
            Err(blind) => {
                tracing::warn!(reason = %blind, "the canary is lost");
                false
            }
        };
        let counters = kernel.counters().unwrap_or_default();
        let lost = self.lost;
        self.state.send_modify(|state| {
            if back {
                state.canary_at = clock::now();
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

    fn hand_on(&mut self, sightings: Vec<Sighting>) {
        for sighting in sightings {
            self.lost += u64::from(self.seen.try_send(sighting).is_err());
        }
    }
}
