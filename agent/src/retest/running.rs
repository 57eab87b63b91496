//! The runtime re-check: what the nodes attest to about a subject's Pods, held against the control. PURE.
//!
//! After the live read has passed, each Pod that the subject has now is asked for at the node that runs it, and each that it
//! had until its node is seen without it. Where it has none, every node whose kernel view is available attests so. A process that
//! contradicts the control is a failure, whatever else could not be read. Everything else must have been read: a node that does
//! not answer or does not see everything, a process that could not be read, a container that runs and shows no process leave the
//! question open.

use std::collections::BTreeMap;

use holdfast_controls::Control;
use holdfast_controls::running::{self, ObservedContainer, RuntimeJudgement};
use holdfast_model::container_observation::ObservationWindows;
use holdfast_model::kernel::{NodeStatement, RunningContainer, SignedNodeStatement};
use holdfast_model::{ClusterId, Location, RetestOrder};
use holdfast_proof::{NodeQuestion, StatementProblem, node_statement};

use super::gather::{Gathered, Member};
use crate::node_views::{NodeViews, ViewAnswer, ViewRequest};

/// What the nodes' statements amount to.
#[derive(Debug, Default)]
pub(super) struct RuntimeCheck {
    /// What the control makes of the processes.
    pub(super) shown: RuntimeJudgement,
    /// Nodes without a statement that counts, each with its reason.
    pub(super) missing: Vec<String>,
    /// What may have changed during the check: containers that run and show no process.
    pub(super) unsettled: Vec<String>,
    /// Containers with a process.
    pub(super) containers: usize,
    /// What the nodes attest to, by node: what counts of it, for the receipt.
    pub(super) statements: Vec<SignedNodeStatement>,
    /// How long containers had to be watched, where the control asks what they did.
    pub(super) windows: Option<ObservationWindows>,
}

/// The request: every Pod that has a node, at that node. A Pod that has ended, or left, is asked for too: its processes may
/// not have. Where no Pod has a node, each node whose kernel view is available is asked.
pub(super) fn request(order: &RetestOrder, pods: &[Member], views: &dyn NodeViews) -> ViewRequest {
    let listed = pods.iter().map(|pod| (pod.pod.node.clone(), pod.pod.uid.clone()));
    let listed = listed.filter(|(node, _)| !node.is_empty());
    let departed = views.departed(&order.resource).into_iter().map(|gone| (gone.node, gone.uid));
    let mut by_node: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (node, uid) in listed {
        by_node.entry(node).or_default().push(uid);
    }
    if by_node.is_empty() {
        by_node.extend(views.available().into_iter().map(|node| (node, Vec::new())));
    }
    for (node, uid) in departed {
        by_node.entry(node).or_default().push(uid);
    }
    for uids in by_node.values_mut() {
        uids.sort_unstable();
        uids.dedup();
    }
    ViewRequest { retest: order.retest, nonce: order.nonce, pods: by_node }
}

/// The control that is asked about, and how long must have been watched.
#[derive(Debug, Clone, Copy)]
pub(super) struct RuntimeQuestion<'a> {
    pub(super) order: &'a RetestOrder,
    pub(super) control: &'a Control,
    pub(super) cluster: ClusterId,
    pub(super) windows: ObservationWindows,
}

/// Holds the answers against the question and the control.
pub(super) fn judge(
    question: RuntimeQuestion<'_>,
    gathered: &Gathered,
    asked: &BTreeMap<String, Vec<String>>,
    mut answers: BTreeMap<String, ViewAnswer>,
) -> RuntimeCheck {
    let RuntimeQuestion { order, control, cluster, windows } = question;
    let takes_time = control.running.is_some_and(|running| running.takes_time());
    let mut check = RuntimeCheck { windows: takes_time.then_some(windows), ..RuntimeCheck::default() };
    if asked.is_empty() {
        check.missing.push("no node's kernel can be looked into now".to_owned());
    }
    for (node, uids) in asked {
        let checked = match answers.remove(node) {
            Some(ViewAnswer::Statement(signed)) => verified(order, cluster, node, uids, &signed)
                .map(|it| (it, signed))
                .map_err(|problem| format!("its statement proves nothing here: {problem}")),
            Some(ViewAnswer::Missing(reason)) => Err(reason),
            None => Err("it was not asked".to_owned()),
        };
        match checked {
            Ok((statement, signed)) => {
                check.take(question, gathered, &statement);
                check.statements.push(signed);
            }
            Err(reason) => check.missing.push(format!("node {node}: {reason}")),
        }
    }
    check.shown = std::mem::take(&mut check.shown).settle();
    if takes_time && check.shown.containers == 0 {
        // What was not watched proves neither use nor disuse.
        check.unsettled.push("nothing of it runs, so nothing could be watched".to_owned());
    }
    check
}

