//! Nodes, leaders that come and go, a record that counts: whatever is lost, sent again or reordered on the way, in the end the
//! record has counted each behavior once.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::observation_fold::ObservationFold;
use crate::outbox::UplinkBatch;
use crate::tests::observation;

const NODES: usize = 2;
const BEHAVIORS: usize = 6;
/// What `runtime::batches` waits for unknown Pods, and at least.
const PATIENCE_MILLIS: UnixMillis = 10_000;
const MOMENT_MILLIS: UnixMillis = 1_000;

#[derive(Debug, Clone, Copy)]
enum Event {
    /// A container shows a behavior again.
    Behave(usize, usize),
    /// A node sends its batch, for the first time or again after a new connection.
    Send(usize),
    /// A node's agent has sent everything, and starts anew.
    Restart(usize),
    /// The leader sends what it has.
    Uplink,
    /// The record commits the next batch that is on its way.
    Commit,
    /// An acknowledgement arrives.
    Acknowledge,
    /// The stream to the aggregator breaks.
    Break,
    /// Another replica leads, with nothing known.
    TakeOver,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => (0..NODES, 0..BEHAVIORS).prop_map(|(node, behavior)| Event::Behave(node, behavior)),
        4 => (0..NODES).prop_map(Event::Send),
        1 => (0..NODES).prop_map(Event::Restart),
        4 => Just(Event::Uplink),
        4 => Just(Event::Commit),
        4 => Just(Event::Acknowledge),
        1 => Just(Event::Break),
        1 => Just(Event::TakeOver),
    ];
    prop::collection::vec(event, 0..200)
}

/// A node's agent, with the counts of its sensors.
struct Node {
    name: String,
    starts: usize,
    done: [u64; BEHAVIORS],
    fold: ObservationFold,
    sequence: u64,
    unacknowledged: Option<ObservationBatch>,
}

/// The aggregator's side: of a source's run each sequence is taken once.
#[derive(Default)]
struct Record {
    taken: HashMap<(String, String), u64>,
    counted: BTreeMap<(String, String), u64>,
}

struct Fleet {
    now: UnixMillis,
    nodes: Vec<Node>,
    leader: Engine,
    leaders: usize,
    /// Batches on their way, and acknowledgements on theirs.
    up: VecDeque<UplinkBatch>,
    down: VecDeque<u64>,
    /// Batches of nodes that wait for the present leader's acknowledgement.
    waiting: HashSet<BatchId>,
    record: Record,
    generated: BTreeMap<(String, String), u64>,
}

impl Node {
    fn new(number: usize) -> Self {
        let fold = ObservationFold::new(Duration::ZERO);
        let name = format!("node-{number}");
        Self { name, starts: 0, done: [0; BEHAVIORS], fold, sequence: 0, unacknowledged: None }
    }

    /// Even behaviors are evidence of one control, odd ones of another.
    fn behave(&mut self, behavior: usize, now: UnixMillis) {
        self.done[behavior] += 1;
        let (kind, object) = match behavior % 2 {
            0 => (SignalKind::EtcWrite, String::new()),
            _ => (SignalKind::CapabilityUsed, "CAP_SYS_ADMIN".to_owned()),
        };
        let first = self.starts as i64;
        let observation = RuntimeObservation {
            pod: format!("uid-{}", self.name),
            object,
            last: now,
            ..observation(kind, &format!("/etc/{behavior}"), self.done[behavior], first)
        };
        self.fold.add(observation, Duration::ZERO);
    }

    /// What the relay hands on: what was sent before, until it is acknowledged.
    fn send(&mut self) -> Option<ObservationBatch> {
        if self.unacknowledged.is_none() {
            let observations = self.fold.take(4, Duration::ZERO);
            if observations.is_empty() {
                return None;
            }
            self.sequence += 1;
            let run = format!("boot.{}", self.starts);
            self.unacknowledged = Some(batch(&self.name, &run, self.sequence, observations));
        }
        self.unacknowledged.clone()
    }

