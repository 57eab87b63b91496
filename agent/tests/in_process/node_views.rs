//! Nodes that say what they are told to say: a scripted pair of eyes, and the words that a story needs.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use holdfast_agent::node_views::{Look, NodeViews, Seen};
use holdfast_agent::places::Departed;
use holdfast_model::canonical;
use holdfast_model::kernel::{
    Namespaces, NodeStatement, Privileges, ProcessGroup, RunningContainer, Seccomp, SignedNodeStatement, ViewMethod,
};
use holdfast_model::{Resource, UnixMillis};

use crate::aggregator::CLUSTER;

const HOST: Namespaces = Namespaces { user: 1, pid: 2, net: 3, mnt: 4, ipc: 5, uts: 6, cgroup: 7 };
const OWN: Namespaces = Namespaces { user: 1, pid: 12, net: 13, mnt: 14, ipc: 15, uts: 16, cgroup: 17 };

/// What a node says when it is asked for the n-th time, from 1.
type Script = Box<dyn Fn(&Look, &str, usize) -> Seen + Send + Sync>;

pub struct Scripted {
    script: Mutex<Script>,
    looks: AtomicUsize,
    departed: Vec<Departed>,
}

impl Scripted {
    pub fn new(script: impl Fn(&Look, &str, usize) -> Seen + Send + Sync + 'static) -> Self {
        Self { script: Mutex::new(Box::new(script)), looks: AtomicUsize::new(0), departed: Vec::new() }
    }

    /// The same, where these Pods have left.
    pub fn without(self, departed: Departed) -> Self {
        Self { departed: vec![departed], ..self }
    }

    pub fn looks(&self) -> usize {
        self.looks.load(Ordering::SeqCst)
    }
}

impl NodeViews for Scripted {
    fn look(&self, look: Look) -> BoxFuture<'_, BTreeMap<String, Seen>> {
        let number = self.looks.fetch_add(1, Ordering::SeqCst) + 1;
        let script = self.script.lock().unwrap();
        let answers = look.pods.keys().map(|node| (node.clone(), script(&look, node, number))).collect();
        Box::pin(std::future::ready(answers))
    }

    fn open(&self) -> Vec<String> {
        vec!["node-1".into()]
    }

    fn departed(&self, _: &Resource) -> Vec<Departed> {
        self.departed.clone()
    }
}

/// What a node attests to: these containers, for the Pods that it was asked about.
pub fn statement(look: &Look, node: &str, containers: Vec<RunningContainer>) -> NodeStatement {
    NodeStatement {
        form: NodeStatement::FORM.into(),
        retest: look.retest,
        nonce: look.nonce,
        cluster: CLUSTER,
        node: node.into(),
        boot: "boot".into(),
        method: ViewMethod::TaskIterator,
        pods: look.pods[node].clone(),
        containers,
        host: HOST,
        process_count: 100,
        incomplete: None,
        read_at: UnixMillis::default(),
        agent_version: "0".into(),
    }
}

pub fn signed(statement: &NodeStatement) -> Seen {
    let statement = String::from_utf8(canonical::bytes(statement).unwrap()).unwrap();
    Seen::Statement(SignedNodeStatement { statement, signature: vec![1], certificate: vec![2] })
}

/// One process in the only container of a Pod.
pub fn container(pod: &str, privileged: bool) -> RunningContainer {
    let capabilities = if privileged { 0x1ff_ffff_ffff } else { 0 };
    let privileges = Privileges {
        uid: 0,
        gid: 0,
        effective: capabilities,
        permitted: capabilities,
        bounding: capabilities,
        seccomp: if privileged { Seccomp::Disabled } else { Seccomp::Filter },
        no_new_privs: false,
        namespaces: OWN,
        lsm_label: None,
        root_read_only: Some(false),
    };
    let group = ProcessGroup { privileges, processes: 1, pid: 4711, name: "nginx\u{1b}[2J".into(), started: 1 };
    RunningContainer { pod: pod.into(), id: "c1".into(), process_groups: vec![group], ..RunningContainer::default() }
}
