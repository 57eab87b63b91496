//! What is known of one cluster: facts by object, who owns whom, and which subjects a change touches.
//!
//! Fed by `apply` and `remove`, asked by `evaluate`; it neither watches nor sends. The agent keeps one for its cluster, a
//! retest builds a small one from a fresh read, `holdfast check` one from files: the same answers come out of each.
//!
//! A subject is what a finding is about: the top owner. A Pod of a Deployment is evidence for the Deployment; a Pod that a
//! foreign controller made is named after that controller, because its own name changes with every run.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_model::{CoverageState, Location, Origin, Read, Resource};
use sha2::{Digest, Sha256};

use crate::catalog::{self, Control, Judge};
use crate::facts::{Facts, Family, Kind, Object, Workload, workload};

/// The place of one object: kind, namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: &'static Kind,
    /// Its namespace; `None` for a cluster-scoped object.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl ObjectKey {
    /// The key of an object.
    pub fn of(object: &Object) -> Self {
        Self { kind: object.kind, namespace: object.meta.namespace.clone(), name: object.meta.name.clone() }
    }
}

/// The answer of every control that applies to one subject.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// The subject.
    pub resource: Resource,
    /// What was read for it.
    pub read: Read,
    /// Where it comes from.
    pub origin: Origin,
    /// One per control that applies, in the catalog's order.
    pub outcomes: Vec<Outcome>,
}

/// One control's answer.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The control.
    pub control: &'static Control,
    /// What it found.
    pub answer: Answer,
}

/// What a control found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It holds.
    Pass,
    /// It fails at these places, sorted, with paths from the object's root.
    Fail(Vec<Location>),
    /// It could not be judged: a kind that it reads can't be seen.
    Unknown(String),
}

/// The facts of one cluster.
#[derive(Debug, Default)]
pub struct Inventory {
    objects: BTreeMap<ObjectKey, Object>,
    coverage: BTreeMap<&'static Kind, CoverageState>,
    subject_of: BTreeMap<ObjectKey, Resource>,
    members: BTreeMap<Resource, BTreeSet<ObjectKey>>,
    owned: BTreeMap<String, BTreeSet<ObjectKey>>,
    touched: BTreeSet<Resource>,
}

impl Inventory {
    /// Takes in an object, new or changed. A version that is already known changes nothing.
    pub fn apply(&mut self, object: Object) {
        let key = ObjectKey::of(&object);
        let uid = object.meta.uid.clone();
        if let Some(owner) = &object.meta.owner {
            self.owned.entry(owner.uid.clone()).or_default().insert(key.clone());
        }
        self.objects.insert(key.clone(), object);
        self.settle(&key);
        for child in self.owned.get(&uid).cloned().unwrap_or_default() {
            self.settle(&child);
        }
    }

    /// Takes out an object, if it is still the one with this uid. Answers whether it was.
    pub fn remove(&mut self, key: &ObjectKey, uid: &str) -> bool {
        if self.objects.get(key).is_none_or(|object| object.meta.uid != uid) {
            return false;
        }
        let Some(object) = self.objects.remove(key) else { return false };
        if let Some(children) = object.meta.owner.as_ref().and_then(|owner| self.owned.get_mut(&owner.uid)) {
            children.remove(key);
        }
        if let Some(subject) = self.subject_of.remove(key) {
            self.leave(key, &subject);
        }
        true
    }

    /// Notes whether a kind can be seen. Controls that read an unseen kind answer "unknown".
    pub fn set_coverage(&mut self, kind: &'static Kind, state: CoverageState) {
        if self.coverage.insert(kind, state) != Some(state) {
            let subjects: Vec<_> = self.members.keys().cloned().collect();
            self.touched.extend(subjects);
        }
    }

    /// The subjects that changes since the last call have touched.
    pub fn take_touched(&mut self) -> BTreeSet<Resource> {
        std::mem::take(&mut self.touched)
    }

    /// Every subject, in order.
    pub fn subjects(&self) -> impl Iterator<Item = &Resource> {
        self.members.keys()
    }

    /// The object at this place.
    pub fn get(&self, key: &ObjectKey) -> Option<&Object> {
        self.objects.get(key)
    }

    /// Every object of a kind, in order of namespace and name.
    pub fn of_kind(&self, kind: &'static Kind) -> impl Iterator<Item = &Object> {
        let first = ObjectKey { kind, namespace: None, name: String::new() };
        self.objects.range(first..).take_while(move |(key, _)| key.kind == kind).map(|(_, object)| object)
    }

    /// Asks every control that applies to this subject; `None` when nothing of the subject is known any more.
    pub fn evaluate(&self, subject: &Resource) -> Option<Judgement> {
        let members = self.members.get(subject)?;
        let objects: Vec<&Object> = members.iter().filter_map(|key| self.objects.get(key)).collect();
        let itself = objects.iter().copied().find(|object| object.resource() == *subject);
        let first = itself.or(objects.first().copied())?;
        let outcomes = catalog::all().filter_map(|control| self.ask(control, subject, itself, &objects)).collect();
        Some(Judgement {
            resource: subject.clone(),
            read: Read {
                uid: first.meta.uid.clone(),
                resource_version: first.meta.resource_version.clone(),
                hash: evidence_hash(&objects),
            },
            origin: first.origin().clone(),
            outcomes,
        })
    }

