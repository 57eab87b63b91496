//! What this agent has reported: every failing statement about its cluster, as a hash.
//!
//! A judgement goes in, only its differences come out; the same again is no difference. Locations are not kept: they are judged
//! again when they must be sent again, so that a cluster of 300,000 findings costs tens of bytes for each. The digest over
//! all failing statements is kept beside them and compared with the aggregator's at reconnect.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_controls::Control;
use holdfast_controls::evaluate::{Answer, Judgement};
use holdfast_model::digest::{BUCKETS, LedgerDigest, StatementHash, bucket_of, statement_hash};
use holdfast_model::limits;
use holdfast_model::{
    ClusterId, ControlId, FindingKey, Location, Observation, Origin, Read, Report, Resource, Statement,
};

use crate::text::clip;

/// The most bytes of locations in one statement: several of them fit a batch.
const LOCATION_BYTES: usize = 64 * 1024;

/// Which differences may be reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// All of them.
    Everything,
    /// Failures only: the rest waits until everything that it rests on has been seen.
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
    entries: Vec<FailingControl>,
}

#[derive(Debug, Clone, Copy)]
struct FailingControl {
    control: &'static Control,
    hash: StatementHash,
    bucket: u8,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(cluster: ClusterId) -> Self {
        Self { cluster, subjects: BTreeMap::new(), digest: LedgerDigest::default(), failing: 0 }
    }

    /// Takes in a judgement and answers what is different from what was reported before: a failure that is new or has moved;
    /// what failed before and passes or can't be judged now. `None`: nothing.
    pub fn diff(&mut self, subject: &Arc<Resource>, judgement: &Judgement, reported: Reported) -> Option<Report> {
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
                    statements.extend(self.ends(&mut entries, &key, outcome.control, reported, || Observation::Pass));
                }
                Answer::Unknown(reason) => {
                    let unknown = || Observation::Unknown { reason: clip(reason) };
                    statements.extend(self.ends(&mut entries, &key, outcome.control, reported, unknown));
                }
            }
        }
        let is_without_answer =
            |entry: &&FailingControl| !judgement.outcomes.iter().any(|outcome| outcome.control.id == entry.control.id);
        let silent: Vec<_> = entries.iter().filter(is_without_answer).map(|entry| entry.control).collect();
        for control in silent {
            key.control = control.control_id();
            let unknown =
                || Observation::Unknown { reason: "the control says nothing about this resource any more".into() };
            statements.extend(self.ends(&mut entries, &key, control, reported, unknown));
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
    pub fn has_failures(&self, resource: &Resource) -> bool {
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
        entries: &mut Vec<FailingControl>,
        key: &FindingKey,
        control: &'static Control,
        locations: &[Location],
    ) -> Option<Statement> {
        let locations = bounded(locations);
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
                entries.push(FailingControl { control, hash, bucket: bucket_of(finding) as u8 });
                self.failing += 1;
            }
        }
        self.digest.toggle(finding, hash);
        Some(statement(control, Observation::Fail { severity: control.severity, locations }))
    }

    fn ends(
        &mut self,
        entries: &mut Vec<FailingControl>,
        key: &FindingKey,
        control: &'static Control,
        reported: Reported,
        observation: impl FnOnce() -> Observation,
    ) -> Option<Statement> {
        let position = entries.iter().position(|entry| entry.control.id == control.id)?;
        if reported == Reported::FailuresOnly {
            return None;
        }
        self.forget(key, entries.swap_remove(position));
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

    fn forget(&mut self, key: &FindingKey, entry: FailingControl) {
        self.digest.toggle(key.finding_id(), entry.hash);
        self.failing -= 1;
    }
}

/// One statement of this agent.
pub fn statement(control: &'static Control, observation: Observation) -> Statement {
    Statement { control: control.control_id(), control_version: control.version, observation }
}

fn report(resource: &Resource, read: &Read, origin: &Origin, statements: Vec<Statement>) -> Option<Report> {
    if statements.is_empty() {
        return None;
    }
    Some(Report { resource: resource.clone(), read: read.clone(), origin: origin.clone(), statements })
}

/// Locations as they travel and are hashed: cut, bounded, sorted; what is left out is counted.
pub fn bounded(locations: &[Location]) -> Vec<Location> {
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
            fitting.push(Location::field("", format!("and {left_out} more locations")));
            break;
        }
        fitting.push(location);
    }
    fitting.sort();
    fitting
}

#[cfg(test)]
mod tests {
    use holdfast_controls::evaluate::Outcome;
    use proptest::prelude::*;

    use super::*;

    const CLUSTER: ClusterId = ClusterId::from_bytes([1; 16]);

    fn subject(number: u8) -> Arc<Resource> {
        Arc::new(Resource::namespaced("apps", "Deployment", "shop", &format!("web{number}")))
    }

