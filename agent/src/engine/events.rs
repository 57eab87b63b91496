//! What collectors saw, taken into the inventory: objects, deletions, what could not be read, what can be seen at all.
//!
//! Nothing is judged here. What an event touches is found by the inventory and judged when the engine settles.

use std::sync::Arc;

use holdfast_controls::facts::Facts;
use holdfast_controls::facts::namespace::SCOPE_LABEL;
use holdfast_controls::facts::service::SERVICE;
use holdfast_controls::facts::workload::POD;
use holdfast_controls::inventory::ObjectKey;
use holdfast_controls::{Kind, Object};
use holdfast_model::{Coverage, CoverageState, Resource, UnixMillis};

use super::{Engine, KindState};
use crate::collect::{Event, Uids, Unreadable, Versions};
use crate::places::Placed;
use holdfast_agent_core::text::{clip, line};

/// Unreadable objects that are named one by one in the coverage.
const NAMED_UNREADABLE: usize = 100;

impl Engine {
    /// Takes in what a collector saw.
    pub fn apply(&mut self, event: Event, now: UnixMillis) {
        match event {
            Event::Seen(object, placed) => {
                let key = ObjectKey::of(&object);
                self.seen(object);
                placed.into_iter().for_each(|placed| self.place(&key, placed, now));
            }
            Event::Deleted { key, uid } => self.deleted(&key, uid, now),
            Event::Unreadable(unreadable) => self.unreadable(unreadable, now),
            Event::Listed { kind, seen, missing } => {
                if let Some(state) = self.kinds.get_mut(kind) {
                    state.listed = true;
                }
                // A collector that has gone needs no answer.
                let _gone = missing.send(self.missing(kind, &seen));
            }
            Event::Versions { kind, answer } => {
                let mut versions = Versions::default();
                self.inventory.of_kind(kind).for_each(|object| {
                    versions.add(&object.meta.uid, &object.meta.resource_version);
                });
                let _gone = answer.send(versions);
            }
            Event::Coverage { kind, state, reason } => self.cover(kind, state, reason, now),
        }
    }

    fn seen(&mut self, object: Box<Object>) {
        if let Some(&read) = self.retested.get(&object.meta.uid) {
            match object.meta.resource_version.parse::<u64>() {
                Ok(version) if version < read => return,
                _ => self.retested.remove(&object.meta.uid),
            };
        }
        if !self.unreadable.is_empty() && self.unreadable.remove(&ObjectKey::of(&object)).is_some() {
            self.readable_again(object.meta.namespace.as_deref());
        }
        if !self.deleted.is_empty() {
            self.deleted.remove(&object.resource());
        }
        self.propose(&object);
        if let (Facts::Service(service), Some(namespace)) = (&object.facts, &object.meta.namespace) {
            self.peers.put_service(namespace, &object.meta.name, service);
        }
        self.inventory.apply(*object);
    }

    /// Hands on what a namespace's label asks for, when it changes.
    fn propose(&mut self, object: &Object) {
        let Facts::Namespace(now) = &object.facts else { return };
        let known = self.inventory.namespace(&object.meta.name).and_then(|namespace| namespace.scope.as_deref());
        if known != now.scope.as_deref() {
            let value = now.scope.as_deref().map(clip).unwrap_or_default();
            self.outbox.propose(&object.meta.name, SCOPE_LABEL, &value);
        }
    }

    /// Notes where a Pod is. Its owner may arrive after it: then it is told again.
    fn place(&mut self, key: &ObjectKey, mut placed: Box<Placed>, now: UnixMillis) {
        if placed.ended {
            self.depart(&placed.uid, now);
        }
        placed.owner = self.inventory.subject_of(key).cloned();
        match placed.owner {
            Some(_) => self.ownerless.remove(key),
            None => self.ownerless.insert(key.clone(), placed.clone()),
        };
        self.put(*placed);
    }

    fn put(&mut self, placed: Placed) {
        if placed.is_anywhere() {
            self.peers.put_pod(&placed.uid, placed.peer(), &placed.node, &placed.addresses);
        } else {
            self.peers.remove_pod(&placed.uid);
        }
        self.places.put(placed);
    }