    fn ask(
        &self,
        control: &'static Control,
        _subject: &Resource,
        itself: Option<&Object>,
        objects: &[&Object],
    ) -> Option<Outcome> {
        let mut fails = match control.judge {
            Judge::Pod(judge) => judge_pods(judge, itself, objects)?,
            _ => return None,
        };
        fails.sort();
        let answer = if fails.is_empty() { Answer::Pass } else { Answer::Fail(fails) };
        Some(Outcome { control, answer })
    }

    /// Gives an object its subject, now that it or its owner is known.
    fn settle(&mut self, key: &ObjectKey) {
        let Some(object) = self.objects.get(key) else { return };
        let before = self.subject_of.get(key).cloned();
        let Some(now) = self.subject(object).or_else(|| before.clone()) else { return };
        if let Some(before) = before.filter(|before| *before != now) {
            self.leave(key, &before);
        }
        self.touched.insert(now.clone());
        self.members.entry(now.clone()).or_default().insert(key.clone());
        self.subject_of.insert(key.clone(), now);
    }

    fn leave(&mut self, key: &ObjectKey, subject: &Resource) {
        if let Some(members) = self.members.get_mut(subject) {
            members.remove(key);
            if members.is_empty() {
                self.members.remove(subject);
            }
        }
        self.touched.insert(subject.clone());
    }

    /// The top owner: the last controller owner among the kinds that are read. `None` while an owner that should be there
    /// has not been seen yet, so that nothing is ever reported under a name that is about to change.
    fn subject(&self, object: &Object) -> Option<Resource> {
        let mut top = object;
        while let Some(owner) = &top.meta.owner {
            let Some(kind) = Kind::find(&owner.group, &owner.kind).filter(|kind| kind.family == Family::Workload)
            else {
                return Some(foreign_owner(top, owner));
            };
            let key = ObjectKey { kind, namespace: top.meta.namespace.clone(), name: owner.name.clone() };
            match self.objects.get(&key).filter(|found| found.meta.uid == owner.uid) {
                Some(found) => top = found,
                None if self.can_see(kind) => return None,
                None => {
                    let namespace = top.meta.namespace.clone();
                    return Some(Resource {
                        group: owner.group.clone(),
                        kind: owner.kind.clone(),
                        namespace,
                        name: owner.name.clone(),
                    });
                }
            }
        }
        Some(top.resource())
    }

    fn can_see(&self, kind: &'static Kind) -> bool {
        matches!(self.coverage.get(kind), Some(CoverageState::Seen | CoverageState::Starting))
    }
}

/// The subject of an object whose controller is none of the kinds that are read: built-in workloads keep their own name, a
/// Pod (or Job) takes its controller's. A static Pod's owner is its Node, and its name ends with the node's.
fn foreign_owner(object: &Object, owner: &crate::facts::Owner) -> Resource {
    let mut resource = object.resource();
    if owner.kind == "Node" && owner.group.is_empty() {
        resource.kind = "StaticPod".to_owned();
        if let Some(name) = resource.name.strip_suffix(&format!("-{}", owner.name)) {
            resource.name = name.to_owned();
        }
    } else if *object.kind == workload::POD || *object.kind == workload::JOB {
        resource.name = owner.name.clone();
    }
    resource
}

/// Judges the subject's own template, then, only where that holds, the Pods that it has now: an old revision or an
/// injected sidecar shows there. Where the template fails, its Pods add nothing but noise.
fn judge_pods(
    judge: fn(&crate::facts::pod::PodSpec, &mut Vec<Location>),
    itself: Option<&Object>,
    objects: &[&Object],
) -> Option<Vec<Location>> {
    let workload_of = |object: &Object| match &object.facts {
        Facts::Workload(workload) => Some(workload.clone()),
        _ => None,
    };
    let mut fails = Vec::new();
    if let Some(workload) = itself.and_then(workload_of) {
        push_rooted(judge, &workload, None, &mut fails);
        if !fails.is_empty() || *itself?.kind == workload::POD {
            return Some(fails);
        }
    }
    let mut any = itself.and_then(workload_of).is_some();
    for pod in objects.iter().filter(|object| *object.kind == workload::POD) {
        if let Some(workload) = workload_of(pod) {
            push_rooted(judge, &workload, Some(&pod.meta.name), &mut fails);
            any = true;
        }
    }
    any.then_some(fails)
}

fn push_rooted(
    judge: fn(&crate::facts::pod::PodSpec, &mut Vec<Location>),
    workload: &Workload,
    pod: Option<&str>,
    fails: &mut Vec<Location>,
) {
    let from = fails.len();
    judge(&workload.pod, fails);
    let root = workload.spec_path();
    for location in &mut fails[from..] {
        location.path = format!("{root}.{}", location.path);
        location.object = pod.map(|name| format!("Pod {name}"));
    }
}

/// SHA-256 over the facts of everything that was read for a subject.
fn evidence_hash(objects: &[&Object]) -> Vec<u8> {
    let mut hash = Sha256::new();
    for object in objects {
        // Facts hold strings, booleans and integers under string keys: writing them into memory cannot fail.
        let facts = serde_json::to_vec(&(&object.meta.uid, &object.facts)).unwrap_or_default();
        hash.update((facts.len() as u64).to_be_bytes());
        hash.update(&facts);
    }
    hash.finalize().to_vec()
}