/// The statement, if it answers this question for this node and is whole. The relay has checked its signature.
fn verified(
    order: &RetestOrder,
    cluster: ClusterId,
    node: &str,
    uids: &[String],
    signed: &SignedNodeStatement,
) -> Result<NodeStatement, StatementProblem> {
    let RetestOrder { retest, nonce, .. } = *order;
    let question = NodeQuestion { retest, nonce, cluster, node, boot: None, pods: Some(uids) };
    let statement = node_statement::read(&question, &signed.statement)?;
    node_statement::check_whole(&statement)?;
    Ok(statement)
}

impl RuntimeCheck {
    fn take(&mut self, question: RuntimeQuestion<'_>, gathered: &Gathered, statement: &NodeStatement) {
        let pods = &gathered.pods;
        for container in running::asked(&statement.containers) {
            let pod = pods.iter().find(|pod| pod.pod.uid == container.pod);
            let known = pod.map_or_else(|| container.clone(), |pod| pod.pod.named_as_listed(container));
            self.containers += usize::from(container.processes() > 0);
            let seen = ObservedContainer {
                node: &statement.node,
                pod: pod.map_or(&container.pod, |pod| &pod.pod.name),
                container: &known,
                host: &statement.host,
                listed: pod.map(|pod| &pod.spec),
                template: gathered.template.as_ref(),
                windows: question.windows,
            };
            self.shown.ask(question.control, &seen);
        }
        for pod in pods.iter().filter(|pod| pod.pod.node == statement.node && !pod.pod.ended) {
            self.expect(pod, statement);
        }
    }

    /// What runs according to the API server must have a process: a sandbox's process is none of its containers'.
    fn expect(&mut self, pod: &Member, statement: &NodeStatement) {
        let (name, node) = (&pod.pod.name, &statement.node);
        for container in pod.pod.containers.iter().filter(|container| container.is_running) {
            if !shows_a_process(statement, &pod.pod.uid, &container.id) {
                let container = &container.name;
                let sentence = "runs by the API server, and shows no process on node";
                self.unsettled.push(format!("container {container} of Pod {name} {sentence} {node}"));
            }
        }
        if pod.has_stopped() {
            self.unsettled
                .push(format!("Pod {name} on node {node} has been started, and none of its containers runs now"));
        }
    }

    /// Whether another check could show more: something disagrees or is open, though every node answered.
    pub(super) fn may_settle(&self) -> bool {
        let open = !self.unsettled.is_empty() || !self.shown.unread.is_empty() || !self.shown.contradictions.is_empty();
        // A window does not pass within a retry.
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
        match (pods.len(), self.containers) {
            (0, 0) => format!("nothing of it is running: it has no Pods, and the kernel of {nodes} shows none"),
            (_, 0) => format!("nothing of it is running, by its Pods and by the kernel of {nodes}"),
            (_, containers) => {
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

fn shows_a_process(statement: &NodeStatement, uid: &str, id: &str) -> bool {
    let it = |container: &&RunningContainer| container.pod == uid && container.id == id && !id.is_empty();
    statement.containers.iter().find(it).is_some_and(|container| container.processes() > 0)
}

fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

impl Member {
    /// Whether containers of it were started and none runs, for now: what runs next is not known.
    fn has_stopped(&self) -> bool {
        let containers = &self.pod.containers;
        let started = containers.iter().any(|container| container.role == "container" && !container.id.is_empty());
        started && !containers.iter().any(|container| container.is_running)
    }
}