    /// The answers of the first controls of the catalog, one letter each: `f` or `F` fails, at different locations, `p`
    /// passes, `u` is unknown, anything else is no answer.
    fn judgement(number: u8, answers: &str) -> Judgement {
        let fail = |value: &str| Answer::Fail(vec![Location::field("spec", value)]);
        let outcomes = answers.chars().zip(holdfast_controls::catalog::all()).filter_map(|(letter, control)| {
            let answer = match letter {
                'f' => fail("a"),
                'F' => fail("b"),
                'p' => Answer::Pass,
                'u' => Answer::Unknown("unseen".to_owned()),
                _ => return None,
            };
            Some(Outcome { control, answer })
        });
        let read = Read { uid: format!("uid{number}"), ..Read::default() };
        let (resource, outcomes) = (Resource::clone(&subject(number)), outcomes.collect());
        Judgement { resource, read, origin: Origin::default(), outcomes }
    }

    fn letters(report: Option<Report>) -> String {
        let letter = |statement: Statement| match statement.observation {
            Observation::Fail { .. } => 'f',
            Observation::Pass => 'p',
            Observation::Gone => 'g',
            Observation::Unknown { .. } => 'u',
            Observation::Withdrawn => 'w',
        };
        report.into_iter().flat_map(|report| report.statements).map(letter).collect()
    }

    #[test]
    fn only_what_differs_is_letters() {
        let mut ledger = Ledger::new(CLUSTER);
        let mut diff = |answers: &str| letters(ledger.diff(&subject(0), &judgement(0, answers), Reported::Everything));
        let cases =
            [("fpu", "f"), ("fpu", ""), ("Fpf", "ff"), ("Fpu", "u"), ("ppu", "p"), ("ppp", ""), ("f", "f"), ("", "u")];
        for (answers, expected) in cases {
            assert_eq!(diff(answers), expected, "{answers}");
        }
    }

    #[test]
    fn a_pass_waits_until_everything_was_seen_and_is_reported_then() {
        let mut ledger = Ledger::new(CLUSTER);
        ledger.diff(&subject(0), &judgement(0, "f"), Reported::FailuresOnly);
        assert_eq!(letters(ledger.diff(&subject(0), &judgement(0, "p"), Reported::FailuresOnly)), "");
        assert_eq!(ledger.failing(), 1);
        assert_eq!(letters(ledger.diff(&subject(0), &judgement(0, "p"), Reported::Everything)), "p");
    }

    #[test]
    fn what_is_gone_is_reported_with_the_uid_that_it_had() {
        let mut ledger = Ledger::new(CLUSTER);
        ledger.diff(&subject(0), &judgement(0, "ff"), Reported::Everything);
        let report = ledger.gone(&subject(0)).unwrap();
        assert_eq!((report.read.uid.as_str(), letters(Some(report.clone())).as_str()), ("uid0", "gg"));
        assert_eq!((ledger.gone(&subject(0)), ledger.failing()), (None, 0));
        assert_eq!(*ledger.digest(), LedgerDigest::default());
    }

    #[test]
    fn a_thousand_locations_become_a_bounded_statement_that_counts_the_rest() {
        let many: Vec<_> = (0..1000).map(|i| Location::field(format!("spec.x[{i}]"), "v")).collect();
        let fitting = bounded(&many);
        assert_eq!(fitting.len(), limits::LOCATIONS);
        assert_eq!(fitting[0].value, "and 745 more locations");
        let large: Vec<_> = (0..100).map(|_| Location::field("x", "v".repeat(10_000))).collect();
        let bytes: usize = bounded(&large).iter().map(|location| location.path.len() + location.value.len()).sum();
        assert!(bytes <= LOCATION_BYTES + 100, "{bytes}");
    }

    proptest! {
        #[test]
        fn the_digest_is_that_of_what_fails_whatever_came_before(
            steps in prop::collection::vec((0u8..4, "[fFpu-]{0,5}", any::<bool>()), 0..40),
        ) {
            let mut ledger = Ledger::new(CLUSTER);
            for (number, answers, freely) in &steps {
                let reported = if *freely { Reported::Everything } else { Reported::FailuresOnly };
                ledger.diff(&subject(*number), &judgement(*number, answers), reported);
                let replayed = ledger.diff(&subject(*number), &judgement(*number, answers), reported);
                prop_assert_eq!(replayed, None);
            }
            let all: Vec<u8> = (0..=u8::MAX).collect();
            let failing = ledger.failing_in(&all);
            prop_assert_eq!(failing.iter().map(|(_, controls)| controls.len()).sum::<usize>(), ledger.failing());
            let mut rebuilt = LedgerDigest::default();
            for (resource, subject) in &ledger.subjects {
                for entry in &subject.entries {
                    let (resource, control) = (Resource::clone(resource), entry.control.control_id());
                    rebuilt.toggle(FindingKey { cluster: CLUSTER, resource, control }.finding_id(), entry.hash);
                }
            }
            prop_assert_eq!(&rebuilt, ledger.digest());
        }
    }
}
