//! What this agent has said: every failing statement about its cluster, as a hash.
//!
//! PURE. A judgement goes in, only its differences come out; a replay says nothing. Locations are not kept: they are judged
//! again when they must be sent again, so that a cluster of 300,000 findings costs tens of bytes for each. The digest over
//! all failing statements is kept beside them and compared with the aggregator's at reconnect.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_controls::Control;
use holdfast_controls::inventory::{Answer, Judgement};
use holdfast_model::digest::{BUCKETS, LedgerDigest, StatementHash, bucket_of, statement_hash};
use holdfast_model::{
    ClusterId, ControlId, FindingKey, Location, Observation, Origin, Read, Report, Resource, Statement,
};
use holdfast_proto::limits;

use crate::text::clip;

/// The most bytes of locations in one statement: several of them fit a batch.
const LOCATION_BYTES: usize = 64 * 1024;

/// What may be said beside failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speak {
    /// Everything.
    Freely,
    /// Failures only: what else there is to say waits until all that can be seen has been seen once.
    FailuresOnly,
}

/// The failing statements of one cluster.
#[derive(Debug)]
pub struct Ledger {
    cluster: ClusterId,
    subjects: BTreeMap<Arc<Resource>, Subject>,
    digest: LedgerDigest,
    failing: usize,
}

#[derive(Debug)]
struct Subject {
    uid: Box<str>,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    control: &'static Control,
    hash: StatementHash,
    bucket: u8,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(cluster: ClusterId) -> Self {
        Self { cluster, subjects: BTreeMap::new(), digest: LedgerDigest::default(), failing: 0 }
    }

    /// Takes in a judgement and answers what is different from what was said before: a failure that is new or has moved;
    /// what failed before and passes or can't be judged now. `None`: nothing.
    pub fn diff(&mut self, subject: &Arc<Resource>, judgement: &Judgement, speak: Speak) -> Option<Report> {
        let mut key =
            FindingKey { cluster: self.cluster, resource: Resource::clone(subject), control: ControlId::known("") };
        let mut entries = self.subjects.remove(&**subject).map(|subject| subject.entries).unwrap_or_default();
        let mut statements = Vec::new();
        for outcome in &judgement.outcomes {
            key.control = outcome.control.control_id();
            match &outcome.answer {
                Answer::Fail(locations) => {
                    statements.extend(self.fails(&mut entries, &key, outcome.control, locations));
                }
                Answer::Pass => {
                    statements.extend(self.ends(&mut entries, &key, outcome.control, speak, || Observation::Pass));
                }
                Answer::Unknown(reason) => {
                    let unknown = || Observation::Unknown { reason: clip(reason) };
                    statements.extend(self.ends(&mut entries, &key, outcome.control, speak, unknown));
                }
            }
        }
        let silent = |entry: &&Entry| !judgement.outcomes.iter().any(|outcome| outcome.control.id == entry.control.id);
        let silent: Vec<_> = entries.iter().filter(silent).map(|entry| entry.control).collect();
        for control in silent {
            key.control = control.control_id();
            let unknown =
                || Observation::Unknown { reason: "the control says nothing about this resource any more".into() };
            statements.extend(self.ends(&mut entries, &key, control, speak, unknown));
        }
        if !entries.is_empty() {
            let uid = judgement.read.uid.as_str().into();
            self.subjects.insert(subject.clone(), Subject { uid, entries });
        }
        report(subject, &judgement.read, &judgement.origin, statements)
    }

    /// The subject is proved absent: everything that failed on it is gone.
    pub fn gone(&mut self, resource: &Resource) -> Option<Report> {
        self.end_all(resource, &Observation::Gone)
    }

    /// The subject can't be judged for now: everything that failed on it is unknown.
    pub fn unknown(&mut self, resource: &Resource, reason: &str) -> Option<Report> {
        self.end_all(resource, &Observation::Unknown { reason: clip(reason) })
    }

    /// Whether anything fails on this subject.
    pub fn knows(&self, resource: &Resource) -> bool {
        self.subjects.contains_key(resource)
    }

    /// Whether this control fails on this subject.
    pub fn fails_on(&self, resource: &Resource, control: &str) -> bool {
        self.subjects.get(resource).is_some_and(|subject| subject.entries.iter().any(|e| e.control.id == control))
    }

    /// Every subject on which something fails.
    pub fn subjects(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.subjects.keys()
    }

