//! The runtime re-check: what the nodes swear to about a subject's Pods, held against the control. PURE.
//!
//! After the live read has passed, each Pod that the subject has now is asked for at the node that runs it. A process that
//! disagrees is a failure, whatever else could not be looked at. Everything else must have been looked at: a node that is
//! silent or blind, a process that could not be read, a Pod that runs and shows no process leave the question open.

use std::collections::BTreeMap;

use holdfast_controls::Control;
use holdfast_controls::running::{Seen as SeenContainer, Shown};
use holdfast_model::kernel::{NodeStatement, SignedNodeStatement};
use holdfast_model::watched::Windows;
use holdfast_model::{ClusterId, Location, RetestOrder};

use super::gather::{Gathered, Member};
use crate::eyes::{Look, Seen};

/// What the nodes' statements come to.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// What the control makes of the processes.
    pub(super) shown: Shown,
    /// Nodes that said nothing that counts, each with its reason.
    pub(super) missing: Vec<String>,
    /// What may have changed under the look: Pods that run and show no process.
    pub(super) unsettled: Vec<String>,
    /// Containers with a process.
    pub(super) containers: usize,
    /// What the nodes swear to, by node: what counts of it, for the receipt.
    pub(super) statements: Vec<SignedNodeStatement>,
    /// How long containers had to be watched, where the control asks what they did.
    pub(super) windows: Option<Windows>,
}

/// The question: every Pod that has a node, at that node. A Pod that has ended is asked for too: its processes may not have.
pub(super) fn question(order: &RetestOrder, pods: &[Member]) -> Look {
    let mut by_node: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !pod.place.node.is_empty()) {
        by_node.entry(pod.place.node.clone()).or_default().push(pod.place.uid.clone());
    }
    by_node.values_mut().for_each(|uids| uids.sort_unstable());
    Look { retest: order.retest, nonce: order.nonce, pods: by_node }
}

/// What is asked, by whom, and how long must have been watched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asks<'a> {
    pub(super) order: &'a RetestOrder,
    pub(super) control: &'a Control,
    pub(super) cluster: ClusterId,
    pub(super) windows: Windows,
}

/// Holds the answers against the question and the control.
pub(super) fn judge(
    asks: Asks<'_>,
    gathered: &Gathered,
    asked: &BTreeMap<String, Vec<String>>,
    mut answers: BTreeMap<String, Seen>,
) -> Looked {
    let Asks { order, control, cluster, windows } = asks;
    let takes_time = control.running.is_some_and(|running| running.takes_time());
    let mut looked = Looked { windows: takes_time.then_some(windows), ..Looked::default() };
    for (node, uids) in asked {
        let checked = match answers.remove(node) {
            Some(Seen::Statement(signed)) => check(order, cluster, node, uids, &signed).map(|it| (it, signed)),
            Some(Seen::Silent(reason)) => Err(reason),
            None => Err("it was not asked".to_owned()),
        };
        match checked {
            Ok((statement, signed)) => {
                looked.take(asks, gathered, &statement);
                looked.statements.push(signed);
            }
            Err(reason) => looked.missing.push(format!("node {node}: {reason}")),
        }
    }
    looked.shown = std::mem::take(&mut looked.shown).settle();
    if takes_time && looked.shown.containers == 0 {
        // What nobody could watch has neither used a thing nor left it alone.
        looked.unsettled.push("nothing of it runs, so nothing could be watched".to_owned());
    }
    looked
}

/// The statement, if it answers this question for this node and hides nothing.
fn check(
    order: &RetestOrder,
    cluster: ClusterId,
    node: &str,
    uids: &[String],
    signed: &SignedNodeStatement,
) -> Result<NodeStatement, String> {
    let statement: NodeStatement =
        serde_json::from_str(&signed.statement).map_err(|error| format!("its statement is unreadable: {error}"))?;
    statement.answers(order.retest, order.nonce, cluster)?;
    if statement.node != node {
        return Err("its statement is another node's".to_owned());
    }
    if let Some(blind) = &statement.blind {
        return Err(format!("its view is not whole: {blind}"));
    }
    let left_out = uids.iter().any(|uid| !statement.pods.contains(uid));
    if left_out { Err("it left out a Pod that it was asked about".to_owned()) } else { Ok(statement) }
}

