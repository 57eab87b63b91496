//! What is known of one cluster: facts by object, who owns whom, and which subjects a change touches.
//!
//! Fed by `apply` and `remove`, asked by `evaluate`; it neither watches nor sends. The agent keeps one for its cluster, a
//! retest builds a small one from a fresh read, `holdfast check` one from files: the same answers come out of each.
//!
//! A subject is what a finding is about: the top owner (`ownership.rs`). What judgements read beside their subject is in
//! `relation.rs`, and from there follow what a change touches (`links.rs`), what a judge is given (`view.rs`), what a live read
//! fetches (`dependencies.rs`) and what is hashed (`crate::evaluate`). A change costs the logarithm of the cluster's size plus
//! the subjects that it really touches; only `set_coverage` walks over everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use holdfast_model::{CoverageState, Resource};

use crate::facts::labels::Interner;
use crate::facts::{Facts, Family, KINDS, Kind, Namespace, Object, Workload, namespace, workload};

mod dependencies;
mod links;
mod ownership;
mod relation;
#[cfg(test)]
pub(crate) mod tests;
mod view;

pub use dependencies::Dependency;
pub use relation::Relation;
pub use view::View;

pub(crate) use links::Principal;
pub(crate) use relation::Reading;

use links::Links;

/// The newest minor version of Kubernetes that the catalog was checked against; what a cluster is taken for until it says.
pub const NEWEST_MINOR: u32 = 34;

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

    /// The key of an object that lives in a namespace.
    pub fn namespaced(kind: &'static Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: Some(namespace.to_owned()), name: name.to_owned() }
    }

    /// The key of an object of the whole cluster.
    pub fn cluster_scoped(kind: &'static Kind, name: &str) -> Self {
        Self { kind, namespace: None, name: name.to_owned() }
    }

    /// The key of the object that bears a resource's name; none for a kind that isn't read.
    pub fn of_resource(resource: &Resource) -> Option<Self> {
        let kind = Kind::find(&resource.group, &resource.kind)?;
        Some(Self { kind, namespace: resource.namespace.clone(), name: resource.name.clone() })
    }
}

/// The facts of one cluster.
#[derive(Debug)]
pub struct Inventory {
    objects: BTreeMap<Arc<ObjectKey>, Entry>,
    coverage: BTreeMap<&'static Kind, CoverageState>,
    /// The objects of each subject, in order.
    members: BTreeMap<Arc<Resource>, BTreeSet<Arc<ObjectKey>>>,
    /// What names this uid as its controller, whether or not the controller has been seen.
    children: BTreeMap<Box<str>, BTreeSet<Arc<ObjectKey>>>,
    links: Links,
    touched: BTreeSet<Arc<Resource>>,
    interner: Interner,
    server_minor: u32,
}

#[derive(Debug)]
struct Entry {
    object: Object,
    /// `None` while its owner is awaited.
    subject: Option<Arc<Resource>>,
}

impl Default for Inventory {
    /// Of a cluster of which nothing can be seen yet: whatever reads another kind is unknown until `set_coverage` says that
    /// the kind is seen.
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            coverage: BTreeMap::new(),
            members: BTreeMap::new(),
            children: BTreeMap::new(),
            links: Links::default(),
            touched: BTreeSet::new(),
            interner: Interner::default(),
            server_minor: NEWEST_MINOR,
        }
    }
}

impl Inventory {
    /// Of a world in which everything is seen, so that what is not put in does not exist: files and fixtures. A retest
    /// starts from `default` instead and declares what it managed to read.
    pub fn complete() -> Self {
        let coverage = KINDS.iter().map(|&kind| (kind, CoverageState::Seen)).collect();
        Self { coverage, ..Self::default() }
    }

    /// Takes in an object, new or changed. One whose facts are already known touches nothing, whatever its version.
    pub fn apply(&mut self, mut object: Object) {
        ownership::drop_inner_template(&mut object);
        let wanted = ObjectKey::of(&object);
        let Some((key, entry)) = self.objects.get_key_value(&wanted) else {
            return self.insert(Arc::new(wanted), object);
        };
        let key = key.clone();
        if same_but_version(&entry.object, &object) {
            if let Some(entry) = self.objects.get_mut(&key) {
                entry.object.meta.resource_version = object.meta.resource_version;
            }
            return;
        }
        object.facts.intern(&mut self.interner);
        self.unlink(&key);
        if let Some(entry) = self.objects.get_mut(&key) {
            entry.object = object;
        }
        self.link(&key);
    }

    fn insert(&mut self, key: Arc<ObjectKey>, mut object: Object) {
        object.facts.intern(&mut self.interner);
        let first = self.is_first_workload(&key);
        self.objects.insert(key.clone(), Entry { object, subject: None });
        if first {
            self.touch_workloads_of(&key);
        }
        self.link(&key);
    }

    /// Takes out an object, if it is still the one with this uid. Answers whether it was.
    pub fn remove(&mut self, key: &ObjectKey, uid: &str) -> bool {
        let Some((key, entry)) = self.objects.get_key_value(key).filter(|(_, entry)| entry.object.meta.uid == uid)
        else {
            return false;
        };
        let (key, subject) = (key.clone(), entry.subject.clone());
        self.unlink(&key);
        self.objects.remove(&key);
        if let Some(subject) = subject {
            self.leave(&key, &subject);
        }
        if self.is_first_workload(&key) {
            self.touch_workloads_of(&key);
        }
        true
    }

    /// Whether anything runs in the namespace of this workload has changed.
    fn touch_workloads_of(&mut self, workload: &ObjectKey) {
        if let Some(name) = &workload.namespace {
            self.touch_at(Relation::Workloads, &ObjectKey::cluster_scoped(&namespace::NAMESPACE, name));
        }
    }

