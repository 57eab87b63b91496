//! Nodes, leaders that come and go, a record that counts: whatever is lost, said again or overtaken on the way, in the end
//! the record has counted each act once.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use holdfast_controls::KINDS;
use holdfast_controls::facts::workload::POD;
use holdfast_model::runtime_observation::{RuntimeObservation, SignalKind};
use holdfast_model::{ClusterId, CoverageState, canonical};
use holdfast_proto::{convert, v1};
use proptest::prelude::*;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::*;
use crate::collect::{Event, decode};
use crate::node::fold::Fold;
use crate::places;

const NODES: usize = 2;
const ACTS: usize = 6;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A container does it again.
    Act(usize, usize),
    /// A node says its batch, for the first time or again after a new connection.
    Say(usize),
    /// A node's agent has said all it had, and starts anew.
    Restart(usize),
    /// The leader says what it has.
    Draft,
    /// The record commits the next batch that is on its way.
    Commit,
    /// An acknowledgement arrives.
    Ack,
    /// The stream to the aggregator breaks.
    Break,
    /// Another replica leads, with everything to learn.
    TakeOver,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..NODES, 0..ACTS).prop_map(|(node, act)| Step::Act(node, act)),
        4 => (0..NODES).prop_map(Step::Say),
        1 => (0..NODES).prop_map(Step::Restart),
        4 => Just(Step::Draft),
        4 => Just(Step::Commit),
        4 => Just(Step::Ack),
        1 => Just(Step::Break),
        1 => Just(Step::TakeOver),
    ];
    prop::collection::vec(step, 0..200)
}

/// A node's agent, with the counts of its sensors.
struct Node {
    name: String,
    starts: usize,
    done: [u64; ACTS],
    fold: Fold,
    sequence: u64,
    said: Option<(u64, Vec<Vec<u8>>)>,
    kept: Option<oneshot::Receiver<()>>,
}

/// The aggregator's side, as `take_parcel` has it.
#[derive(Default)]
struct Record {
    taken: HashMap<(String, String), u64>,
    counted: BTreeMap<(String, String), u64>,
}

struct World {
    now: UnixMillis,
    nodes: Vec<Node>,
    leader: Engine,
    leaders: usize,
    /// Batches on their way, and acknowledgements on theirs.
    up: VecDeque<v1::Batch>,
    down: VecDeque<u64>,
    record: Record,
    generated: BTreeMap<(String, String), u64>,
}

impl Node {
    fn new(number: usize) -> Self {
        let fold = Fold::new(Duration::ZERO);
        Self { name: format!("node-{number}"), starts: 0, done: [0; ACTS], fold, sequence: 0, said: None, kept: None }
    }

    /// Even behaviors are evidence of one control, odd ones of another.
    fn act(&mut self, act: usize, now: UnixMillis) {
        self.done[act] += 1;
        let (kind, object) = match act % 2 {
            0 => (SignalKind::EtcWrite, String::new()),
            _ => (SignalKind::CapabilityUsed, "CAP_SYS_ADMIN".to_owned()),
        };
        let observation = RuntimeObservation {
            kind,
            cgroup: 7,
            pod: format!("uid-{}", self.name),
            container: "c1".into(),
            pid: 1,
            started: 1,
            name: "sh".into(),
            binary: "/bin/sh".into(),
            arguments: Vec::new(),
            path: format!("/etc/{act}"),
            object,
            address: None,
            count: self.done[act],
            first: self.starts as i64,
            last: now,
        };
        self.fold.take(observation, Instant::now());
    }

    /// What the relay hands on: what was said before, until it is acknowledged.
    fn say(&mut self) -> Option<NodeObservations> {
        if self.said.is_none() {
            let leaving = self.fold.leave(4, Instant::now());
            if leaving.is_empty() {
                return None;
            }
            self.sequence += 1;
            self.said = Some((self.sequence, leaving.iter().map(|it| canonical::bytes(it).unwrap()).collect()));
        }
        let (sequence, records) = self.said.clone()?;
        let (kept, told) = oneshot::channel();
        self.kept = Some(told);
        Some(NodeObservations {
            node: self.name.clone(),
            run: format!("boot.{}", self.starts),
            sequence,
            records,
            kept,
        })
    }

    fn hear(&mut self) {
        if self.kept.as_mut().is_some_and(|kept| kept.try_recv().is_ok()) {
            (self.kept, self.said) = (None, None);
        }
    }

    fn restart(&mut self) {
        *self = Self { name: self.name.clone(), starts: self.starts + 1, ..Self::new(0) };
    }
}

fn leader(number: usize, now: UnixMillis) -> Engine {
    let mut engine = Engine::new(ClusterId::from_bytes([7; 16]), &format!("leader-{number}"), now);
    for node in 0..NODES {
        let context = json!({"privileged": true, "capabilities": {"add": ["SYS_ADMIN"]}});
        let pod = json!({
            "metadata": {"name": format!("pod-{node}"), "namespace": "shop", "uid": format!("uid-node-{node}"), "resourceVersion": "1"},
            "spec": {"nodeName": format!("node-{node}"), "containers": [{"name": "app", "securityContext": context}]},
            "status": {"phase": "Running", "containerStatuses": [{"name": "app", "containerID": "containerd://c1"}]},
        });
        let bytes = pod.to_string().into_bytes();
        engine.apply(Event::Seen(decode::object(&POD, &bytes).unwrap(), places::read(&POD, &bytes)), now);
    }
    for &kind in KINDS {
        engine.apply(Event::Coverage { kind, state: CoverageState::Seen, reason: String::new() }, now);
    }
    engine.settle(now);
    engine.restart();
    engine
}

