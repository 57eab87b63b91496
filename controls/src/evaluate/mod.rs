//! Judging one subject: every control that applies to it, with its evidence and its origin.
//!
//! Three answers only: it holds, it fails at these places, or it can't be judged. A control that reads a kind that can't be
//! seen gives the third; so does a pod control that would pass while the subject's Pods can't be seen.

use std::collections::BTreeSet;

use holdfast_model::{CoverageState, Location, Origin, Read, Resource};
use sha2::{Digest, Sha256};

use crate::catalog::{self, Control, Judge};
use crate::facts::pod::PodSpec;
use crate::facts::{Facts, Family, Kind, Namespace, Object, namespace, workload};
use crate::inventory::{Dependency, Inventory, Reading, Relation, View};
use crate::pod_security::{self, Level, Version};

#[cfg(test)]
mod generated;

/// The answer of every control that applies to one subject.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// The subject.
    pub resource: Resource,
    /// What was read for it.
    pub read: Read,
    /// Where it comes from; its owner is the namespace's where it names none.
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

/// One subject with all its objects.
struct Subject<'a> {
    resource: &'a Resource,
    /// The object that bears the subject's name, where there is one.
    itself: Option<&'a Object>,
    /// Itself, or else the first of its objects.
    first: &'a Object,
    objects: Vec<&'a Object>,
}

impl Inventory {
    /// Asks every control that applies to this subject; `None` when nothing of the subject is known any more.
    pub fn evaluate(&self, subject: &Resource) -> Option<Judgement> {
        let subject = self.gather(subject)?;
        let outcomes: Vec<_> = catalog::all().filter_map(|control| self.ask(control, &subject)).collect();
        let relations = outcomes.iter().flat_map(|outcome| outcome.control.relations()).collect();
        Some(Judgement {
            resource: subject.resource.clone(),
            read: Read {
                uid: subject.first.meta.uid.clone(),
                resource_version: subject.first.meta.resource_version.clone(),
                hash: self.evidence_hash(&subject, &relations),
            },
            origin: self.origin(subject.first),
            outcomes,
        })
    }

    /// What must be read to judge a control on a subject, as far as it follows from what is known; in the order in which it
    /// should be asked.
    pub fn dependencies(&self, subject: &Resource, control: &Control) -> Vec<Dependency> {
        self.fetches(subject, control.relations())
    }

    /// The narrowest level of the Pod Security Standards that a workload fits, its template and the Pods that it has now;
    /// `None` for a subject that has neither.
    pub fn pod_security_level(&self, subject: &Resource) -> Option<Level> {
        let subject = self.gather(subject)?;
        const READS: &[Relation] = &[Relation::Namespace, Relation::ServerVersion];
        let version = policy(&View::new(self, subject.first, &(), READS));
        let pods = subject.objects.iter().filter_map(|object| match &object.facts {
            Facts::Workload(workload) => Some(&workload.pod),
            _ => None,
        });
        pods.map(|pod| pod_security::level_of(pod, version)).min()
    }

    fn gather<'a>(&'a self, resource: &'a Resource) -> Option<Subject<'a>> {
        let objects: Vec<&Object> = self.members_of(resource).collect();
        let itself = objects.iter().copied().find(|object| object.bears_name_of(resource));
        Some(Subject { resource, itself, first: itself.or(objects.first().copied())?, objects })
    }

    /// The object's own origin; its owner falls back to the namespace's.
    fn origin(&self, object: &Object) -> Origin {
        let mut origin = object.origin().clone();
        if origin.owner.is_none()
            && let Reading::One(Some(namespace)) = Relation::Namespace.read(self, object)
        {
            origin.owner = namespace.origin().owner.clone();
        }
        origin
    }

    fn ask(&self, control: &'static Control, subject: &Subject) -> Option<Outcome> {
        let mut fails = self.judge(control, subject)?;
        fails.sort();
        let unseen = |relations: &[Relation]| relations.iter().find_map(|relation| self.unseen(*relation, subject));
        let answer = match unseen(control.reads) {
            Some(reason) => Answer::Unknown(reason),
            None if !fails.is_empty() => Answer::Fail(fails),
            // What its template fails, it fails whatever its Pods are; to pass, they must be seen.
            None => unseen(control.judge.implies()).map_or(Answer::Pass, Answer::Unknown),
        };
        Some(Outcome { control, answer })
    }

    /// The places where a control fails; `None` where it does not apply to the subject.
    fn judge(&self, control: &Control, subject: &Subject) -> Option<Vec<Location>> {
        match control.judge {
            Judge::Pod(judge) => judge_pods(subject, |_, pod, fails| judge(pod, fails)),
            Judge::Processes => judge_pods(subject, |_, _, _| {}),
            Judge::PodUnder(judge) => {
                let policy = policy(&View::new(self, subject.first, &(), control.reads));
                judge_pods(subject, |_, pod, fails| judge(pod, policy, fails))
            }
            Judge::Workload(judge) => {
                judge_pods(subject, |object, pod, fails| judge(&View::new(self, object, pod, control.reads), fails))
            }
            Judge::Object(judge) => {
                let object = subject.itself.filter(|object| !is_of_the_system(object))?;
                judge.judge(self, object, control.reads)
            }
        }
    }

