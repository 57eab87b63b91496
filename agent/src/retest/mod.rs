//! Retests: an order comes in, the cluster is read anew, a signed attestation goes out.
//!
//! Where the order wants it and the objects pass, the nodes are asked what runs: `running` holds their statements against the
//! control. Nothing here reads the engine's inventory. Orders that arrive together form a round and share their reads: every read
//! of a round begins after all its nonces have arrived. The engine is sent what was read, and drops older watch events.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_controls::Control;
use holdfast_model::container_observation::ObservationWindows;
use holdfast_model::{
    Attestation, ClusterId, FindingKey, Method, ObjectRead, Reach, RetestId, RetestOrder, Verdict, canonical,
};
use holdfast_proto::limits::ATTESTATION_BYTES;
use holdfast_proto::v1;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::api::{self, Api};
use crate::clock;
use crate::cluster::ServerVersion;
use crate::credential::AgentKey;
use crate::engine::{EngineCommand, EngineHandle};
use crate::node_views::NodeViews;

mod gather;
mod read;
mod running;
mod verdict;

use read::{Gate, Round};
use verdict::Decision;

/// Orders that may wait.
pub const ORDERS: usize = 4096;
/// Orders in one round.
const ROUND: usize = 256;
/// How often one order may check processes: what still changes then is ordered again by the aggregator.
const CHECKS: u32 = 3;

/// How much of the API server the retests may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Reads under way at once.
    pub concurrent_reads: usize,
    /// Reads started a second, on average.
    pub reads_per_second: u32,
    /// Rounds under way at once.
    pub rounds: usize,
    /// The pause before processes are checked again, where what runs may have changed during the check.
    pub check_again: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { concurrent_reads: 8, reads_per_second: 100, rounds: 4, check_again: Duration::from_secs(1) }
    }
}

/// What answers orders.
pub struct Retester {
    /// The API server.
    pub api: Api,
    /// Which version the API server has now.
    pub server: watch::Receiver<ServerVersion>,
    /// The cluster that this agent speaks for.
    pub cluster: ClusterId,
    /// What attestations are signed with.
    pub key: Arc<AgentKey>,
    /// Receives what was read.
    pub engine: EngineHandle,
    /// How much may be asked of the API server.
    pub limits: Limits,
    /// The nodes' kernel views, where there are any.
    pub views: Option<Arc<dyn NodeViews>>,
    /// How long containers must have been watched.
    pub windows: ObservationWindows,
}

/// Orders that are being answered: one that comes again meanwhile is not answered twice.
type Running = Mutex<HashSet<RetestId>>;

/// Answers orders until there are no more.
pub async fn run(retester: Retester, mut orders: mpsc::Receiver<RetestOrder>, answers: mpsc::Sender<v1::RetestAnswer>) {
    let rounds = Arc::new(Semaphore::new(retester.limits.rounds.max(1)));
    let gate = Arc::new(Gate::new(retester.limits));
    let (retester, running) = (Arc::new(retester), Arc::new(Running::default()));
    let mut tasks = JoinSet::new();
    let mut arrived = Vec::with_capacity(ROUND);
    while orders.recv_many(&mut arrived, ROUND).await > 0 {
        // The semaphore is never closed.
        let Ok(permit) = rounds.clone().acquire_owned().await else { return };
        let round: Vec<_> = arrived.drain(..).filter(|order| locked(&running).insert(order.retest)).collect();
        let (retester, running) = (retester.clone(), running.clone());
        let (gate, answers) = (gate.clone(), answers.clone());
        tasks.spawn(async move {
            answer_round(&retester, gate, round, &running, &answers).await;
            drop(permit);
        });
        while tasks.try_join_next().is_some() {}
    }
}

async fn answer_round(
    retester: &Arc<Retester>,
    gate: Arc<Gate>,
    orders: Vec<RetestOrder>,
    running: &Running,
    answers: &mpsc::Sender<v1::RetestAnswer>,
) {
    let round = Arc::new(Round::new(retester.api.clone(), gate));
    let mut ids: HashSet<_> = orders.iter().map(|order| order.retest).collect();
    let mut tasks = JoinSet::new();
    for order in orders {
        let (retester, round) = (retester.clone(), round.clone());
        tasks.spawn(async move { (order.retest, retester.answer(&round, &order).await) });
    }
    while let Some(done) = tasks.join_next().await {
        let (retest, answer) = match done {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(error = %api::chain(&error), "a retest failed in the agent itself");
                continue;
            }
        };
        ids.remove(&retest);
        locked(running).remove(&retest);
        if let Some(answer) = answer {
            // Nobody to send it to: the aggregator orders again what was not answered.
            let _gone = answers.send(answer).await;
        }
    }
    locked(running).retain(|id| !ids.contains(id));
}

