//! The one owner of the inventory and the ledger: events in, batches out.
//!
//! [`Engine`] does no IO and reads no clock: an event is applied, touched subjects are judged, what is new is owed to the
//! aggregator, and a batch is drafted when the uplink asks for one. [`run`] is the task around it. Until everything that can
//! be seen has been listed once, only failures are said: what looks like a pass may only be half a cluster.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use holdfast_controls::facts::Facts;
use holdfast_controls::facts::namespace::SCOPE_LABEL;
use holdfast_controls::inventory::{Answer, Judgement, ObjectKey};
use holdfast_controls::{Inventory, KINDS, Kind, Object};
use holdfast_model::{ClusterId, Coverage, CoverageState, Report, Resource, UnixMillis};
use holdfast_proto::{convert, limits, v1};
use prost::Message;

use crate::collect::{Event, Uids, Unreadable, Versions};
use crate::ledger::{self, Ledger, Speak};
use crate::outbox::{Draft, Due, Outbox, Owed};
use crate::text::clip;

mod task;

pub use task::{ALL_JUDGED, Command, Handle, Opening, Stopped, run};

/// A burst of events is judged at least this often.
const BURST: Duration = Duration::from_millis(100);
/// The first lists are judged at least this often.
const FIRST_LISTS: Duration = Duration::from_secs(2);
/// How long a kind may fail before the rest goes on without it.
const PATIENCE_MILLIS: UnixMillis = 60_000;
/// The first minor version of Kubernetes whose resource versions are ordered.
const ORDERED_VERSIONS: u32 = 34;
/// Unreadable objects that are named one by one in the coverage.
const NAMED_UNREADABLE: usize = 100;

/// How far the agent has come with its cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Kinds that are seen.
    pub kinds_seen: usize,
    /// Kinds in all.
    pub kinds: usize,
    /// Whether everything that can be seen has been listed once.
    pub synced: bool,
    /// Subjects that are judged.
    pub subjects: usize,
    /// Statements that fail.
    pub failing: usize,
}

#[derive(Debug)]
struct KindState {
    state: CoverageState,
    reason: String,
    since: UnixMillis,
    listed: bool,
}

/// The state of one cluster, and what is owed about it.
pub struct Engine {
    inventory: Inventory,
    ledger: Ledger,
    outbox: Outbox,
    kinds: BTreeMap<&'static Kind, KindState>,
    unreadable: BTreeMap<ObjectKey, Unreadable>,
    deleted: BTreeMap<Resource, String>,
    again: Vec<Arc<Resource>>,
    retested: HashMap<String, u64>,
    versions_compare: bool,
    synced: bool,
}

impl Engine {
    /// Knows nothing yet of this cluster.
    pub fn new(cluster: ClusterId, now: UnixMillis) -> Self {
        let starting = |&kind| {
            let state = KindState { state: CoverageState::Starting, reason: String::new(), since: now, listed: false };
            (kind, state)
        };
        let mut inventory = Inventory::default();
        KINDS.iter().for_each(|kind| inventory.set_coverage(kind, CoverageState::Starting));
        Self {
            inventory,
            ledger: Ledger::new(cluster),
            outbox: Outbox::default(),
            kinds: KINDS.iter().map(starting).collect(),
            unreadable: BTreeMap::new(),
            deleted: BTreeMap::new(),
            again: Vec::new(),
            retested: HashMap::new(),
            versions_compare: false,
            synced: false,
        }
    }

    /// Notes the API server's minor version: Pod Security is measured against it, and versions are compared from 34 on.
    pub fn set_server_minor(&mut self, minor: u32) {
        self.inventory.set_server_minor(minor);
        self.versions_compare = minor >= ORDERED_VERSIONS;
    }

