//! The task around the engine: events and commands in, drafts out to the uplink that pulls them.
//!
//! Pulling keeps memory bounded without ever holding a collector back: while nobody pulls, what is owed is folded, not
//! queued. A burst of events is applied first and judged once.

use std::time::{Duration, Instant};

use holdfast_proto::v1;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Engine, Progress};
use crate::clock;
use crate::collect::Event;
use crate::outbox::Draft;

/// Events taken in at a time.
const AT_ONCE: usize = 256;
/// Progress is told at most this often.
const REPORT: Duration = Duration::from_millis(100);

/// What the log says, once a start, when all that can be seen has been listed and judged; with counts beside it.
pub const ALL_JUDGED: &str = "everything that can be seen is judged";

/// What the uplink and the retests ask of the engine.
#[derive(Debug)]
pub enum Command {
    /// The API server has this minor version.
    ServerMinor(u32),
    /// A new session begins.
    Open(oneshot::Sender<Opening>),
    /// The buckets, for comparing.
    Buckets(oneshot::Sender<v1::Buckets>),
    /// These buckets differ.
    Resync(Vec<u8>),
    /// The next batch, as soon as there is one.
    Pull(oneshot::Sender<Draft>),
    /// Everything up to this batch is committed.
    Acknowledged(u64),
    /// How something can be seen that others look at.
    Cover(holdfast_model::Coverage),
    /// All of that has been said once.
    Covered,
    /// What the kernel of a node shows.
    Viewed(Box<holdfast_model::kernel::NodeStatement>),
    /// What the sensors of a node saw; answered when the aggregator has committed it.
    Detected(crate::relay::NodeObservations),
    /// A retest has read these uids at these versions.
    Retested(Vec<(String, String)>),
}

/// How a session begins.
#[derive(Debug)]
pub struct Opening {
    /// The ledger's root; none while the first lists are under way.
    pub root: Option<[u8; 32]>,
}

/// Speaks to the engine's task.
#[derive(Debug, Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    /// How far the engine has come.
    pub progress: watch::Receiver<Progress>,
}

/// The engine's task has ended; so does whoever speaks to it.
#[derive(Debug, thiserror::Error)]
#[error("the engine has stopped")]
pub struct Stopped;

impl Handle {
    /// A handle, and what the task takes.
    pub fn new() -> (Self, mpsc::Receiver<Command>, watch::Sender<Progress>) {
        let (commands, receiver) = mpsc::channel(64);
        let (sender, progress) = watch::channel(Progress::default());
        (Self { commands, progress }, receiver, sender)
    }

    /// Sends a command that has no answer.
    pub async fn tell(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).await.map_err(|_| Stopped)
    }

    /// Sends a command and gives the place where its answer will arrive.
    pub async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<oneshot::Receiver<T>, Stopped> {
        let (sender, answer) = oneshot::channel();
        self.tell(command(sender)).await?;
        Ok(answer)
    }
}

/// Runs the engine until all its collectors, or all who command it, are gone.
pub async fn run(
    mut engine: Engine,
    mut events: mpsc::Receiver<Event>,
    mut commands: mpsc::Receiver<Command>,
    progress: watch::Sender<Progress>,
) {
    let mut pull: Option<oneshot::Sender<Draft>> = None;
    let mut waiting = Vec::with_capacity(AT_ONCE);
    let began = Instant::now();
    let (mut settled_at, mut reported_at) = (began, began);
    let mut tick = tokio::time::interval(REPORT);
    loop {
        tokio::select! {
            count = events.recv_many(&mut waiting, AT_ONCE) => {
                if count == 0 {
                    return;
                }
                let now = clock::now();
                waiting.drain(..).for_each(|event| engine.apply(event, now));
            }
            command = commands.recv() => match command {
                Some(command) => obey(&mut engine, command, &mut pull),
                None => return,
            },
            _ = tick.tick() => {}
        }
        // A command must not make the first lists be judged subject by subject; a single event is judged at once.
        if engine.is_due(settled_at.elapsed(), clock::now()) || (engine.is_synced() && events.is_empty()) {
            let first = !engine.is_synced();
            settle(&mut engine);
            settled_at = Instant::now();
            if first && engine.is_synced() {
                let Progress { subjects, failing, .. } = engine.progress();
                let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(subjects, failing, millis, "{ALL_JUDGED}");
            }
        }
        if pull.as_ref().is_some_and(|pull| !pull.is_closed())
            && let Some(draft) = engine.draft()
            && let Some(pull) = pull.take()
        {
            // Whoever pulled is gone: its session is over, and the next one owes this again.
            let _gone = pull.send(draft);
        }
        if reported_at.elapsed() > REPORT {
            reported_at = Instant::now();
            report(&engine, &progress);
        }
    }
}

fn settle(engine: &mut Engine) {
    let began = Instant::now();
    let judged = engine.settle(clock::now());
    if judged > 0 {
        tracing::debug!(judged, micros = began.elapsed().as_micros(), "subjects judged");
    }
}

fn report(engine: &Engine, progress: &watch::Sender<Progress>) {
    progress.send_if_modified(|known| {
        let now = engine.progress();
        let changed = *known != now;
        *known = now;
        changed
    });
}

fn obey(engine: &mut Engine, command: Command, pull: &mut Option<oneshot::Sender<Draft>>) {
    match command {
        Command::ServerMinor(minor) => engine.set_server_minor(minor),
        Command::Open(answer) => {
            *pull = None;
            engine.settle(clock::now());
            let _gone = answer.send(Opening { root: engine.restart() });
        }
        Command::Buckets(answer) => {
            engine.settle(clock::now());
            let _gone = answer.send(engine.buckets());
        }
        Command::Resync(buckets) => engine.resync(buckets),
        Command::Pull(answer) => *pull = Some(answer),
        Command::Acknowledged(sequence) => engine.acknowledged(sequence),
        Command::Cover(coverage) => engine.tell(coverage),
        Command::Viewed(statement) => engine.view(&statement, clock::now()),
        Command::Covered => engine.covered(),
        Command::Detected(batch) => engine.sight(batch, clock::now()),
        Command::Retested(reads) => engine.retested(reads),
    }
}
