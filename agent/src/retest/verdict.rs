//! From what was read to the verdict. PURE; the only place that decides "fixed".
//!
//! A failure that was seen is a failure, whatever else could not be read. Everything else needs every read to have
//! succeeded: a refusal is never a pass, and an object is absent only when the API server says so by name.

use std::collections::BTreeMap;

use holdfast_controls::catalog::Judge;
use holdfast_controls::evaluate::Answer;
use holdfast_controls::{Control, Kind};
use holdfast_model::container_observation::ObservationWindows;
use holdfast_model::kernel::SignedNodeStatement;
use holdfast_model::{Location, Method, Reach, RetestOrder, Verdict};

use super::gather::{Gathered, Member, ReadFailure, SubjectObject};
use super::running::{self, RuntimeCheck};
use crate::api::Refusal;
use holdfast_agent_core::{ledger, text};

/// The answer to an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) verdict: Verdict,
    pub(super) reason: String,
    pub(super) uid: String,
    pub(super) control_version: u32,
    pub(super) locations: Vec<Location>,
    pub(super) reach: Reach,
    pub(super) methods: Vec<Method>,
    pub(super) nodes: Vec<SignedNodeStatement>,
    pub(super) windows: Option<ObservationWindows>,
}

pub(super) fn decide(order: &RetestOrder, control: &Control, gathered: &Gathered) -> Decision {
    let (verdict, reason) = answer(order, control, gathered);
    let locations = match &gathered.answer {
        Some(Answer::Fail(locations)) => ledger::bounded(locations),
        _ => Vec::new(),
    };
    let uid = if gathered.present { gathered.uid.clone() } else { order.uid.clone() };
    Decision {
        verdict,
        reason: text::line(&reason),
        uid,
        control_version: control.version,
        locations,
        reach: Reach::Config,
        methods: vec![Method::LiveRead],
        nodes: Vec::new(),
        windows: None,
    }
}

/// Whether processes are to be checked: the order wants it, the control judges them, and the objects pass.
pub(super) fn needs_runtime_check(order: &RetestOrder, control: &Control, by_objects: &Decision) -> bool {
    let ordered = order.methods.contains(&Method::RuntimeRecheck) && control.running.is_some();
    ordered && by_objects.verdict == Verdict::Fixed
}

/// The objects pass and the processes should have been checked, which this agent could when the retest was requested and cannot
/// now.
pub(super) fn without_views(by_objects: Decision) -> Decision {
    open(by_objects, "this agent has no views on nodes any more, and had when the retest was requested")
}

/// From the nodes' statements to the verdict, once the objects pass.
pub(super) fn with_processes(
    by_objects: Decision,
    check: RuntimeCheck,
    pods: &[Member],
    asked: &BTreeMap<String, Vec<String>>,
) -> Decision {
    let by_objects = Decision { windows: check.windows, ..by_objects };
    let methods = vec![Method::LiveRead, Method::RuntimeRecheck];
    if !check.shown.contradictions.is_empty() {
        let mut locations = check.shown.contradictions;
        locations.sort();
        let reason = text::line(&running::disagreement(&locations));
        let (verdict, locations) = (Verdict::StillFailing, ledger::bounded(&locations));
        return Decision {
            verdict,
            reason,
            locations,
            reach: Reach::Running,
            methods,
            nodes: check.statements,
            ..by_objects
        };
    }
    if let Some(why) = check.open() {
        return open(by_objects, &why);
    }
    let reason = text::line(&format!("{}; {}", by_objects.reason, check.agreement(pods, asked)));
    Decision { reason, reach: Reach::Running, methods, nodes: check.statements, ..by_objects }
}

/// What the nodes attest to does not fit into a receipt, which must carry it.
pub(super) fn too_large(decision: Decision, bytes: usize) -> Decision {
    open(decision, &format!("the nodes' statements take {} KiB, more than a receipt can carry", bytes / 1024))
}

fn open(decision: Decision, why: &str) -> Decision {
    let reason = text::line(&format!("the objects pass; what runs is not proved: {why}"));
    let (verdict, methods) = (Verdict::Inconclusive, vec![Method::LiveRead]);
    Decision { verdict, reason, locations: Vec::new(), reach: Reach::Config, methods, nodes: Vec::new(), ..decision }
}

/// Pods that fail by their own specification, with their nodes: `Pod web-7d4b9 on node-1`.
fn old_pods(locations: &[Location], pods: &[Member]) -> String {
    const NAMED: usize = 3;
    let mut failing: Vec<&str> = locations.iter().filter_map(|location| location.object.as_deref()).collect();
    failing.dedup();
    let named = failing.iter().take(NAMED);
    let named: Vec<_> = named
        .map(|object| match node_of(object, pods) {
            Some(node) => format!("{object} on node {node}"),
            None => (*object).to_owned(),
        })
        .collect();
    if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) }
}

fn node_of<'p>(object: &str, pods: &'p [Member]) -> Option<&'p str> {
    let name = object.strip_prefix("Pod ")?;
    let pod = pods.iter().find(|pod| pod.pod.name == name)?;
    Some(pod.pod.node.as_str()).filter(|node| !node.is_empty())
}

