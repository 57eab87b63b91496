//! Judging one subject: every control that applies to it, with its evidence and its origin.
//!
//! Three answers only: it holds, it fails at these places, or it can't be judged. A control that reads a kind that can't be
//! seen gives the third; so does a pod control that would pass while the subject's Pods can't be seen.

use holdfast_model::{CoverageState, Location, Origin, Read, Resource};
use sha2::{Digest, Sha256};

use super::{Inventory, ObjectKey};
use crate::catalog::{self, Control, Judge, View};
use crate::facts::pod::PodSpec;
use crate::facts::{Facts, Family, Kind, Object, namespace, workload};
use crate::pod_security::{self, Level, Version};

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
    objects: Vec<&'a Object>,
}

impl Inventory {
    /// Asks every control that applies to this subject; `None` when nothing of the subject is known any more.
    pub fn evaluate(&self, subject: &Resource) -> Option<Judgement> {
        let subject = self.gather(subject)?;
        let first = subject.itself.or(subject.objects.first().copied())?;
        let outcomes = catalog::all().filter_map(|control| self.ask(control, &subject)).collect();
        Some(Judgement {
            resource: subject.resource.clone(),
            read: Read {
                uid: first.meta.uid.clone(),
                resource_version: first.meta.resource_version.clone(),
                hash: self.evidence_hash(&subject),
            },
            origin: self.origin(first),
            outcomes,
        })
    }

    /// The narrowest level of the Pod Security Standards that a workload fits, its template and the Pods that it has now;
    /// `None` for a subject that has neither.
    pub fn pod_security_level(&self, subject: &Resource) -> Option<Level> {
        let version = self.policy(subject.namespace.as_deref());
        let objects = self.gather(subject)?.objects;
        let pods = objects.iter().filter_map(|object| match &object.facts {
            Facts::Workload(workload) => Some(&workload.pod),
            _ => None,
        });
        pods.map(|pod| pod_security::level_of(pod, version)).min()
    }

    fn gather<'a>(&'a self, resource: &'a Resource) -> Option<Subject<'a>> {
        let members = self.members.get(resource)?;
        let objects: Vec<&Object> = members.iter().filter_map(|key| self.get(key)).collect();
        let itself = objects.iter().copied().find(|object| is(object, resource));
        Some(Subject { resource, itself, objects })
    }

    /// The object's own origin; its owner falls back to the namespace's.
    fn origin(&self, object: &Object) -> Origin {
        let mut origin = object.origin().clone();
        if origin.owner.is_none() {
            let namespace = object.meta.namespace.as_deref();
            let key = namespace.map(|name| ObjectKey::cluster_scoped(&namespace::NAMESPACE, name));
            origin.owner = key.and_then(|key| self.get(&key)?.origin().owner.clone());
        }
        origin
    }

    fn ask(&self, control: &'static Control, subject: &Subject) -> Option<Outcome> {
        let mut fails = self.judge(control, subject)?;
        fails.sort();
        let answer = match self.unseen(self.needed(control, subject)) {
            Some(reason) => Answer::Unknown(reason),
            None if !fails.is_empty() => Answer::Fail(fails),
            None => self.unseen(implied_reads(control, subject).iter().copied()).map_or(Answer::Pass, Answer::Unknown),
        };
        Some(Outcome { control, answer })
    }

    /// The places where a control fails; `None` where it does not apply to the subject.
    fn judge(&self, control: &Control, subject: &Subject) -> Option<Vec<Location>> {
        let mut fails = Vec::new();
        match (control.judge, subject.itself.map(|object| (object, &object.facts))) {
            (Judge::Pod(judge), _) => return judge_pods(subject, |_, pod, fails| judge(pod, fails)),
            (Judge::Processes, _) => return judge_pods(subject, |_, _, _| {}),
            (Judge::PodUnder(judge), _) => {
                let policy = self.policy(subject.resource.namespace.as_deref());
                return judge_pods(subject, |_, pod, fails| judge(pod, policy, fails));
            }
            (Judge::Workload(judge), _) => {
                return judge_pods(subject, |object, pod, fails| judge(&self.view(object, pod), fails));
            }
            (Judge::Role(judge), Some((object, Facts::Role(facts)))) => judge(&self.view(object, facts), &mut fails),
            (Judge::Binding(judge), Some((object, Facts::RoleBinding(facts)))) => {
                judge(&self.view(object, facts), &mut fails);
            }
            (Judge::Namespace(judge), Some((object, Facts::Namespace(facts)))) => {
                if namespace::SYSTEM_NAMESPACES.contains(&object.meta.name.as_str()) {
                    return None;
                }
                judge(&self.view(object, facts), &mut fails);
            }
            (Judge::Service(judge), Some((object, Facts::Service(facts)))) => {
                judge(&self.view(object, facts), &mut fails);
            }
            (Judge::Ingress(judge), Some((object, Facts::Ingress(facts)))) => {
                judge(&self.view(object, facts), &mut fails);
            }
            _ => return None,
        }
        Some(fails)
    }

