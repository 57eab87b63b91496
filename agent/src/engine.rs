//! The task that owns the engine: changes and commands in, batches out to the uplink that pulls them, Pods to the directory.
//!
//! Pulling keeps memory bounded without ever holding a collector back: while nobody pulls, what is pending is folded, not
//! queued. A burst of changes is applied first and judged once. What is judged and folded is decided by `holdfast-agent-core`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use holdfast_agent_core::engine::{Engine, Progress};
use holdfast_agent_core::outbox::UplinkBatch;
use holdfast_agent_core::runtime::{BatchId, ObservationBatch};
use holdfast_model::Coverage;
use holdfast_model::digest::LedgerDigest;
use holdfast_model::kernel::NodeStatement;
use holdfast_model::runtime_observation::RuntimeObservation;
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock;
use crate::collect::Event;
use crate::pod_directory::PodDirectory;

/// Events taken in at a time.
const AT_ONCE: usize = 256;
/// A burst of events is judged at least this often.
const BURST: Duration = Duration::from_millis(100);
/// The first lists are judged at least this often: most subjects would be judged several times otherwise.
const FIRST_LISTS: Duration = Duration::from_secs(2);
/// Progress is published at most this often.
const REPORT: Duration = Duration::from_millis(100);
/// The largest record of a sensor that is read.
const RECORD_BYTES: usize = 64 * 1024;

/// What the log says, once a start, when all that can be seen has been listed and judged; with counts beside it.
pub const ALL_JUDGED: &str = "everything that can be seen is judged";

/// What the uplink, the relay and the retests ask of the engine.
#[derive(Debug)]
pub enum EngineCommand {
    /// The API server has this minor version.
    ServerMinor(u32),
    /// A new session begins: answered with the ledger's root, none while the first lists are under way.
    Open(oneshot::Sender<Option<[u8; 32]>>),
    /// The digest over all failing statements, for comparing.
    Digest(oneshot::Sender<LedgerDigest>),
    /// These buckets differ.
    Resync(Vec<u8>),
    /// The next batch, as soon as there is one.
    Pull(oneshot::Sender<UplinkBatch>),
    /// Everything up to this batch is committed.
    Acknowledged(u64),
    /// The coverage of something that others look at.
    Cover(Coverage),
    /// All of that has been sent once.
    CoverageComplete,
    /// What the kernel of a node shows.
    Viewed(Box<NodeStatement>),
    /// What the sensors of a node observed; answered when the aggregator has committed it.
    Observed(NodeObservations),
    /// A retest has read these uids at these versions.
    Retested(Vec<(String, String)>),
}

/// What the sensors of one node observed. After a lost acknowledgement, or from another leader's time, the same comes again.
#[derive(Debug)]
pub struct NodeObservations {
    /// Which batch of which node.
    pub id: BatchId,
    /// One runtime observation each, canonical bytes of the model's type. Hostile until they are parsed.
    pub records: Vec<Vec<u8>>,
    /// Answered when the aggregator has committed what became of them: only then the node forgets them.
    pub committed: oneshot::Sender<()>,
}

/// Speaks to the engine's task.
#[derive(Debug, Clone)]
pub struct EngineHandle {
    commands: mpsc::Sender<EngineCommand>,
    /// How far the engine has come.
    pub progress: watch::Receiver<Progress>,
}

/// The engine's task has ended; so does whoever speaks to it.
#[derive(Debug, thiserror::Error)]
#[error("the engine has stopped")]
pub struct EngineStopped;

impl EngineHandle {
    /// A handle, and what the task takes.
    pub fn new() -> (Self, mpsc::Receiver<EngineCommand>, watch::Sender<Progress>) {
        let (commands, receiver) = mpsc::channel(64);
        let (sender, progress) = watch::channel(Progress::default());
        (Self { commands, progress }, receiver, sender)
    }

    /// Sends a command that has no answer.
    pub async fn send(&self, command: EngineCommand) -> Result<(), EngineStopped> {
        self.commands.send(command).await.map_err(|_| EngineStopped)
    }

    /// Sends a command and gives the receiver of its answer.
    pub async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> EngineCommand,
    ) -> Result<oneshot::Receiver<T>, EngineStopped> {
        let (sender, answer) = oneshot::channel();
        self.send(command(sender)).await?;
        Ok(answer)
    }
}

/// The engine with everybody who waits for it.
struct EngineTask {
    engine: Engine,
    pods: PodDirectory,
    /// Who pulls the next batch.
    pull: Option<oneshot::Sender<UplinkBatch>>,
    /// Who waits for the commit of a batch of sensors.
    commits: HashMap<BatchId, oneshot::Sender<()>>,
    began: Instant,
    settled_at: Instant,
}