    /// Notes whether a kind can be seen. Controls that read an unseen kind answer "unknown".
    pub fn set_coverage(&mut self, kind: &'static Kind, state: CoverageState) {
        let could_see = self.can_see(kind);
        if self.coverage.insert(kind, state) == Some(state) {
            return;
        }
        if kind.family == Family::Workload && could_see != self.can_see(kind) {
            let keys: Vec<_> = self.objects.keys().filter(|key| key.kind.family == Family::Workload).cloned().collect();
            keys.iter().for_each(|key| self.settle(key));
        }
        self.touched.extend(self.members.keys().cloned());
    }

    /// Whether a kind can be seen; `None` for one that nobody has tried to look at.
    pub fn coverage(&self, kind: &'static Kind) -> Option<CoverageState> {
        self.coverage.get(kind).copied()
    }

    /// Notes the minor version of the API server: Pod Security versions are measured against it.
    pub fn set_server_minor(&mut self, minor: u32) {
        if std::mem::replace(&mut self.server_minor, minor) != minor {
            self.touched.extend(self.members.keys().cloned());
        }
    }

    /// The minor version of the API server.
    pub fn server_minor(&self) -> u32 {
        self.server_minor
    }

    /// The subjects that changes since the last call have touched. Take it after the first list of every kind: before
    /// that, most subjects would be judged several times.
    pub fn take_touched(&mut self) -> BTreeSet<Arc<Resource>> {
        std::mem::take(&mut self.touched)
    }

    /// Every subject, in order.
    pub fn subjects(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.members.keys()
    }

    /// The Pods that a subject has now, by name, whatever made them.
    pub fn pods_of(&self, subject: &Resource) -> impl Iterator<Item = &Object> {
        let members = self.members.get(subject).into_iter().flatten();
        members.filter(|key| *key.kind == workload::POD).filter_map(|key| self.get(key))
    }

    /// What a subject asks its Pods to be, where it makes them from a template.
    pub fn template_of(&self, subject: &Resource) -> Option<&Workload> {
        let key = ObjectKey::of_resource(subject).filter(|key| *key.kind != workload::POD)?;
        match &self.get(&key)?.facts {
            Facts::Workload(workload) => Some(workload),
            _ => None,
        }
    }

    /// The number of objects.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// The object at this place.
    pub fn get(&self, key: &ObjectKey) -> Option<&Object> {
        self.objects.get(key).map(|entry| &entry.object)
    }

    /// What findings about this object are about: its top owner; none while an owner is awaited.
    pub fn subject_of(&self, key: &ObjectKey) -> Option<&Resource> {
        self.objects.get(key)?.subject.as_deref()
    }

    /// Every object of a kind, in order of namespace and name.
    pub fn of_kind(&self, kind: &'static Kind) -> impl Iterator<Item = &Object> {
        let first = ObjectKey { kind, namespace: None, name: String::new() };
        let range = self.objects.range(first..).take_while(move |(key, _)| key.kind == kind);
        range.map(|(_, entry)| &entry.object)
    }

    /// Every object of a kind in one namespace, by name.
    pub fn in_namespace(&self, kind: &'static Kind, namespace: &str) -> impl Iterator<Item = &Object> {
        self.range_in(kind, namespace).map(|(_, entry)| &entry.object)
    }

    /// The facts of a namespace.
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        match &self.get(&ObjectKey::cluster_scoped(&namespace::NAMESPACE, name))?.facts {
            Facts::Namespace(namespace) => Some(namespace),
            _ => None,
        }
    }

    /// Whether there is a Pod, or anything that makes Pods, in a namespace.
    pub fn has_workloads(&self, namespace: &str) -> bool {
        Relation::Workloads.kinds().iter().any(|kind| self.range_in(kind, namespace).next().is_some())
    }

    /// The objects of a subject, in order; none for one that is not known.
    pub(crate) fn members_of<'a>(&'a self, subject: &Resource) -> impl Iterator<Item = &'a Object> + use<'a> {
        self.members.get(subject).into_iter().flatten().filter_map(|key| self.get(key))
    }

    /// The objects of a subject that are judged, each by itself: the one that bears its name, and its Pods. Others, such as a
    /// Deployment's ReplicaSets, only lead to Pods.
    pub(crate) fn readers_of<'a>(&'a self, subject: &'a Resource) -> impl Iterator<Item = &'a Object> {
        self.members_of(subject).filter(|object| *object.kind == workload::POD || object.bears_name_of(subject))
    }

    fn range_in(&self, kind: &'static Kind, namespace: &str) -> impl Iterator<Item = (&Arc<ObjectKey>, &Entry)> {
        let first = ObjectKey::namespaced(kind, namespace, "");
        let namespace = first.namespace.clone();
        self.objects.range(first..).take_while(move |(key, _)| key.kind == kind && key.namespace == namespace)
    }

    fn can_see(&self, kind: &'static Kind) -> bool {
        matches!(self.coverage.get(kind), Some(CoverageState::Seen | CoverageState::Starting))
    }
}

/// Whether nothing that is read has changed: status updates give an object a new version many times in its life.
fn same_but_version(known: &Object, new: &Object) -> bool {
    let (a, b) = (&known.meta, &new.meta);
    a.uid == b.uid
        && (a.resource_version == b.resource_version && !a.resource_version.is_empty()
            || known.facts == new.facts
                && a.owner == b.owner
                && a.origin == b.origin
                && a.generate_name == b.generate_name
                && a.run_of == b.run_of)
}