impl Looked {
    fn take(&mut self, asks: Asks<'_>, gathered: &Gathered, statement: &NodeStatement) {
        let pods = &gathered.pods;
        for container in &statement.containers {
            let pod = pods.iter().find(|pod| pod.place.uid == container.pod);
            let known = pod.map_or_else(|| container.clone(), |pod| pod.place.know(container));
            self.containers += usize::from(container.processes() > 0);
            let seen = SeenContainer {
                node: &statement.node,
                pod: pod.map_or(&container.pod, |pod| &pod.place.name),
                container: &known,
                host: &statement.host,
                listed: pod.map(|pod| &pod.spec),
                template: gathered.template.as_ref(),
                windows: asks.windows,
            };
            self.shown.ask(asks.control, &seen);
        }
        let here = pods.iter().filter(|pod| pod.place.node == statement.node && pod.has_started());
        for pod in here.filter(|pod| !shows_a_process(statement, &pod.place.uid)) {
            let (name, node) = (&pod.place.name, &statement.node);
            self.unsettled.push(format!("Pod {name} runs by the API server, and node {node} sees no process of it"));
        }
    }

    /// Whether another look could say more: something disagrees or is open, though every node answered.
    pub(super) fn may_settle(&self) -> bool {
        let open = !self.unsettled.is_empty() || !self.shown.unread.is_empty() || !self.shown.contradictions.is_empty();
        // A window does not pass while we wait.
        self.missing.is_empty() && open && self.windows.is_none()
    }

    /// Why the question stays open, if it does.
    pub(super) fn open(&self) -> Option<String> {
        let reasons: Vec<&String> =
            self.missing.iter().chain(&self.shown.unread).chain(&self.unsettled).take(3).collect();
        (!reasons.is_empty()).then(|| reasons.into_iter().map(String::as_str).collect::<Vec<_>>().join("; "))
    }

    /// `3 processes in 2 containers on node-1, node-2 agree`.
    pub(super) fn agreement(&self, pods: &[Member], asked: &BTreeMap<String, Vec<String>>) -> String {
        const NAMED: usize = 3;
        let named: Vec<_> = asked.keys().take(NAMED).map(String::as_str).collect();
        let more = asked.len() - named.len();
        let nodes = if more == 0 { named.join(", ") } else { format!("{} and {more} more nodes", named.join(", ")) };
        match (pods.len(), asked.len(), self.containers) {
            (0, ..) => "nothing of it is running: it has no Pods".to_owned(),
            (_, 0, _) => "nothing of it is running: none of its Pods has a node".to_owned(),
            (_, _, 0) => format!("nothing of it is running, by its Pods and by the kernel of {nodes}"),
            (_, _, containers) => {
                format!("{} in {} on {nodes} agree", count(self.shown.processes, "process", "processes"), {
                    count(containers as u64, "container", "containers")
                })
            }
        }
    }
}

/// Where a process disagrees, in one sentence: Pod, node, container, process, fact.
pub(super) fn disagreement(places: &[Location]) -> String {
    let Some(first) = places.first() else { return String::new() };
    let (object, container) = (first.object.as_deref().unwrap_or_default(), first.container.as_deref());
    let container = container.map_or(String::new(), |name| format!(", container {name}"));
    let more = places.len() - 1;
    let rest = if more == 0 { String::new() } else { format!(" (and {more} more)") };
    format!("the objects pass, and what runs does not: {object}{container}, {}: {}{rest}", first.path, first.value)
}

fn shows_a_process(statement: &NodeStatement, uid: &str) -> bool {
    statement.containers.iter().any(|container| container.pod == uid && container.processes() > 0)
}

fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

impl Member {
    /// Whether a container of it was created and not all have ended: then something of it must be running.
    fn has_started(&self) -> bool {
        !self.place.ended && self.place.containers.iter().any(|container| !container.id.is_empty())
    }
}