    /// The failing statements of these buckets, by subject.
    pub fn failing_in(&self, buckets: &[u8]) -> Vec<(Resource, Vec<&'static Control>)> {
        let mut wanted = [false; BUCKETS];
        buckets.iter().for_each(|&bucket| wanted[usize::from(bucket)] = true);
        let of = |subject: &Subject| -> Vec<_> {
            let inside = subject.entries.iter().filter(|entry| wanted[usize::from(entry.bucket)]);
            inside.map(|entry| entry.control).collect()
        };
        let all = self.subjects.iter().map(|(resource, subject)| (Resource::clone(resource), of(subject)));
        all.filter(|(_, controls)| !controls.is_empty()).collect()
    }

    /// The digest over all failing statements.
    pub fn digest(&self) -> &LedgerDigest {
        &self.digest
    }

    /// How many statements fail.
    pub fn failing(&self) -> usize {
        self.failing
    }

    fn fails(
        &mut self,
        entries: &mut Vec<Entry>,
        key: &FindingKey,
        control: &'static Control,
        locations: &[Location],
    ) -> Option<Statement> {
        let locations = fit(locations);
        let finding = key.finding_id();
        let hash = statement_hash(finding, control.version, &locations);
        match entries.iter_mut().find(|entry| entry.control.id == control.id) {
            Some(entry) if entry.hash == hash => return None,
            Some(entry) => {
                self.digest.toggle(finding, entry.hash);
                entry.hash = hash;
            }
            None => {
                // One byte of 256 buckets.
                entries.push(Entry { control, hash, bucket: bucket_of(finding) as u8 });
                self.failing += 1;
            }
        }
        self.digest.toggle(finding, hash);
        Some(statement(control, Observation::Fail { severity: control.severity, locations }))
    }

    fn ends(
        &mut self,
        entries: &mut Vec<Entry>,
        key: &FindingKey,
        control: &'static Control,
        speak: Speak,
        observation: impl FnOnce() -> Observation,
    ) -> Option<Statement> {
        let place = entries.iter().position(|entry| entry.control.id == control.id)?;
        if speak == Speak::FailuresOnly {
            return None;
        }
        self.forget(key, entries.swap_remove(place));
        Some(statement(control, observation()))
    }

    fn end_all(&mut self, resource: &Resource, observation: &Observation) -> Option<Report> {
        let Subject { uid, entries } = self.subjects.remove(resource)?;
        let mut statements = Vec::with_capacity(entries.len());
        for entry in entries {
            let control = entry.control.control_id();
            self.forget(&FindingKey { cluster: self.cluster, resource: resource.clone(), control }, entry);
            statements.push(statement(entry.control, observation.clone()));
        }
        let read = Read { uid: uid.into(), ..Read::default() };
        report(resource, &read, &Origin::default(), statements)
    }

    fn forget(&mut self, key: &FindingKey, entry: Entry) {
        self.digest.toggle(key.finding_id(), entry.hash);
        self.failing -= 1;
    }
}

/// One statement of this agent.
pub(crate) fn statement(control: &'static Control, observation: Observation) -> Statement {
    Statement { control: control.control_id(), control_version: control.version, observation }
}

fn report(resource: &Resource, read: &Read, origin: &Origin, statements: Vec<Statement>) -> Option<Report> {
    if statements.is_empty() {
        return None;
    }
    Some(Report { resource: resource.clone(), read: read.clone(), origin: origin.clone(), statements })
}

/// Locations as they travel and are hashed: cut, bounded, sorted; what is left out is counted.
pub(crate) fn fit(locations: &[Location]) -> Vec<Location> {
    let mut bytes = 0;
    let mut fitting = Vec::with_capacity(locations.len().min(limits::LOCATIONS));
    for location in locations {
        let location = Location {
            path: clip(&location.path),
            value: clip(&location.value),
            container: location.container.as_deref().map(clip),
            object: location.object.as_deref().map(clip),
        };
        let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        bytes +=
            location.path.len() + location.value.len() + optional(&location.container) + optional(&location.object);
        if fitting.len() + 1 == limits::LOCATIONS || bytes > LOCATION_BYTES {
            let left_out = locations.len() - fitting.len();
            fitting.push(Location::field("", format!("and {left_out} more places")));
            break;
        }
        fitting.push(location);
    }
    fitting.sort();
    fitting
}
