//! What is wrong in the cluster by its objects: the inventory, the ledger of what was reported, and what may be reported.
//!
//! Changes are applied, then settled: the touched subjects are judged and only the differences come out. Until everything that can
//! be seen has been listed once, only failures are reported: what looks like a pass may be judged by half a cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_controls::evaluate::Judgement;
use holdfast_controls::facts::Facts;
use holdfast_controls::facts::namespace::SCOPE_LABEL;
use holdfast_controls::facts::pod::PodSpec;
use holdfast_controls::facts::workload::POD;
use holdfast_controls::inventory::ObjectKey;
use holdfast_controls::{Inventory, KINDS, Kind, Object};
use holdfast_model::{ClusterId, Coverage, CoverageState, Report, Resource, UnixMillis};

use crate::ledger::Ledger;
use crate::outbox::ScopeProposal;
use crate::pod_index::ScheduledPod;
use crate::text::clip;

mod judge;
mod kinds;
mod reads;
mod unreadable;
mod versions;

pub use unreadable::Unreadable;
pub use versions::{Uids, Versions};

use kinds::KindStates;
use reads::LiveReads;
use unreadable::UnreadableObjects;

/// A change of the cluster's objects, or of what can be seen of them.
#[derive(Debug)]
pub enum ObjectChange {
    /// An object, new or changed.
    Seen(Box<Object>),
    /// An object that is proved deleted: by a DELETED event of this uid, or by name at the API server.
    Deleted {
        /// Where it was.
        key: ObjectKey,
        /// Which one it was.
        uid: String,
    },
    /// An object that does not have its kind's form.
    Unreadable(Unreadable),
    /// Whether a kind can be seen has changed.
    Coverage {
        /// The kind.
        kind: &'static Kind,
        /// The state it is in now.
        state: CoverageState,
        /// Why, in the API server's words; empty when it is seen.
        reason: String,
    },
}

/// What a change has to be reported beside judgements.
#[derive(Debug, PartialEq)]
pub enum PostureOutput {
    /// The coverage of a kind.
    KindCoverage(Coverage),
    /// The coverage of one object that cannot be read, or can be again.
    ObjectCoverage(Coverage),
    /// What a namespace's label asks for.
    Proposal(ScopeProposal),
}

/// The objects of one cluster, and what was reported about them.
#[derive(Debug)]
pub struct Posture {
    inventory: Inventory,
    ledger: Ledger,
    kinds: KindStates,
    unreadable: UnreadableObjects,
    /// Uids of objects whose deletion is proved and not reported yet, by the subject that they name.
    deleted: BTreeMap<Resource, String>,
    /// Subjects to judge beside those that the inventory has touched.
    rejudge: Vec<Arc<Resource>>,
    live_reads: LiveReads,
    is_synced: bool,
}

impl Posture {
    /// Nothing has been seen yet.
    pub fn new(cluster: ClusterId, now: UnixMillis) -> Self {
        let mut inventory = Inventory::default();
        KINDS.iter().for_each(|kind| inventory.set_coverage(kind, CoverageState::Starting));
        Self {
            inventory,
            ledger: Ledger::new(cluster),
            kinds: KindStates::new(now),
            unreadable: UnreadableObjects::default(),
            deleted: BTreeMap::new(),
            rejudge: Vec::new(),
            live_reads: LiveReads::default(),
            is_synced: false,
        }
    }

    /// The API server's minor version: Pod Security is measured against it, and it decides whether versions are ordered.
    pub fn set_server_minor(&mut self, minor: u32) {
        self.inventory.set_server_minor(minor);
        self.live_reads.set_server_minor(minor);
    }

    /// Takes in a change. What it touches is judged when the posture settles.
    pub fn apply(&mut self, change: ObjectChange, now: UnixMillis) -> Vec<PostureOutput> {
        match change {
            ObjectChange::Seen(object) => self.apply_object(*object, now),
            ObjectChange::Deleted { key, uid } => self.apply_deletion(&key, uid, now),
            ObjectChange::Unreadable(unreadable) => {
                self.rejudge.push(Arc::new(resource_of(&unreadable.key)));
                self.unreadable.add(unreadable, now).into_iter().map(PostureOutput::ObjectCoverage).collect()
            }
            ObjectChange::Coverage { kind, state, reason } => {
                self.inventory.set_coverage(kind, state);
                let coverage = self.kinds.set(kind, state, reason, now);
                coverage.into_iter().map(PostureOutput::KindCoverage).collect()
            }
        }
    }

    fn apply_object(&mut self, object: Object, now: UnixMillis) -> Vec<PostureOutput> {
        if self.live_reads.is_older(&object.meta.uid, &object.meta.resource_version) {
            return Vec::new();
        }
        let readable = self.unreadable.remove(&ObjectKey::of(&object), None, now);
        if readable.is_some() {
            self.judge_namespace_again(object.meta.namespace.as_deref());
        }
        if !self.deleted.is_empty() {
            self.deleted.remove(&object.resource());
        }
        let proposal = self.proposal(&object);
        self.inventory.apply(object);
        let coverage = readable.flatten().map(PostureOutput::ObjectCoverage);
        coverage.into_iter().chain(proposal.map(PostureOutput::Proposal)).collect()
    }