    /// Keeps for a while what a Pod was that is about to go.
    fn depart(&mut self, uid: &str, now: UnixMillis) {
        let Some(placed) = self.places.pod(uid) else { return };
        if let Some(spec) = self.specification(&placed).cloned() {
            self.departed.put(placed, spec, now);
        }
    }

    /// Tells again where those Pods are whose owner has arrived.
    pub(super) fn place_again(&mut self) {
        let inventory = &self.inventory;
        let found = self.ownerless.extract_if(.., |key, _| inventory.subject_of(key).is_some());
        for (key, mut placed) in found.collect::<Vec<_>>() {
            placed.owner = self.inventory.subject_of(&key).cloned();
            self.put(*placed);
        }
    }

    fn deleted(&mut self, key: &ObjectKey, uid: String, now: UnixMillis) {
        self.retested.remove(&uid);
        self.ownerless.remove(key);
        self.depart(&uid, now);
        self.places.remove(&uid);
        self.peers.remove_pod(&uid);
        if self.unreadable.get(key).is_some_and(|unreadable| unreadable.uid == uid) {
            self.unreadable.remove(key);
            self.readable_again(key.namespace.as_deref());
            self.cover_unreadable(key, CoverageState::Absent, String::new(), now);
        }
        if self.inventory.remove(key, &uid) {
            if let Some(namespace) = key.namespace.as_deref().filter(|_| *key.kind == SERVICE) {
                self.peers.remove_service(namespace, &key.name);
            }
            let resource = resource_of(key);
            if self.ledger.knows(&resource) {
                self.deleted.insert(resource, uid);
            }
        }
    }

    /// An object that can't be read says nothing, and nothing may be concluded from what was known of it before.
    fn unreadable(&mut self, unreadable: Unreadable, now: UnixMillis) {
        tracing::warn!(kind = unreadable.key.kind.kind, namespace = unreadable.key.namespace.as_deref(),
            name = %clip(&unreadable.key.name), problem = %unreadable.problem, "an object could not be read");
        self.again.push(Arc::new(resource_of(&unreadable.key)));
        let reason = format!("cannot be read: {}", unreadable.problem);
        self.cover_unreadable(&unreadable.key, CoverageState::Failing, reason, now);
        self.unreadable.insert(unreadable.key.clone(), unreadable);
    }

    fn cover_unreadable(&mut self, key: &ObjectKey, state: CoverageState, reason: String, now: UnixMillis) {
        let place = key.namespace.iter().chain([&key.name]).cloned().collect::<Vec<_>>().join("/");
        let subject = line(&format!("{} {place}", key.kind.subject()));
        if self.unreadable.len() < NAMED_UNREADABLE || self.told.contains_key(&subject) {
            self.tell(Coverage { subject, state, reason: line(&reason), since: now });
        }
    }

    /// What was held back for the sake of an unreadable object may be said now.
    fn readable_again(&mut self, namespace: Option<&str>) {
        let there = self.ledger.subjects().filter(|subject| subject.namespace.as_deref() == namespace);
        self.again.extend(there.cloned());
    }

    fn missing(&self, kind: &'static Kind, seen: &Uids) -> Vec<(ObjectKey, String)> {
        let known = self.inventory.of_kind(kind).map(|object| (ObjectKey::of(object), object.meta.uid.clone()));
        let unreadable = self.unreadable.values().filter(|unreadable| unreadable.key.kind == kind);
        let all = known.chain(unreadable.map(|unreadable| (unreadable.key.clone(), unreadable.uid.clone())));
        all.filter(|(_, uid)| !seen.contains(uid.as_str())).collect()
    }

    fn cover(&mut self, kind: &'static Kind, state: CoverageState, reason: String, now: UnixMillis) {
        self.inventory.set_coverage(kind, state);
        let Some(known) = self.kinds.get_mut(kind) else { return };
        let since = if known.state == state { known.since } else { now };
        let coverage = Coverage { subject: kind.subject(), state, reason: clip(&reason), since };
        *known = KindState { state, reason, since, listed: known.listed };
        self.outbox.cover(coverage);
        let seen = |kind| self.inventory.coverage(kind) == Some(CoverageState::Seen);
        self.peers.set_complete(seen(&POD) && seen(&SERVICE));
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