    fn acknowledge(&mut self, id: &BatchId) {
        self.unacknowledged.take_if(|batch| batch.id == *id);
    }

    fn restart(&mut self) {
        *self = Self { name: self.name.clone(), starts: self.starts + 1, ..Self::new(0) };
    }
}

fn leader(number: usize, now: UnixMillis) -> Engine {
    let run = format!("leader-{number}");
    let mut engine = Engine::new(ClusterId::from_bytes([7; 16]), &run, ObservationWindows::default(), now);
    for node in 0..NODES {
        let context = json!({"privileged": true, "capabilities": {"add": ["SYS_ADMIN"]}});
        let (name, uid) = (format!("pod-{node}"), format!("uid-node-{node}"));
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "uid": uid, "resourceVersion": "1"},
            "spec": {"nodeName": format!("node-{node}"), "containers": [{"name": "app", "securityContext": context}]},
            "status": {"phase": "Running", "containerStatuses": [{"name": "app", "containerID": "containerd://c1"}]},
        });
        see(&mut engine, &pod, now);
    }
    see_every_kind(&mut engine, now);
    engine.settle(now);
    engine.restart();
    engine
}

impl Fleet {
    fn new() -> Self {
        Self {
            now: 1_000,
            nodes: (0..NODES).map(Node::new).collect(),
            leader: leader(0, 1_000),
            leaders: 1,
            up: VecDeque::new(),
            down: VecDeque::new(),
            waiting: HashSet::new(),
            record: Record::default(),
            generated: BTreeMap::new(),
        }
    }

    fn apply(&mut self, event: Event) {
        self.now += 10;
        match event {
            Event::Behave(node, behavior) => {
                let control = ["workload.read-only-root", "workload.capabilities-added"][behavior % 2];
                *self.generated.entry((format!("pod-{node}"), control.into())).or_default() += 1;
                self.nodes[node].behave(behavior, self.now);
            }
            Event::Send(node) => {
                if let Some(batch) = self.nodes[node].send() {
                    self.waiting.insert(batch.id.clone());
                    self.leader.apply_batch(batch, self.now).unwrap();
                }
            }
            // What was observed and not sent is lost with the agent: a planned restart sends it first.
            Event::Restart(node) => {
                while self.nodes[node].fold.due().is_some() || self.nodes[node].unacknowledged.is_some() {
                    self.run([Event::Send(node), Event::Uplink, Event::Commit, Event::Acknowledge]);
                }
                self.nodes[node].restart();
            }
            Event::Uplink => {
                let done = self.leader.settle(self.now).done;
                self.done(done);
                self.up.extend(self.leader.next_batch());
            }
            Event::Commit => {
                if let Some(batch) = self.up.pop_front() {
                    self.down.push_back(batch.sequence);
                    self.record.apply(batch);
                }
            }
            Event::Acknowledge => {
                if let Some(sequence) = self.down.pop_front() {
                    let done = self.leader.acknowledge(sequence);
                    self.done(done);
                }
            }
            Event::Break => {
                self.cut();
                self.leader.restart();
            }
            Event::TakeOver => {
                self.cut();
                self.waiting.clear();
                self.leader = leader(self.leaders, self.now);
                self.leaders += 1;
            }
        }
    }

    /// An acknowledgement reaches a node only from the leader that it has sent the batch to.
    fn done(&mut self, ids: Vec<BatchId>) {
        for id in ids.into_iter().filter(|id| self.waiting.remove(id)) {
            self.nodes.iter_mut().for_each(|node| node.acknowledge(&id));
        }
    }

    fn run<const N: usize>(&mut self, events: [Event; N]) {
        events.into_iter().for_each(|event| self.apply(event));
    }

    fn cut(&mut self) {
        self.up.clear();
        self.down.clear();
    }

