//! The part of the agent on every node: it reads the node's kernel and attests to what runs.
//!
//! It has no rights in the API and no state on disk: it generates a key at its start and exchanges a ServiceAccount token for a
//! certificate. It connects to the relay alone, which sends it the Pods that it runs; its answers are signed by its own key. The
//! relay vouches for the node's name: the aggregator records each key that it certifies. Where the kernel cannot be read the node
//! reports why and retries.
//! `link` gets certificates and connections, `session` is one stream, `view` and `kernel` read the kernel, `sensors` run the
//! sensors, `statement` (pure) builds what is signed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use holdfast_ebpf::ContainerObservations;
use holdfast_model::RootFingerprint;
use holdfast_model::runtime_observation::RuntimeObservation;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::credential::AgentKey;
use crate::health::Readiness;
use crate::random;

mod host;
mod kernel;
mod link;
mod outgoing;
mod sensors;
mod session;
mod statement;
mod view;

pub use kernel::NodeKernel;
pub use outgoing::OBSERVATIONS;
pub use view::{Kernel, OpenView, Reading, ViewUnavailable};

use link::Link;
use outgoing::Outgoing;
use view::NodeView;

/// A session that held this long was a good one: the next failure waits shortly again.
const HELD: Duration = Duration::from_secs(30);
/// First and longest wait before connecting again. A relay that moved to another replica is found within seconds.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Configuration of the node part.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The relay, `https://host:port`. Every address of the host is tried: only the leading replica listens.
    pub relay: String,
    /// Fingerprint of the installation's root: the only thing that is trusted beforehand.
    pub root: RootFingerprint,
    /// File of the projected token, of audience `holdfast-relay`. Read anew for every enrolment: it is replaced hourly.
    pub token_file: PathBuf,
    /// The node's name in its own logs; never trusted.
    pub name: String,
    /// Interval of heartbeats to the relay.
    pub heartbeat: Duration,
}

impl NodeConfig {
    /// A configuration with everything usual.
    pub fn new(relay: impl Into<String>, root: RootFingerprint, token_file: impl Into<PathBuf>) -> Self {
        Self {
            relay: relay.into(),
            root,
            token_file: token_file.into(),
            name: "node".to_owned(),
            heartbeat: Duration::from_secs(15),
        }
    }
}

/// What the node part reads, beside its configuration.
pub struct NodeInputs {
    /// Opens the kernel's view.
    pub kernel: Box<dyn Kernel>,
    /// What sensors observe; closed where there are none.
    pub observations: mpsc::Receiver<RuntimeObservation>,
    /// The sensors' own state.
    pub sensors: watch::Receiver<Sensors>,
    /// What they observed of every container.
    pub kept: SharedObservations,
}

/// What sensors observed of every container, shared with the session that attests to it.
pub type SharedObservations = Arc<Mutex<ContainerObservations>>;

/// How the sensors of a node are doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sensors {
    /// Those that are attached.
    pub attached: Vec<String>,
    /// Those that are not, each with its reason.
    pub unavailable: Vec<String>,
    /// Counts since the agent's start, by name: seen, folded, dropped.
    pub counters: std::collections::BTreeMap<String, u64>,
    /// When the last heartbeat probe came back, Unix milliseconds; 0 before the first.
    pub probe_at: i64,
}

impl NodeInputs {
    /// This node's own kernel: its view and its sensors.
    pub fn of_this_node(kernel: NodeKernel) -> std::io::Result<Self> {
        let kept = SharedObservations::default();
        let (observations, sensors) = sensors::start(kept.clone())?;
        Ok(Self { kernel: Box::new(kernel), observations, sensors, kept })
    }

    /// A view of the kernel, and no sensor.
    pub fn of(kernel: impl Kernel + 'static) -> Self {
        let kernel = Box::new(kernel);
        let sensors = watch::channel(Sensors::default()).1;
        Self { kernel, observations: mpsc::channel(1).1, sensors, kept: SharedObservations::default() }
    }
}

/// Runs the node part until `stop` is cancelled; `ready` follows whether it is connected.
pub async fn run(
    config: NodeConfig,
    senses: NodeInputs,
    ready: watch::Sender<Readiness>,
    stop: CancellationToken,
) -> Result<()> {
    let NodeInputs { kernel, observations, sensors, kept } = senses;
    let mut view = NodeView::new(kernel, kept);
    view.open().await;
    let run = format!("{}.{}", host::boot(), random::name::<8>()?);
    let mut outgoing = Outgoing::new(run, observations);
    let mut link = Link::new(config.clone(), AgentKey::generate()?);
    let mut wait = reconnect();
    loop {
        let began = Instant::now();
        let ended = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            ended = session::run(&config, &mut link, &mut view, &mut outgoing, &sensors, &ready) => ended,
        };
        if matches!(ended, session::Ended::Renewed) {
            continue;
        }
        let why = crate::api::chain(&ended);
        tracing::warn!(node = config.name, error = %why, "no connection to the relay");
        ready.send_replace(Readiness::NotReady(why));
        if began.elapsed() >= HELD {
            wait = reconnect();
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = sleep(wait.next().unwrap_or(RECONNECT.1)) => {}
        }
    }
}

fn reconnect() -> ExponentialBackoff {
    let (shortest, longest) = RECONNECT;
    ExponentialBuilder::new().with_min_delay(shortest).with_max_delay(longest).without_max_times().with_jitter().build()
}