impl World {
    fn new() -> Self {
        Self {
            now: 1_000,
            nodes: (0..NODES).map(Node::new).collect(),
            leader: leader(0, 1_000),
            leaders: 1,
            up: VecDeque::new(),
            down: VecDeque::new(),
            record: Record::default(),
            generated: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: Step) {
        self.now += 10;
        match step {
            Step::Act(node, act) => {
                let control = if act % 2 == 0 { "workload.read-only-root" } else { "workload.capabilities-added" };
                *self.generated.entry((format!("pod-{node}"), control.into())).or_default() += 1;
                self.nodes[node].act(act, self.now);
            }
            Step::Say(node) => {
                if let Some(batch) = self.nodes[node].say() {
                    self.leader.sight(batch, self.now);
                }
            }
            // What was seen and not said dies with the agent: a planned restart says it first.
            Step::Restart(node) => {
                while self.nodes[node].fold.due().is_some() || self.nodes[node].said.is_some() {
                    self.run([Step::Say(node), Step::Draft, Step::Commit, Step::Ack]);
                }
                self.nodes[node].restart();
            }
            Step::Draft => {
                self.leader.settle(self.now);
                if let Some(draft) = self.leader.draft() {
                    let sequence = draft.sequence;
                    self.up.push_back(v1::Batch {
                        sequence,
                        detection_batches: draft.detection_batches,
                        ..v1::Batch::default()
                    });
                }
            }
            Step::Commit => {
                if let Some(batch) = self.up.pop_front() {
                    self.down.push_back(batch.sequence);
                    self.record.apply(batch);
                }
            }
            Step::Ack => {
                if let Some(sequence) = self.down.pop_front() {
                    self.leader.acknowledged(sequence);
                    self.nodes.iter_mut().for_each(Node::hear);
                }
            }
            Step::Break => {
                self.cut();
                self.leader.restart();
            }
            Step::TakeOver => {
                self.cut();
                self.leader = leader(self.leaders, self.now);
                self.leaders += 1;
            }
        }
    }

    fn run<const N: usize>(&mut self, steps: [Step; N]) {
        steps.into_iter().for_each(|step| self.step(step));
    }

    fn cut(&mut self) {
        self.up.clear();
        self.down.clear();
    }

    /// Everybody says what is left, and nothing more is lost.
    fn rest(&mut self) {
        for _ in 0..4 * NODES * ACTS {
            (0..NODES).for_each(|node| self.step(Step::Say(node)));
            self.run([Step::Draft, Step::Commit, Step::Ack, Step::Commit, Step::Ack]);
        }
        assert!(self.nodes.iter().all(|node| node.said.is_none() && node.fold.due().is_none()), "something is left");
        assert!(self.leader.sighted.is_empty(), "something waits at the leader");
    }
}

impl Record {
    fn apply(&mut self, batch: v1::Batch) {
        for detection_batch in batch
            .detection_batches
            .into_iter()
            .map(|detection_batch| convert::detection_batch(detection_batch).unwrap())
        {
            let taken = self.taken.entry((detection_batch.source, detection_batch.run)).or_default();
            if detection_batch.sequence <= *taken {
                continue;
            }
            *taken = detection_batch.sequence;
            for detection in detection_batch.detections {
                let finding = (detection.resource.name, detection.control.as_str().to_owned());
                *self.counted.entry(finding).or_default() += detection.seen.count;
            }
        }
    }
}

proptest! {
    #[test]
    fn the_record_counts_each_act_once_whatever_is_lost_or_said_again(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.rest();
        prop_assert_eq!(&world.record.counted, &world.generated);
    }
}

#[test]
fn a_batch_of_a_pod_that_is_not_known_yet_waits_for_it_and_not_for_ever() {
    let batch = |kept| {
        let mut node = Node { name: "node-9".into(), ..Node::new(9) };
        node.act(0, 5);
        NodeObservations { kept, ..node.say().unwrap() }
    };
    let mut engine = leader(0, 0);
    let (kept, mut told) = oneshot::channel();
    engine.sight(batch(kept), 0);
    engine.settle(PATIENCE_MILLIS - 1);
    assert!(told.try_recv().is_err() && engine.sighted.len() == 1);
    engine.settle(PATIENCE_MILLIS);
    assert_eq!(told.try_recv(), Ok(()), "nobody knows whose it was");
}

#[test]
fn an_old_act_of_a_pod_that_nobody_knows_holds_nobody_back() {
    let mut engine = leader(0, 0);
    let mut node = Node { name: "node-9".into(), ..Node::new(9) };
    node.act(0, 5);
    let arrived = 3 * PATIENCE_MILLIS;
    let (kept, mut told) = oneshot::channel();
    engine.sight(NodeObservations { kept, ..node.say().unwrap() }, arrived);
    engine.settle(arrived + MOMENT_MILLIS - 1);
    assert!(told.try_recv().is_err(), "the node's clock may be behind");
    engine.settle(arrived + MOMENT_MILLIS);
    assert_eq!(told.try_recv(), Ok(()));
}

#[test]
fn what_a_pod_did_is_told_though_it_has_just_gone() {
    let mut engine = leader(0, 0);
    let mut node = Node::new(0);
    node.act(0, 5);
    let key = holdfast_controls::inventory::ObjectKey::namespaced(&POD, "shop", "pod-0");
    engine.apply(Event::Deleted { key, uid: "uid-node-0".into() }, 5);
    engine.sight(node.say().unwrap(), 6);
    engine.settle(6);
    let draft = engine.draft().unwrap();
    assert_eq!(draft.detection_batches.len(), 1);
    assert_eq!(draft.detection_batches[0].detections[0].resource.as_ref().unwrap().name, "pod-0");
}
