//! Who a finding is about: the top owner of an object, in whatever order owners and owned arrive.
//!
//! The last controller owner among the kinds that are read. A Pod of a Deployment is evidence for the Deployment; a Pod that a
//! foreign controller made is named after that controller, or after the template behind it, because names of runs change.

use std::collections::BTreeSet;
use std::sync::Arc;

use holdfast_model::Resource;

use super::{Inventory, ObjectKey};
use crate::facts::pod::PodSpec;
use crate::facts::{Facts, Family, Kind, Labels, Object, Owner, workload};

impl Inventory {
    /// Gives an object its subject, now that it or its owner is known.
    pub(super) fn settle(&mut self, key: &Arc<ObjectKey>) {
        let Some(entry) = self.objects.get(key) else { return };
        let before = entry.subject.clone();
        let Some(now) = self.subject(&entry.object) else {
            self.touched.extend(before);
            return;
        };
        if before.as_deref() == Some(&now) {
            self.touched.extend(before);
            return;
        }
        if let Some(before) = before {
            self.leave(key, &before);
        }
        // One shared copy per subject: the map's own key, where there is one.
        let now = self.members.get_key_value(&now).map_or_else(|| Arc::new(now.clone()), |(shared, _)| shared.clone());
        self.members.entry(now.clone()).or_default().insert(key.clone());
        if let Some(entry) = self.objects.get_mut(key) {
            entry.subject = Some(now.clone());
        }
        self.touched.insert(now);
    }

    /// Settles an object and all that it owns, to any depth: their top owner may be another one now.
    pub(super) fn settle_with_children(&mut self, key: &Arc<ObjectKey>) {
        let mut open = vec![key.clone()];
        let mut seen = BTreeSet::new();
        while let Some(next) = open.pop() {
            if !seen.insert(next.clone()) {
                continue;
            }
            let before = self.objects.get(&next).and_then(|entry| entry.subject.clone());
            self.settle(&next);
            let Some(entry) = self.objects.get(&next) else { continue };
            // Below an object whose subject stands nothing moves, except that this one may have come back with a new uid.
            if entry.subject != before || next == *key {
                open.extend(self.children.get(entry.object.meta.uid.as_str()).into_iter().flatten().cloned());
            }
        }
    }

    pub(super) fn leave(&mut self, key: &ObjectKey, subject: &Arc<Resource>) {
        if let Some(members) = self.members.get_mut(subject) {
            members.remove(key);
            if members.is_empty() {
                self.members.remove(subject);
            }
        }
        self.touched.insert(subject.clone());
    }

    /// `None` while an owner that should be there has not been seen yet, so that nothing is ever reported under a name that
    /// is about to change. An object that had a subject keeps it while its owner is being deleted.
    fn subject(&self, object: &Object) -> Option<Resource> {
        let mut top = object;
        let mut steps = 0;
        while let Some(owner) = &top.meta.owner {
            let Some(kind) = owning_kind(owner) else { return Some(foreign_owner(top, owner)) };
            let key = ObjectKey { kind, namespace: top.meta.namespace.clone(), name: owner.name.clone() };
            steps += 1;
            match self.get(&key).filter(|found| found.meta.uid == owner.uid) {
                // Owners that own each other in a ring are hostile or broken: each stands for itself.
                Some(_) if steps > MAX_DEPTH => return Some(object.resource()),
                Some(found) => top = found,
                None if self.can_see(kind) => return None,
                None => return Some(unseen_owner(top, owner)),
            }
        }
        Some(run_of(top))
    }
}

/// CronJob, Job, Pod is the longest chain of built-in owners.
const MAX_DEPTH: usize = 8;

fn owning_kind(owner: &Owner) -> Option<&'static Kind> {
    Kind::find(&owner.group, &owner.kind).filter(|kind| kind.family == Family::Workload)
}

/// Forgets the template of a ReplicaSet or Job that a built-in workload owns: its owner's template and its Pods are judged,
/// never its own. On a cluster of Deployments that is a third of all that there is to remember.
pub(super) fn drop_inner_template(object: &mut Object) {
    let is_inner = *object.kind != workload::POD && object.meta.owner.as_ref().and_then(owning_kind).is_some();
    if let Facts::Workload(facts) = &mut object.facts
        && is_inner
    {
        facts.pod = PodSpec::default();
        facts.labels = Labels::default();
        facts.selector = None;
    }
}

/// The owner by its reference alone: its kind can't be seen.
fn unseen_owner(object: &Object, owner: &Owner) -> Resource {
    Resource {
        group: owner.group.clone(),
        kind: owner.kind.clone(),
        namespace: object.meta.namespace.clone(),
        name: owner.name.clone(),
    }
}

/// The subject of an object whose controller is none of the kinds that are read: built-in workloads keep their own name, a
/// Pod (or Job) takes its controller's. A static Pod's owner is its Node, and its name ends with the node's.
fn foreign_owner(object: &Object, owner: &Owner) -> Resource {
    let mut resource = object.resource();
    if owner.kind == "Node" && owner.group.is_empty() {
        resource.kind = "StaticPod".to_owned();
        if let Some(name) = resource.name.strip_suffix(&format!("-{}", owner.name)) {
            resource.name = name.to_owned();
        }
    } else if is_run(object) {
        let run = object.meta.run_of.as_deref();
        resource.name = run.unwrap_or_else(|| without_generated_suffix(&owner.name)).to_owned();
    }
    resource
}

/// An object that nobody owns stands for itself, unless its name was drawn: then for its template, or for the prefix.
fn run_of(object: &Object) -> Resource {
    let mut resource = object.resource();
    if is_run(object) {
        let prefix = object.meta.generate_name.as_deref().filter(|prefix| object.meta.name.starts_with(*prefix));
        let name = object.meta.run_of.as_deref().or(prefix.map(|prefix| prefix.trim_end_matches(['-', '.'])));
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            resource.name = name.to_owned();
        }
    }
    resource
}

/// The kinds whose objects come and go with every run.
fn is_run(object: &Object) -> bool {
    *object.kind == workload::POD || *object.kind == workload::JOB
}

/// `nightly` of `nightly-x7k2p`: five characters of the alphabet from which the API server draws, which has no vowels.
fn without_generated_suffix(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((stem, drawn))
            if !stem.is_empty()
                && drawn.len() == 5
                && drawn.bytes().all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte)) =>
        {
            stem
        }
        _ => name,
    }
}
