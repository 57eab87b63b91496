//! Fake kernel views of nodes, and the statements that a scenario needs.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use holdfast_agent::node_views::{NodeViews, ViewAnswer, ViewRequest};
use holdfast_agent_core::pod_index::DepartedPod;
use holdfast_model::canonical;
use holdfast_model::kernel::{
    Namespaces, NodeStatement, Privileges, ProcessGroup, RunningContainer, Seccomp, SignedNodeStatement, ViewMethod,
};
use holdfast_model::{Resource, UnixMillis};

use crate::aggregator::CLUSTER;

const HOST: Namespaces = Namespaces { user: 1, pid: 2, net: 3, mnt: 4, ipc: 5, uts: 6, cgroup: 7 };
const OWN: Namespaces = Namespaces { user: 1, pid: 12, net: 13, mnt: 14, ipc: 15, uts: 16, cgroup: 17 };

/// What a node answers when it is asked for the n-th time, from 1.
type Answers = Box<dyn Fn(&ViewRequest, &str, usize) -> ViewAnswer + Send + Sync>;

pub struct FakeNodeViews {
    answers: Mutex<Answers>,
    reads: AtomicUsize,
    departed: Vec<DepartedPod>,
}

impl FakeNodeViews {
    pub fn new(answers: impl Fn(&ViewRequest, &str, usize) -> ViewAnswer + Send + Sync + 'static) -> Self {
        Self { answers: Mutex::new(Box::new(answers)), reads: AtomicUsize::new(0), departed: Vec::new() }
    }

    /// The same, where these Pods have left.
    pub fn without(self, departed: DepartedPod) -> Self {
        Self { departed: vec![departed], ..self }
    }

    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }
}

impl NodeViews for FakeNodeViews {
    fn read(&self, request: ViewRequest) -> BoxFuture<'_, BTreeMap<String, ViewAnswer>> {
        let number = self.reads.fetch_add(1, Ordering::SeqCst) + 1;
        let answers = self.answers.lock().unwrap();
        let all = request.pods.keys().map(|node| (node.clone(), answers(&request, node, number))).collect();
        Box::pin(std::future::ready(all))
    }

    fn available(&self) -> Vec<String> {
        vec!["node-1".into()]
    }

    fn departed(&self, _: &Resource) -> Vec<DepartedPod> {
        self.departed.clone()
    }
}

/// What a node attests to: these containers, for the Pods that it was asked about.
pub fn statement(request: &ViewRequest, node: &str, containers: Vec<RunningContainer>) -> NodeStatement {
    NodeStatement {
        form: NodeStatement::FORM.into(),
        retest: request.retest,
        nonce: request.nonce,
        cluster: CLUSTER,
        node: node.into(),
        boot: "boot".into(),
        method: ViewMethod::TaskIterator,
        pods: request.pods[node].clone(),
        containers,
        host: HOST,
        process_count: 100,
        incomplete: None,
        read_at: UnixMillis::default(),
        agent_version: "0".into(),
    }
}

pub fn signed(statement: &NodeStatement) -> ViewAnswer {
    let statement = String::from_utf8(canonical::bytes(statement).unwrap()).unwrap();
    ViewAnswer::Statement(SignedNodeStatement { statement, signature: vec![1], certificate: vec![2] })
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