    /// Everybody sends what is left, and nothing more is lost.
    fn drain(&mut self) {
        for _ in 0..4 * NODES * BEHAVIORS {
            (0..NODES).for_each(|node| self.apply(Event::Send(node)));
            self.run([Event::Uplink, Event::Commit, Event::Acknowledge, Event::Commit, Event::Acknowledge]);
        }
        let is_drained = |node: &Node| node.unacknowledged.is_none() && node.fold.due().is_none();
        assert!(self.nodes.iter().all(is_drained), "something is left");
        assert!(self.leader.runtime.is_idle(), "something waits at the leader");
    }
}

impl Record {
    fn apply(&mut self, batch: UplinkBatch) {
        for DetectionBatch { source, run, sequence, detections } in batch.detection_batches {
            let taken = self.taken.entry((source, run)).or_default();
            if sequence <= *taken {
                continue;
            }
            *taken = sequence;
            for detection in detections {
                let finding = (detection.resource.name, detection.control.as_str().to_owned());
                *self.counted.entry(finding).or_default() += detection.seen.count;
            }
        }
    }
}

proptest! {
    #[test]
    fn the_record_counts_each_behavior_once_whatever_is_lost_or_sent_again(events in events()) {
        let mut fleet = Fleet::new();
        for event in events {
            fleet.apply(event);
        }
        fleet.drain();
        prop_assert_eq!(&fleet.record.counted, &fleet.generated);
    }
}

/// A batch of a Pod that nobody knows.
fn unknown_batch() -> ObservationBatch {
    let mut node = Node { name: "node-9".into(), ..Node::new(9) };
    node.behave(0, 5);
    node.send().unwrap()
}

#[test]
fn a_batch_of_a_pod_that_is_not_known_yet_waits_for_it_and_not_for_ever() {
    let mut engine = leader(0, 0);
    let batch = unknown_batch();
    engine.apply_batch(batch.clone(), 0).unwrap();
    assert_eq!(engine.settle(PATIENCE_MILLIS - 1).done, []);
    assert!(!engine.runtime.is_idle());
    assert_eq!(engine.settle(PATIENCE_MILLIS).done, [batch.id], "no Pod of it is known");
    assert!(engine.runtime.is_idle());
}

#[test]
fn an_old_observation_of_an_unknown_pod_does_not_hold_others_back() {
    let mut engine = leader(0, 0);
    let (batch, arrived) = (unknown_batch(), 3 * PATIENCE_MILLIS);
    engine.apply_batch(batch.clone(), arrived).unwrap();
    assert_eq!(engine.settle(arrived + MOMENT_MILLIS - 1).done, [], "the node's clock may be behind");
    assert_eq!(engine.settle(arrived + MOMENT_MILLIS).done, [batch.id]);
}

#[test]
fn what_a_pod_did_is_reported_though_it_has_just_been_deleted() {
    let mut engine = leader(0, 0);
    let mut node = Node::new(0);
    node.behave(0, 5);
    let key = ObjectKey::namespaced(&POD, "shop", "pod-0");
    engine.apply(ObjectChange::Deleted { key, uid: "uid-node-0".into() }, None, 5);
    engine.apply_batch(node.send().unwrap(), 6).unwrap();
    engine.settle(6);
    let reported = detections(&mut engine);
    assert_eq!(reported.iter().map(|of| of.resource.name.as_str()).collect::<Vec<_>>(), ["pod-0"]);
}

#[test]
fn a_node_has_one_batch_of_a_run_under_way_and_few_runs() {
    let mut engine = leader(0, 0);
    let of = |run: &str, sequence| batch("node-0", run, sequence, Vec::new());
    assert_eq!(engine.apply_batch(of("a", 1), 0), Ok(()));
    assert_eq!(engine.apply_batch(of("a", 1), 0), Ok(()), "the same again");
    assert_eq!(engine.apply_batch(of("a", 2), 0), Err(BatchRefused::Overlaps));
    for run in ["b", "c", "d"] {
        assert_eq!(engine.apply_batch(of(run, 1), 0), Ok(()));
    }
    assert_eq!(engine.apply_batch(of("e", 1), 0), Err(BatchRefused::TooManyRuns));
}