    /// The version of the Pod Security Standards that counts in a namespace: the one that it enforces, else the server's
    /// own. To name an older one hides nothing: of what these controls look at, an older version only allows less.
    fn policy(&self, namespace: Option<&str>) -> Version {
        let server = Version::minor(u16::try_from(self.server_minor()).unwrap_or(u16::MAX));
        let enforce = namespace.and_then(|name| self.namespace(name)).map(|namespace| &namespace.enforce);
        let pinned =
            enforce.filter(|mode| mode.level.is_some()).and_then(|mode| Version::parse(mode.version.as_deref()?));
        pinned.map_or(server, |pinned| pinned.min(server))
    }

    fn view<'a, F>(&'a self, object: &'a Object, facts: &'a F) -> View<'a, F> {
        View { meta: &object.meta, facts, around: self }
    }

    /// The kinds that a control reads for this subject: of the kinds of roles, only the one that a binding references.
    fn needed(&self, control: &Control, subject: &Subject) -> impl Iterator<Item = &'static Kind> {
        let role = subject.itself.and_then(|object| self.role_of(object)).map(|key| key.kind);
        control.reads.iter().copied().filter(move |kind| kind.family != Family::Role || Some(*kind) == role)
    }

    /// The first of these kinds that can't be seen, as a reason.
    fn unseen(&self, mut kinds: impl Iterator<Item = &'static Kind>) -> Option<String> {
        let kind = kinds.find(|kind| self.coverage(kind) != Some(CoverageState::Seen))?;
        let state = self.coverage(kind).map_or("not looked at", CoverageState::as_str);
        Some(format!("{}: {state}", kind.subject()))
    }

    /// SHA-256 over the facts of everything that the controls read for a subject.
    fn evidence_hash(&self, subject: &Subject) -> Vec<u8> {
        let mut hash = Sha256::new();
        for object in subject.objects.iter().copied().chain(self.surroundings(subject)) {
            // Facts hold strings, booleans and integers under string keys: writing them into memory cannot fail.
            let facts = serde_json::to_vec(&(&object.meta.uid, &object.facts)).unwrap_or_default();
            hash.update((facts.len() as u64).to_be_bytes());
            hash.update(&facts);
        }
        hash.finalize().to_vec()
    }

    /// The other objects that the judgement rests on: the role of a binding, the policies of a namespace, the service
    /// account of a workload.
    fn surroundings<'a>(&'a self, subject: &Subject<'a>) -> Vec<&'a Object> {
        let Some(object) = subject.itself else { return Vec::new() };
        match &object.facts {
            Facts::RoleBinding(_) => self.role_of(object).and_then(|key| self.get(&key)).into_iter().collect(),
            Facts::Namespace(_) => {
                let kind = &crate::facts::network_policy::NETWORK_POLICY;
                self.in_namespace(kind, &object.meta.name).collect()
            }
            Facts::Workload(workload) => {
                let namespace = object.meta.namespace.as_deref().unwrap_or_default();
                let kind = &crate::facts::service_account::SERVICE_ACCOUNT;
                let key = ObjectKey::namespaced(kind, namespace, workload.pod.service_account());
                self.get(&key).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Whether an object bears a resource's name.
fn is(object: &Object, resource: &Resource) -> bool {
    object.kind.kind == resource.kind
        && object.kind.group == resource.group
        && object.meta.name == resource.name
        && object.meta.namespace == resource.namespace
}

/// What must be seen before a pod control may pass: the Pods that there are now, and what leads from the subject to them.
fn implied_reads(control: &Control, subject: &Subject) -> &'static [&'static Kind] {
    const PODS: &[&Kind] = &[&workload::POD];
    const BY_REPLICA_SET: &[&Kind] = &[&workload::REPLICA_SET, &workload::POD];
    const BY_JOB: &[&Kind] = &[&workload::JOB, &workload::POD];
    if !control.judge.is_of_pods() {
        return &[];
    }
    match subject.itself.map(|object| object.kind) {
        Some(kind) if *kind == workload::DEPLOYMENT => BY_REPLICA_SET,
        Some(kind) if *kind == workload::CRON_JOB => BY_JOB,
        _ => PODS,
    }
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