fn locked(running: &Running) -> MutexGuard<'_, HashSet<RetestId>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Retester {
    /// Reads, judges, attests. `None` only if the key cannot sign, which is logged.
    async fn answer(&self, round: &Round, order: &RetestOrder) -> Option<v1::RetestAnswer> {
        let control = Control::find(order.control.as_str()).filter(|control| control.version == order.control_version);
        let (decision, reads) = match control {
            Some(control) => self.retest(round, order, control).await,
            None => (control_changed(order), Vec::new()),
        };
        let mut attestation = self.attest(order, &decision, &reads);
        if attestation.len() > ATTESTATION_BYTES {
            attestation = self.attest(order, &verdict::too_large(decision, attestation.len()), &reads);
        }
        match self.key.sign(&attestation) {
            Ok(signature) => Some(v1::RetestAnswer { attestation, signature, more: false }),
            Err(error) => {
                tracing::error!(error = %api::chain(&error), retest = %order.retest, "an attestation could not be signed");
                None
            }
        }
    }

    /// Reads the objects, then checks the processes where the order wants it and the objects pass. What may have changed during
    /// the check is read again, objects and all, a bounded number of times.
    async fn retest(
        &self,
        round: &Round,
        order: &RetestOrder,
        control: &'static Control,
    ) -> (Decision, Vec<ObjectRead>) {
        let mut again = None;
        for checks in 1.. {
            let minor = self.server.borrow().minor;
            let mut gathered = gather::gather(again.as_ref().unwrap_or(round), order, control, minor).await;
            let versions = std::mem::take(&mut gathered.versions);
            // An engine that is gone has no watch events to drop.
            let _gone = self.engine.send(EngineCommand::Retested(versions)).await;
            let by_objects = verdict::decide(order, control, &gathered);
            let decision = match &self.views {
                _ if !verdict::needs_runtime_check(order, control, &by_objects) => by_objects,
                None => verdict::without_views(by_objects),
                Some(views) => {
                    let request = running::request(order, &gathered.pods, &**views);
                    let asked = request.pods.clone();
                    let answers = views.read(request).await;
                    let (cluster, windows) = (self.cluster, self.windows);
                    let question = running::RuntimeQuestion { order, control, cluster, windows };
                    let check = running::judge(question, &gathered, &asked, answers);
                    if check.may_settle() && checks < CHECKS {
                        tokio::time::sleep(self.limits.check_again).await;
                        again = Some(round.afresh());
                        continue;
                    }
                    verdict::with_processes(by_objects, check, &gathered.pods, &asked)
                }
            };
            return (decision, gathered.reads);
        }
        (control_changed(order), Vec::new())
    }

    fn attest(&self, order: &RetestOrder, decision: &Decision, reads: &[ObjectRead]) -> Vec<u8> {
        canonical::bytes(&self.attestation(order, decision.clone(), reads.to_vec()))
            .expect("an attestation holds strings, integers and lists under string keys")
    }

    fn attestation(&self, order: &RetestOrder, decision: Decision, reads: Vec<ObjectRead>) -> Attestation {
        let (resource, control) = (order.resource.clone(), order.control.clone());
        let key = FindingKey { cluster: self.cluster, resource: resource.clone(), control: control.clone() };
        Attestation {
            form: Attestation::FORM.to_owned(),
            retest: order.retest,
            nonce: order.nonce,
            cluster: self.cluster,
            finding: key.finding_id(),
            resource,
            uid: decision.uid,
            control,
            control_version: decision.control_version,
            verdict: decision.verdict,
            reason: decision.reason,
            reach: decision.reach,
            methods: decision.methods,
            locations: decision.locations,
            reads,
            nodes: decision.nodes,
            windows: decision.windows,
            read_at: clock::now(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

fn control_changed(order: &RetestOrder) -> Decision {
    let known = Control::find(order.control.as_str());
    let reason = match known {
        Some(control) => format!("this agent judges by version {} of the control", control.version),
        None => "this agent does not know the control".to_owned(),
    };
    Decision {
        verdict: Verdict::ControlChanged,
        reason,
        uid: order.uid.clone(),
        control_version: known.map_or(0, |control| control.version),
        locations: Vec::new(),
        reach: Reach::Config,
        methods: vec![Method::LiveRead],
        nodes: Vec::new(),
        windows: None,
    }
}