    /// Takes in what a collector saw.
    pub fn apply(&mut self, event: Event, now: UnixMillis) {
        match event {
            Event::Seen(object) => self.seen(object),
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

    /// Whether judging now is worth it: while the first lists are under way most subjects would be judged several times.
    pub fn is_due(&self, waited: Duration, now: UnixMillis) -> bool {
        let wait = if self.synced { BURST } else { FIRST_LISTS };
        waited >= wait || (!self.synced && self.has_seen_everything(now))
    }

    /// Judges what the events since the last call have touched, and answers how many subjects that were.
    pub fn settle(&mut self, now: UnixMillis) -> usize {
        if !self.synced && self.has_seen_everything(now) {
            self.synced = true;
            self.again.extend(self.ledger.subjects().cloned());
        }
        let mut touched = self.inventory.take_touched();
        touched.extend(self.again.drain(..));
        for subject in &touched {
            if let Some(report) = self.judge(subject) {
                self.outbox.owe(report);
            }
        }
        touched.len()
    }

    /// A new session with the aggregator. Answers the ledger's root, or none while the first lists are under way.
    pub fn restart(&mut self) -> Option<[u8; 32]> {
        let ledger = &self.ledger;
        self.outbox.restart(|resource, control| ledger.fails_on(resource, control));
        self.synced.then(|| self.ledger.digest().root())
    }

    /// The ledger's buckets and their root.
    pub fn buckets(&self) -> v1::Buckets {
        let digest = self.ledger.digest();
        v1::Buckets {
            digests: digest.buckets().iter().map(|bucket| bucket.to_vec()).collect(),
            root_digest: digest.root().to_vec(),
        }
    }

    /// The aggregator holds something else in these buckets: everything that fails in them is said again.
    pub fn resync(&mut self, buckets: Vec<u8>) {
        let failing = self.ledger.failing_in(&buckets);
        self.outbox.resync(buckets, failing);
    }

    /// The next batch, up to the wire's limit; `None` when there is nothing to say. Call after `settle`.
    pub fn draft(&mut self) -> Option<Draft> {
        if self.outbox.is_empty() {
            return None;
        }
        let (mut draft, mut flight) = self.outbox.begin();
        let mut bytes = 0;
        while bytes < limits::BATCH_BYTES {
            let Some((resource, owed)) = self.outbox.take_next() else { break };
            let wire = self.wire_reports(&resource, &owed);
            bytes += wire.iter().map(|report| report.encoded_len() + 8).sum::<usize>();
            flight.carry(&resource, &owed);
            draft.reports.extend(wire);
        }
        self.outbox.depart(draft, flight)
    }

    /// Everything up to this batch has been committed.
    pub fn acknowledged(&mut self, sequence: u64) {
        self.outbox.acknowledged(sequence);
    }

    /// A retest has read these (uid, resourceVersion): older watch events of the same objects are dropped from now on.
    ///
    /// Versions are opaque, except that Kubernetes from 1.34 on documents decimal ones as ordered. On older servers nothing
    /// is dropped: the watch arrives at what the retest saw by itself, only later.
    pub fn retested(&mut self, reads: Vec<(String, String)>) {
        if !self.versions_compare {
            return;
        }
        for (uid, version) in reads {
            let held = self.retested.entry(uid).or_default();
            *held = version.parse().unwrap_or(0).max(*held);
        }
    }

    /// Whether everything that can be seen has been listed once.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        Progress {
            kinds_seen: self.kinds.values().filter(|kind| kind.state == CoverageState::Seen).count(),
            kinds: self.kinds.len(),
            synced: self.synced,
            subjects: self.inventory.subjects().count(),
            failing: self.ledger.failing(),
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

    fn deleted(&mut self, key: &ObjectKey, uid: String, now: UnixMillis) {
        self.retested.remove(&uid);
        if self.unreadable.get(key).is_some_and(|unreadable| unreadable.uid == uid) {
            self.unreadable.remove(key);
            self.readable_again(key.namespace.as_deref());
            self.cover_unreadable(key, CoverageState::Absent, String::new(), now);
        }
        if self.inventory.remove(key, &uid) {
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
        if self.unreadable.len() < NAMED_UNREADABLE {
            let place = key.namespace.iter().chain([&key.name]).cloned().collect::<Vec<_>>().join("/");
            let subject = clip(&format!("{} {place}", key.kind.subject()));
            self.outbox.cover(Coverage { subject, state, reason: clip(&reason), since: now });
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
    }

    fn has_seen_everything(&self, now: UnixMillis) -> bool {
        self.kinds.values().all(|kind| match kind.state {
            CoverageState::Forbidden | CoverageState::Absent | CoverageState::Seen => true,
            CoverageState::Failing => kind.listed || now - kind.since > PATIENCE_MILLIS,
            CoverageState::Starting => false,
        })
    }

    fn judge(&mut self, subject: &Arc<Resource>) -> Option<Report> {
        match self.evaluate(subject) {
            // The object is deleted, and what it made is not yet: nothing of that speaks for it, unless it fails still.
            Some(judgement) if self.deleted.contains_key(&**subject) => {
                match judgement.outcomes.is_empty() && self.synced {
                    true => self.end(subject),
                    false => self.ledger.diff(subject, &judgement, Speak::FailuresOnly),
                }
            }
            Some(judgement) => self.ledger.diff(subject, &judgement, self.speak(subject)),
            None if !self.synced => None,
            None if self.is_gone(subject) => self.end(subject),
            None => self.ledger.unknown(subject, "it is no longer seen, and not seen deleted"),
        }
    }

    fn end(&mut self, subject: &Resource) -> Option<Report> {
        self.deleted.remove(subject);
        self.ledger.gone(subject)
    }

    /// The inventory's judgement; a pass that rests on a kind which is not seen now is none.
    fn evaluate(&self, subject: &Resource) -> Option<Judgement> {
        let mut judgement = self.inventory.evaluate(subject)?;
        let kind = Kind::find(&subject.group, &subject.kind).and_then(|kind| self.kinds.get_key_value(kind));
        let unseen = kind.filter(|(_, known)| known.state != CoverageState::Seen);
        if let Some((kind, known)) = unseen.filter(|_| self.synced) {
            let reason = format!("{} cannot be seen: {}", kind.subject(), known.reason);
            for outcome in judgement.outcomes.iter_mut().filter(|outcome| outcome.answer == Answer::Pass) {
                outcome.answer = Answer::Unknown(reason.clone());
            }
        }
        Some(judgement)
    }

    fn speak(&self, subject: &Resource) -> Speak {
        let beside = |key: &ObjectKey| key.namespace == subject.namespace;
        if self.synced && !self.unreadable.keys().any(beside) { Speak::Freely } else { Speak::FailuresOnly }
    }

    /// Nothing of the subject is left. Proved by the deletion of the object itself, or, for a subject that is known only by
    /// the Pods or Jobs that name it, by theirs.
    fn is_gone(&self, subject: &Resource) -> bool {
        let object = Kind::find(&subject.group, &subject.kind).map(|kind| {
            self.inventory.get(&ObjectKey { kind, namespace: subject.namespace.clone(), name: subject.name.clone() })
        });
        let made_up = match object {
            None => true,
            Some(object) => object.is_none() && matches!(subject.kind.as_str(), "Pod" | "Job"),
        };
        made_up || self.deleted.contains_key(subject)
    }

    fn wire_reports(&self, resource: &Resource, owed: &Owed) -> Vec<v1::Report> {
        let judgement =
            owed.due.values().any(|due| matches!(due, Due::Failing)).then(|| self.evaluate(resource)).flatten();
        let mut statements = Vec::with_capacity(owed.due.len());
        for (control, due) in &owed.due {
            match due {
                Due::Ended(control, observation) => statements.push(ledger::statement(control, observation.clone())),
                Due::Failing if self.ledger.fails_on(resource, control) => {
                    statements.extend(judgement.iter().find_map(|judgement| failing(judgement, control)));
                }
                Due::Failing => {}
            }
        }
        let (read, origin) = match &judgement {
            Some(judgement) => (&judgement.read, &judgement.origin),
            None => (&owed.read, &owed.origin),
        };
        split(Report { resource: resource.clone(), read: read.clone(), origin: origin.clone(), statements })
    }
}

fn failing(judgement: &Judgement, control: &str) -> Option<holdfast_model::Statement> {
    let outcome = judgement.outcomes.iter().find(|outcome| outcome.control.id == control)?;
    let Answer::Fail(locations) = &outcome.answer else { return None };
    let locations = ledger::fit(locations);
    let severity = outcome.control.severity;
    Some(ledger::statement(outcome.control, holdfast_model::Observation::Fail { severity, locations }))
}

/// One report as one or more messages, each well under the limit: a subject may fail in many places.
fn split(report: Report) -> Vec<v1::Report> {
    if report.statements.is_empty() {
        return Vec::new();
    }
    let mut whole = convert::report_to_wire(&report);
    if whole.encoded_len() <= limits::BATCH_BYTES / 2 {
        return vec![whole];
    }
    let statements = std::mem::take(&mut whole.statements);
    statements.into_iter().map(|statement| v1::Report { statements: vec![statement], ..whole.clone() }).collect()
}

fn resource_of(key: &ObjectKey) -> Resource {
    Resource {
        group: key.kind.group.to_owned(),
        kind: key.kind.kind.to_owned(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    }
}
