//! A small inventory for one order, from live reads alone: what the control depends on is read until nothing new is needed.

use std::collections::{BTreeMap, HashSet};

use holdfast_agent_core::pod_index::ScheduledPod;
use holdfast_controls::evaluate::Answer;
use holdfast_controls::facts::pod::PodSpec;
use holdfast_controls::facts::{Facts, Workload};
use holdfast_controls::inventory::Dependency;
use holdfast_controls::{Control, Inventory, Kind};
use holdfast_model::{CoverageState, ObjectRead, RetestOrder};

use super::read::{ReadOutcome, Round};
use crate::api::Refusal;

/// More reads than any control needs: a bound for objects that refer to each other in a circle.
const MOST_READS: usize = 64;

/// Everything that was read for one order, and what the control made of it.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// The subject itself.
    pub(super) subject: SubjectObject,
    /// Reads that failed.
    pub(super) failures: Vec<ReadFailure>,
    /// The control's answer; `None` where it does not apply, or where nothing of the subject is there.
    pub(super) answer: Option<Answer>,
    /// Whether anything of the subject is there, its Pods included.
    pub(super) present: bool,
    /// The Pods that the subject has now.
    pub(super) pods: Vec<Member>,
    /// What the subject asks its Pods to be, where it makes them from a template.
    pub(super) template: Option<Workload>,
    /// The uid that the judgement is about.
    pub(super) uid: String,
    /// Everything that was read, in order.
    pub(super) reads: Vec<ObjectRead>,
    /// Uid and version of every object that was read.
    pub(super) versions: Vec<(String, String)>,
}

/// One Pod of the subject: where it is, and what it was asked to be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Member {
    pub(super) pod: ScheduledPod,
    pub(super) spec: PodSpec,
}

/// What became of the subject's own object.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum SubjectObject {
    /// The subject is no object of a kind that is read; its Pods name it.
    #[default]
    NoObject,
    /// It is there.
    Found,
    /// It is proved absent.
    Absent,
    /// It could not be read.
    Unclear,
}

/// A read that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReadFailure {
    /// The API server refused, or did not answer; the kind that was asked for, or none for its version.
    Refused(Option<&'static Kind>, Refusal),
    /// What came could not be read, or more would have had to be.
    Unreadable(String),
}

/// Reads what the control needs and asks it.
pub(super) async fn gather(
    round: &Round,
    order: &RetestOrder,
    control: &'static Control,
    server_minor: Option<u32>,
) -> Gathered {
    let mut gathered = Gathered::default();
    let mut inventory = Inventory::default();
    server_minor.into_iter().for_each(|minor| inventory.set_server_minor(minor));
    let mut coverage: BTreeMap<&'static Kind, CoverageState> = BTreeMap::new();
    let mut asked = HashSet::new();
    let mut pods = BTreeMap::new();
    loop {
        let needs = inventory.dependencies(&order.resource, control);
        let Some(need) = needs.into_iter().find(|need| asked.insert(need.clone())) else { break };
        if asked.len() > MOST_READS {
            gathered.failures.push(ReadFailure::Unreadable(format!("more than {MOST_READS} reads are needed")));
            break;
        }
        let fetched = round.fetch(&need).await;
        gathered.reads.extend(fetched.reads.iter().cloned());
        pods.extend(fetched.pods.iter().map(|pod| (pod.uid.clone(), pod.clone())));
        let state = gathered.take(&mut inventory, order, &need, fetched.outcome.clone());
        let Some(kind) = need.kind() else { continue };
        // A kind is seen only if every read of it succeeded.
        let known = coverage.entry(kind).or_insert(state);
        if state != CoverageState::Seen {
            *known = state;
        }
        inventory.set_coverage(kind, *known);
    }
    gathered.judge(&inventory, order, control);
    gathered.pods = members(&inventory, order, pods);
    gathered.template = inventory.template_of(&order.resource).cloned();
    gathered
}

/// The subject's Pods, each with its node and its containers.
fn members(inventory: &Inventory, order: &RetestOrder, mut read: BTreeMap<String, ScheduledPod>) -> Vec<Member> {
    let pods = inventory.pods_of(&order.resource).filter_map(|object| match &object.facts {
        Facts::Workload(workload) => Some(Member { pod: read.remove(&object.meta.uid)?, spec: workload.pod.clone() }),
        _ => None,
    });
    pods.collect()
}

impl Gathered {
    /// Puts what was read into the inventory, and says whether its kind can be seen.
    fn take(
        &mut self,
        inventory: &mut Inventory,
        order: &RetestOrder,
        need: &Dependency,
        outcome: ReadOutcome,
    ) -> CoverageState {
        let (subject, state) = match outcome {
            ReadOutcome::Objects(objects) => {
                for object in objects {
                    self.versions.push((object.meta.uid.clone(), object.meta.resource_version.clone()));
                    inventory.apply(object);
                }
                (SubjectObject::Found, CoverageState::Seen)
            }
            ReadOutcome::Absent => (SubjectObject::Absent, CoverageState::Seen),
            ReadOutcome::ServerMinor(minor) => {
                // One that does not tell is taken to be the one that it was.
                minor.into_iter().for_each(|minor| inventory.set_server_minor(minor));
                (SubjectObject::Found, CoverageState::Seen)
            }
            ReadOutcome::Refused(refused) => {
                let state = match refused {
                    Refusal::Forbidden(_) => CoverageState::Forbidden,
                    Refusal::NotServed(_) => CoverageState::Absent,
                    _ => CoverageState::Failing,
                };
                self.failures.push(ReadFailure::Refused(need.kind(), refused));
                (SubjectObject::Unclear, state)
            }
            ReadOutcome::Unreadable(problem) => {
                self.failures.push(ReadFailure::Unreadable(problem));
                (SubjectObject::Unclear, CoverageState::Failing)
            }
        };
        if is_subject(need, order) {
            self.subject = subject;
        }
        state
    }

    fn judge(&mut self, inventory: &Inventory, order: &RetestOrder, control: &'static Control) {
        let Some(judgement) = inventory.evaluate(&order.resource) else { return };
        self.present = true;
        self.uid = judgement.read.uid;
        let outcome = judgement.outcomes.into_iter().find(|outcome| outcome.control.id == control.id);
        self.answer = outcome.map(|outcome| outcome.answer);
    }
}

fn is_subject(need: &Dependency, order: &RetestOrder) -> bool {
    let resource = &order.resource;
    matches!(need, Dependency::Object(key)
        if key.name == resource.name
            && key.namespace == resource.namespace
            && key.kind.kind == resource.kind
            && key.kind.group == resource.group)
}