fn answer(order: &RetestOrder, control: &Control, gathered: &Gathered) -> (Verdict, String) {
    if let Some(Answer::Fail(locations)) = &gathered.answer {
        let places = if locations.len() == 1 { "place" } else { "places" };
        let pods = old_pods(locations, &gathered.pods);
        return (Verdict::StillFailing, format!("it still fails at {} {places}{pods}", locations.len()));
    }
    if let Some(failure) = gathered.failures.iter().min_by_key(|failure| !failure.is_no_answer()) {
        return failure.verdict();
    }
    let subject = &order.resource;
    match (&gathered.answer, gathered.present, gathered.subject) {
        (Some(Answer::Unknown(reason)), ..) => (Verdict::Inconclusive, reason.clone()),
        (Some(_), ..)
            if matches!(control.judge, Judge::Processes) && !order.methods.contains(&Method::RuntimeRecheck) =>
        {
            (Verdict::Inconclusive, "only what runs can show it, and no node's kernel could be seen".to_owned())
        }
        (Some(_), ..) => {
            (Verdict::Fixed, format!("{subject}, read live: {}{}", control.title, unchecked(order, control)))
        }
        (None, true, _) => (Verdict::Inconclusive, format!("the control says nothing about {subject}")),
        (None, false, SubjectObject::Absent) => (Verdict::WorkloadDeleted, format!("the API server has no {subject}")),
        (None, false, SubjectObject::NoObject) => {
            (Verdict::WorkloadDeleted, format!("no Pod of its namespace belongs to {subject}"))
        }
        (None, false, _) => (Verdict::Inconclusive, format!("{subject} belongs to another owner now")),
    }
}

/// Where a control judges processes and no kernel view was available when the retest was requested.
fn unchecked(order: &RetestOrder, control: &Control) -> &'static str {
    let looks = order.methods.contains(&Method::RuntimeRecheck);
    if looks || control.running.is_none() {
        ""
    } else {
        "; what runs was not looked at: no node's kernel could be seen"
    }
}

impl ReadFailure {
    /// Whether the API server did not answer at all: reported before any other failure.
    fn is_no_answer(&self) -> bool {
        matches!(self, Self::Refused(_, Refusal::Failing(_) | Refusal::Expired(_)))
    }

    fn verdict(&self) -> (Verdict, String) {
        let verdict = if self.is_no_answer() { Verdict::Unreachable } else { Verdict::Inconclusive };
        match self {
            Self::Refused(kind, refused) => {
                let what = kind.map_or_else(|| "the API server's version".to_owned(), Kind::subject);
                (verdict, format!("{what} could not be read: {refused}"))
            }
            Self::Unreadable(problem) => (verdict, format!("not everything could be read: {problem}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use holdfast_controls::facts::workload::{DEPLOYMENT, POD};
    use holdfast_model::{Nonce, Resource, RetestId};

    use super::*;

    fn verdict(gathered: Gathered) -> Verdict {
        let control = Control::find("workload.privileged").unwrap();
        let order = RetestOrder {
            retest: RetestId::from_bytes([1; 16]),
            nonce: Nonce::from_bytes([2; 16]),
            resource: Resource::namespaced("apps", "Deployment", "shop", "web"),
            uid: "old".into(),
            control: control.control_id(),
            control_version: control.version,
            methods: vec![Method::LiveRead],
        };
        decide(&order, control, &gathered).verdict
    }

    fn found(answer: Answer) -> Gathered {
        Gathered {
            subject: SubjectObject::Found,
            present: true,
            answer: Some(answer),
            uid: "u".into(),
            ..Gathered::default()
        }
    }

    fn with_failure(gathered: Gathered, refusal: Refusal) -> Gathered {
        Gathered { failures: vec![ReadFailure::Refused(Some(&POD), refusal)], ..gathered }
    }

    #[test]
    fn a_pass_needs_every_read() {
        assert_eq!(verdict(found(Answer::Pass)), Verdict::Fixed);
        assert_eq!(verdict(with_failure(found(Answer::Pass), Refusal::Forbidden("no".into()))), Verdict::Inconclusive);
        assert_eq!(verdict(with_failure(found(Answer::Pass), Refusal::Failing("no".into()))), Verdict::Unreachable);
        let unreadable = Gathered { failures: vec![ReadFailure::Unreadable("x".into())], ..found(Answer::Pass) };
        assert_eq!(verdict(unreadable), Verdict::Inconclusive);
        assert_eq!(verdict(found(Answer::Unknown("x".into()))), Verdict::Inconclusive);
    }

    #[test]
    fn a_failure_that_was_seen_stands_whatever_else_was_refused() {
        let fails = || found(Answer::Fail(vec![Location::field("spec", "x")]));
        assert_eq!(verdict(with_failure(fails(), Refusal::Forbidden("no".into()))), Verdict::StillFailing);
        assert_eq!(verdict(fails()), Verdict::StillFailing);
    }

    #[test]
    fn absence_is_proved_or_it_is_nothing() {
        let absent = || Gathered { subject: SubjectObject::Absent, ..Gathered::default() };
        assert_eq!(verdict(absent()), Verdict::WorkloadDeleted);
        assert_eq!(verdict(with_failure(absent(), Refusal::Forbidden("no".into()))), Verdict::Inconclusive);
        let api_gone = ReadFailure::Refused(Some(&DEPLOYMENT), Refusal::NotServed("404 page not found".into()));
        let unclear = Gathered { subject: SubjectObject::Unclear, failures: vec![api_gone], ..Gathered::default() };
        assert_eq!(verdict(unclear), Verdict::Inconclusive);
        assert_eq!(verdict(Gathered { subject: SubjectObject::Found, ..Gathered::default() }), Verdict::Inconclusive);
        assert_eq!(verdict(Gathered { answer: None, ..found(Answer::Pass) }), Verdict::Inconclusive);
    }
}