    fn apply_deletion(&mut self, key: &ObjectKey, uid: String, now: UnixMillis) -> Vec<PostureOutput> {
        self.live_reads.forget(&uid);
        let readable = self.unreadable.remove(key, Some(&uid), now);
        if readable.is_some() {
            self.judge_namespace_again(key.namespace.as_deref());
        }
        if self.inventory.remove(key, &uid) {
            let resource = resource_of(key);
            if self.ledger.has_failures(&resource) {
                self.deleted.insert(resource, uid);
            }
        }
        readable.flatten().map(PostureOutput::ObjectCoverage).into_iter().collect()
    }

    /// What a namespace's label asks for, when it changes.
    fn proposal(&self, object: &Object) -> Option<ScopeProposal> {
        let Facts::Namespace(now) = &object.facts else { return None };
        let known = self.inventory.namespace(&object.meta.name).and_then(|namespace| namespace.scope.as_deref());
        (known != now.scope.as_deref()).then(|| ScopeProposal {
            namespace: object.meta.name.clone(),
            label: SCOPE_LABEL.to_owned(),
            value: now.scope.as_deref().map_or_else(String::new, clip),
        })
    }

    /// What was held back because of an unreadable object may be reported now.
    fn judge_namespace_again(&mut self, namespace: Option<&str>) {
        let there = self.ledger.subjects().filter(|subject| subject.namespace.as_deref() == namespace);
        self.rejudge.extend(there.cloned());
    }

    /// A list of this kind has ended. Answers the objects that are known and were not in it.
    pub fn listed(&mut self, kind: &'static Kind, seen: &Uids) -> Vec<(ObjectKey, String)> {
        self.kinds.set_listed(kind);
        let known = self.inventory.of_kind(kind).map(|object| (ObjectKey::of(object), object.meta.uid.clone()));
        known.chain(self.unreadable.of_kind(kind)).filter(|(_, uid)| !seen.contains(uid.as_str())).collect()
    }

    /// The versions of the objects of a kind that are held.
    pub fn versions(&self, kind: &'static Kind) -> Versions {
        let mut versions = Versions::default();
        self.inventory.of_kind(kind).for_each(|object| versions.add(&object.meta.uid, &object.meta.resource_version));
        versions
    }

    /// A retest has read these (uid, resourceVersion): older watch events of the same objects are dropped from now on.
    pub fn retested(&mut self, reads: Vec<(String, String)>) {
        self.live_reads.add(reads);
    }

    /// Judges what the changes since the last call have touched, gives each report of a difference, and answers how many
    /// subjects were judged.
    pub fn settle(&mut self, now: UnixMillis, mut report: impl FnMut(Report)) -> usize {
        if self.is_about_to_sync(now) {
            self.is_synced = true;
            self.rejudge.extend(self.ledger.subjects().cloned());
        }
        let mut touched = self.inventory.take_touched();
        touched.extend(self.rejudge.drain(..));
        touched.iter().filter_map(|subject| self.judge(subject)).for_each(&mut report);
        touched.len()
    }

    /// Whether everything that can be seen has been listed, and was not judged as such yet.
    pub fn is_about_to_sync(&self, now: UnixMillis) -> bool {
        !self.is_synced && self.kinds.are_complete(now)
    }

    /// Whether everything that can be seen has been listed once.
    pub fn is_synced(&self) -> bool {
        self.is_synced
    }

    /// Whether this kind can be seen now.
    pub fn sees(&self, kind: &'static Kind) -> bool {
        self.inventory.coverage(kind) == Some(CoverageState::Seen)
    }

    /// The coverage of every kind.
    pub fn kind_coverage(&self) -> impl Iterator<Item = Coverage> {
        self.kinds.coverage()
    }

    /// How many kinds there are, and how many of them are seen.
    pub fn kind_counts(&self) -> (usize, usize) {
        self.kinds.counts()
    }

    /// The inventory's judgement of a subject; a pass that rests on a kind which is not seen now becomes unknown.
    pub fn evaluate(&self, subject: &Resource) -> Option<Judgement> {
        let judgement = self.inventory.evaluate(subject)?;
        Some(if self.is_synced { self.kinds.without_unseen_passes(judgement) } else { judgement })
    }

    /// The objects.
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// What was reported.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What a Pod was asked to be, as the API server has it now.
    pub fn specification(&self, pod: &ScheduledPod) -> Option<&PodSpec> {
        let object = self.inventory.get(&ObjectKey::namespaced(&POD, &pod.namespace, &pod.name))?;
        match &object.facts {
            Facts::Workload(workload) if object.meta.uid == pod.uid => Some(&workload.pod),
            _ => None,
        }
    }
}

fn resource_of(key: &ObjectKey) -> Resource {
    Resource {
        group: key.kind.group.to_owned(),
        kind: key.kind.kind.to_owned(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    }
}

#[cfg(test)]
mod tests;