/// Runs the engine until all its collectors, or all who command it, are gone.
pub async fn run(
    engine: Engine,
    pods: PodDirectory,
    mut events: mpsc::Receiver<Event>,
    mut commands: mpsc::Receiver<EngineCommand>,
    progress: watch::Sender<Progress>,
) {
    let (commits, began) = (HashMap::new(), Instant::now());
    let mut task = EngineTask { engine, pods, pull: None, commits, began, settled_at: began };
    let mut received = Vec::with_capacity(AT_ONCE);
    let mut reported_at = began;
    let mut tick = tokio::time::interval(REPORT);
    loop {
        tokio::select! {
            count = events.recv_many(&mut received, AT_ONCE) => {
                if count == 0 {
                    return;
                }
                let now = clock::now();
                received.drain(..).for_each(|event| task.apply(event, now));
            }
            command = commands.recv() => match command {
                Some(command) => task.obey(command),
                None => return,
            },
            _ = tick.tick() => {}
        }
        task.settle_if_due(events.is_empty());
        task.answer_pull();
        task.pods.publish(task.engine.take_pod_changes());
        if reported_at.elapsed() > REPORT {
            reported_at = Instant::now();
            report(&task.engine, &progress);
        }
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

impl EngineTask {
    /// A collector that has gone needs no answer.
    fn apply(&mut self, event: Event, now: i64) {
        match event {
            Event::Changed(change, pod) => self.engine.apply(change, pod, now),
            Event::Listed { kind, seen, missing } => {
                let _gone = missing.send(self.engine.listed(kind, &seen));
            }
            Event::Versions { kind, answer } => {
                let _gone = answer.send(self.engine.versions(kind));
            }
        }
    }

    /// Whoever asked and is gone needs no answer: its session is over.
    fn obey(&mut self, command: EngineCommand) {
        match command {
            EngineCommand::ServerMinor(minor) => self.engine.set_server_minor(minor),
            EngineCommand::Open(answer) => {
                self.pull = None;
                self.settle();
                let _gone = answer.send(self.engine.restart());
            }
            EngineCommand::Digest(answer) => {
                self.settle();
                let _gone = answer.send(self.engine.digest().clone());
            }
            EngineCommand::Resync(buckets) => self.engine.resync(buckets),
            EngineCommand::Pull(answer) => self.pull = Some(answer),
            EngineCommand::Acknowledged(sequence) => {
                let committed = self.engine.acknowledge(sequence);
                self.commit(committed);
            }
            EngineCommand::Cover(coverage) => self.engine.cover(coverage),
            EngineCommand::CoverageComplete => self.engine.complete_coverage(),
            EngineCommand::Viewed(statement) => self.engine.apply_statement(&statement, clock::now()),
            EngineCommand::Observed(batch) => self.observe(batch),
            EngineCommand::Retested(reads) => self.engine.retested(reads),
        }
    }

    /// The same batch again has only another one waiting for its commit; one that is refused comes again later.
    fn observe(&mut self, batch: NodeObservations) {
        let NodeObservations { id, records, committed } = batch;
        let observations = records.iter().filter_map(|record| read(&id.node, record)).collect();
        match self.engine.apply_batch(ObservationBatch { id: id.clone(), observations }, clock::now()) {
            Ok(()) => drop(self.commits.insert(id, committed)),
            Err(refused) => tracing::warn!(node = id.node, reason = %refused, "a batch of observations was refused"),
        }
    }

    fn commit(&mut self, batches: Vec<BatchId>) {
        for id in batches {
            if let Some(waiting) = self.commits.remove(&id) {
                // A node that reconnects sends it again, and receives the acknowledgement then.
                let _gone = waiting.send(());
            }
        }
    }

    /// A command must not make the first lists be judged subject by subject; a single event is judged at once.
    fn settle_if_due(&mut self, is_idle: bool) {
        let is_synced = self.engine.is_synced();
        let wait = if is_synced { BURST } else { FIRST_LISTS };
        let is_due = self.settled_at.elapsed() >= wait || self.engine.is_about_to_sync(clock::now());
        if is_due || (is_synced && is_idle) {
            self.settle();
            self.settled_at = Instant::now();
            if !is_synced && self.engine.is_synced() {
                let Progress { subjects, failing, .. } = self.engine.progress();
                let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(subjects, failing, millis, "{ALL_JUDGED}");
            }
        }
    }

    fn settle(&mut self) {
        let began = Instant::now();
        let settled = self.engine.settle(clock::now());
        self.commit(settled.done);
        if settled.judged > 0 {
            tracing::debug!(judged = settled.judged, micros = began.elapsed().as_micros(), "subjects judged");
        }
    }

    fn answer_pull(&mut self) {
        if self.pull.as_ref().is_some_and(|pull| !pull.is_closed())
            && let Some(batch) = self.engine.next_batch()
            && let Some(pull) = self.pull.take()
        {
            // Whoever pulled is gone: its session is over, and the next one gets this again.
            let _gone = pull.send(batch);
        }
    }
}

fn read(node: &str, record: &[u8]) -> Option<RuntimeObservation> {
    if record.len() > RECORD_BYTES {
        tracing::debug!(node, bytes = record.len(), "a record of a sensor is too large");
        return None;
    }
    let read = serde_json::from_slice::<RuntimeObservation>(record);
    read.inspect_err(|error| tracing::debug!(node, %error, "a record of a sensor is no observation")).ok()
}