    /// The first of the kinds which a relation reads for this subject that can't be seen, as a reason.
    fn unseen(&self, relation: Relation, subject: &Subject) -> Option<String> {
        let kinds: &[&'static Kind] = relation.kinds_for(subject.itself);
        let kind = kinds.iter().find(|kind| self.coverage(kind) != Some(CoverageState::Seen))?;
        let state = self.coverage(kind).map_or("not looked at", CoverageState::as_str);
        Some(format!("{}: {state}", kind.subject()))
    }

    /// SHA-256 over everything that judges were given: the subject's objects, then each reading of each relation, once.
    fn evidence_hash(&self, subject: &Subject, relations: &BTreeSet<Relation>) -> Vec<u8> {
        let mut hash = Evidence(Sha256::new());
        subject.objects.iter().for_each(|object| hash.object(object));
        for relation in relations {
            let mut read = BTreeSet::new();
            for reader in self.readers_of(subject.resource) {
                if read.insert(relation.anchor(reader)) {
                    hash.reading(&relation.read(self, reader));
                }
            }
        }
        hash.0.finalize().to_vec()
    }
}

fn is_of_the_system(object: &Object) -> bool {
    *object.kind == namespace::NAMESPACE && namespace::SYSTEM_NAMESPACES.contains(&object.meta.name.as_str())
}

/// A hash of what was read. Every part stands behind its length, so that no two readings run into each other.
struct Evidence(Sha256);

impl Evidence {
    fn reading(&mut self, reading: &Reading) {
        match reading {
            Reading::One(object) => self.objects(object.as_slice()),
            Reading::Many(objects) => self.objects(objects),
            Reading::Any(any) => self.part(&[u8::from(*any)]),
            Reading::Minor(minor) => self.part(&minor.to_be_bytes()),
        }
    }

    fn objects(&mut self, objects: &[&Object]) {
        self.part(&(objects.len() as u64).to_be_bytes());
        objects.iter().for_each(|object| self.object(object));
    }

    fn object(&mut self, Object { kind, meta, facts }: &Object) {
        let named = (kind.group, kind.kind, &meta.namespace, &meta.name, &meta.uid);
        // Facts hold strings, booleans and integers under string keys: writing them into memory cannot fail.
        self.part(&serde_json::to_vec(&(named, facts)).unwrap_or_default());
    }

    fn part(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }
}

/// The version of the Pod Security Standards that counts in a namespace: the one that it enforces, else the server's
/// own. To name an older one hides nothing: of what these controls look at, an older version only allows less.
fn policy(view: &View<()>) -> Version {
    let server = Version::minor(u16::try_from(view.server_minor()).unwrap_or(u16::MAX));
    let enforced = |namespace: &Namespace| {
        let mode = Some(&namespace.enforce).filter(|mode| mode.level.is_some())?;
        Version::parse(mode.version.as_deref()?)
    };
    view.namespace().and_then(enforced).map_or(server, |pinned| pinned.min(server))
}

/// Judges the subject's own template, then, only where that holds, the Pods that it has now: an old revision or an
/// injected sidecar shows there. Where the template fails, its Pods add nothing but noise. A Pod is no template: it speaks
/// for itself alone, and runs that share its name are judged beside it.
fn judge_pods(subject: &Subject, judge: impl Fn(&Object, &PodSpec, &mut Vec<Location>)) -> Option<Vec<Location>> {
    let mut fails = Vec::new();
    let own = subject.itself.filter(|object| object.kind.family == Family::Workload);
    if let Some(object) = own {
        push_rooted(&judge, object, None, &mut fails);
        if !fails.is_empty() && *object.kind != workload::POD {
            return Some(fails);
        }
    }
    let mut any = own.is_some();
    let others = subject.objects.iter().filter(|object| own.is_none_or(|own| !std::ptr::eq(own, **object)));
    for pod in others.filter(|object| *object.kind == workload::POD) {
        push_rooted(&judge, pod, Some(&pod.meta.name), &mut fails);
        any = true;
    }
    any.then_some(fails)
}

fn push_rooted(
    judge: &impl Fn(&Object, &PodSpec, &mut Vec<Location>),
    object: &Object,
    pod: Option<&str>,
    fails: &mut Vec<Location>,
) {
    let Facts::Workload(workload) = &object.facts else { return };
    let from = fails.len();
    judge(object, &workload.pod, fails);
    for location in &mut fails[from..] {
        location.path = workload.rooted(&location.path);
        location.object = pod.map(|name| format!("Pod {name}"));
    }
}
