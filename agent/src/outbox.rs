//! What the aggregator has yet to hear, and what it has heard but not acknowledged. PURE.
//!
//! Failing statements are owed by name only: their locations are judged when they leave, and after a reconnect the digests
//! decide which of them must be said again. What ends a failure (pass, gone, unknown) and coverage are in no digest: they are
//! kept until they are acknowledged, and said again if they were not. Parcels of runtime evidence stay as they were said until
//! then, so that the aggregator knows them again. Memory follows findings and nodes, however long a link is down.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use holdfast_controls::Control;
use holdfast_model::{Coverage, DetectionBatch, Observation, Origin, Read, Report, Resource, RuntimeDetection};
use holdfast_proto::{convert, limits, v1};
use prost::Message;

/// Coverage states, and scope proposals, in one batch: each is a kilobyte or two at most.
const SMALL: usize = 64;

/// Findings in one detection batch of what the agent looked at itself: each is some ten kilobytes at most.
const DETECTIONS: usize = 16;

/// What is owed about one subject.
#[derive(Debug, Clone, Default)]
pub struct Owed {
    /// What was read for it last.
    pub read: Read,
    /// Where it comes from.
    pub origin: Origin,
    /// By control id.
    pub due: BTreeMap<&'static str, Due>,
}

/// One statement that is owed.
#[derive(Debug, Clone)]
pub enum Due {
    /// It fails; where, is judged when it leaves.
    Failing,
    /// It failed and does no more: exactly this.
    Ended(&'static Control, Observation),
}

/// What waits and what flies.
#[derive(Debug, Default)]
pub struct Outbox {
    owed: BTreeMap<Resource, Owed>,
    resync: BTreeMap<Resource, BTreeSet<&'static str>>,
    complete: Vec<u8>,
    coverage: BTreeMap<String, Coverage>,
    proposals: BTreeMap<(String, String), String>,
    /// Said, or about to be, as they are.
    detection_batches: VecDeque<DetectionBatch>,
    /// What the agent looked at itself, folded until the last detection batch of that has been taken.
    detections: BTreeMap<(Resource, String), RuntimeDetection>,
    run: String,
    looks: u64,
    coverage_complete: bool,
    flying: BTreeMap<u64, Flight>,
    sequence: u64,
}

/// What must be said again if this batch is not acknowledged.
#[derive(Debug, Default)]
pub struct Flight {
    ended: Vec<(Resource, Owed)>,
    coverage: Vec<Coverage>,
    proposals: Vec<((String, String), String)>,
    detection_batches: Vec<DetectionBatch>,
}

/// What one batch will hold.
#[derive(Debug, Default)]
pub struct Draft {
    /// Its number in this session.
    pub sequence: u64,
    /// Reports.
    pub reports: Vec<v1::Report>,
    /// Coverage that changed.
    pub coverage: Vec<v1::Coverage>,
    /// What namespaces' labels ask for.
    pub proposals: Vec<v1::ScopeProposal>,
    /// What the kernel showed.
    pub detection_batches: Vec<v1::DetectionBatch>,
    /// Every subject of coverage has been said in this session.
    pub coverage_complete: bool,
    /// Buckets of which everything has been said with this batch.
    pub complete_buckets: Vec<u8>,
}

impl Outbox {
    /// Owes nothing. What the agent looks at itself is numbered within this run.
    pub fn new(run: &str) -> Self {
        Self { run: run.to_owned(), ..Self::default() }
    }

    /// Owes what this report says. A later statement takes the place of an earlier one about the same control.
    pub fn owe(&mut self, report: Report) {
        let owed = self.owed.entry(report.resource).or_default();
        (owed.read, owed.origin) = (report.read, report.origin);
        for statement in report.statements {
            let Some(control) = Control::find(statement.control.as_str()) else { continue };
            let due = match statement.observation {
                Observation::Fail { .. } => Due::Failing,
                ended => Due::Ended(control, ended),
            };
            owed.due.insert(control.id, due);
        }
    }

    /// Owes a coverage state.
    pub fn cover(&mut self, coverage: Coverage) {
        self.coverage.insert(coverage.subject.clone(), coverage);
    }

    /// Owes what a namespace's label asks for; an empty value when it is gone.
    pub fn propose(&mut self, namespace: &str, label: &str, value: &str) {
        self.proposals.insert((namespace.to_owned(), label.to_owned()), value.to_owned());
    }

    /// Owes what the kernel showed: folded with what waits about the same finding.
    pub fn detect(&mut self, detection: RuntimeDetection) {
        let key = (detection.resource.clone(), detection.control.as_str().to_owned());
        match self.detections.get_mut(&key) {
            Some(waiting) => _ = waiting.seen.fold(&detection.seen),
            None => _ = self.detections.insert(key, detection),
        }
    }

    /// Owes what a node's sensors saw.
    pub fn pack(&mut self, detection_batch: DetectionBatch) {
        self.detection_batches.push_back(detection_batch);
    }

    /// Owes the word that all coverage has been said, after the coverage that waits.
    pub fn complete_coverage(&mut self) {
        self.coverage_complete = true;
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.owed.is_empty()
            && self.detection_batches.is_empty()
            && (self.detections.is_empty() || self.is_looked_at())
            && !self.coverage_complete
            && self.resync.is_empty()
            && self.complete.is_empty()
            && self.coverage.is_empty()
            && self.proposals.is_empty()
    }

    /// Owes every failing statement of these buckets, as the ledger names them, and says when that is done.
    pub fn resync(&mut self, buckets: Vec<u8>, failing: Vec<(Resource, Vec<&'static Control>)>) {
        for (resource, controls) in failing {
            self.resync.entry(resource).or_default().extend(controls.into_iter().map(|control| control.id));
        }
        self.complete = buckets;
    }

    /// The next subject of which something is owed.
    pub fn take_next(&mut self) -> Option<(Resource, Owed)> {
        if let Some((resource, controls)) = self.resync.pop_first() {
            let mut owed = self.owed.remove(&resource).unwrap_or_default();
            for control in controls {
                owed.due.entry(control).or_insert(Due::Failing);
            }
            return Some((resource, owed));
        }
        self.owed.pop_first()
    }

    /// Owes again what did not fit. What fails may be part of a resync: its buckets are complete only once it has left.
    pub fn put_back(&mut self, resource: &Resource, rest: Owed) {
        let (failing, ended): (BTreeMap<_, _>, BTreeMap<_, _>) =
            rest.due.into_iter().partition(|(_, due)| matches!(due, Due::Failing));
        if !failing.is_empty() {
            self.resync.entry(resource.clone()).or_default().extend(failing.into_keys());
        }
        if !ended.is_empty() {
            let empty = Owed { read: rest.read, origin: rest.origin, due: BTreeMap::new() };
            self.owed.entry(resource.clone()).or_insert(empty).due.extend(ended);
        }
    }

    /// Starts a batch with what is small: coverage, proposals; only so many of them, the rest with the next.
    pub fn begin(&mut self) -> (Draft, Flight) {
        let coverage: Vec<_> = std::iter::from_fn(|| self.coverage.pop_first()).take(SMALL).map(|(_, c)| c).collect();
        let proposals: Vec<_> = std::iter::from_fn(|| self.proposals.pop_first()).take(SMALL).collect();
        let (detection_batches, packed) = self.take_detection_batches().into_iter().unzip();
        let is_all = self.coverage.is_empty();
        let draft = Draft {
            detection_batches: packed,
            coverage_complete: is_all && std::mem::take(&mut self.coverage_complete),
            coverage: coverage.iter().map(convert::coverage_to_wire).collect(),
            proposals: proposals.iter().map(proposal_to_wire).collect(),
            ..Draft::default()
        };
        (draft, Flight { coverage, proposals, detection_batches, ..Flight::default() })
    }

    /// The detection batches that come first, as many as half a message holds, and one at least.
    fn take_detection_batches(&mut self) -> Vec<(DetectionBatch, v1::DetectionBatch)> {
        if !self.detections.is_empty() && !self.is_looked_at() {
            let taken = std::iter::from_fn(|| self.detections.pop_first()).take(DETECTIONS);
            let detections = taken.map(|(_, detection)| detection).collect();
            self.looks += 1;
            let (source, run, sequence) = (String::new(), self.run.clone(), self.looks);
            self.detection_batches.push_back(DetectionBatch { source, run, sequence, detections });
        }
        let (mut bytes, mut taken) = (0, Vec::new());
        while let Some(detection_batch) = self.detection_batches.pop_front() {
            let packed = convert::detection_batch_to_wire(&detection_batch);
            bytes += packed.encoded_len() + 8;
            if bytes > limits::BATCH_BYTES && !taken.is_empty() {
                self.detection_batches.push_front(detection_batch);
                break;
            }
            taken.push((detection_batch, packed));
        }
        taken
    }

    /// Whether a detection batch of the agent's own looks has not been taken yet.
    fn is_looked_at(&self) -> bool {
        let flying = self.flying.values().flat_map(|flight| &flight.detection_batches);
        self.detection_batches.iter().chain(flying).any(|detection_batch| detection_batch.source.is_empty())
    }

    /// Numbers a batch and notes what it carries; `None` when nothing came of it. `complete_buckets` goes with the batch
    /// that empties the resync.
    pub fn depart(&mut self, mut draft: Draft, flight: Flight) -> Option<Draft> {
        if self.resync.is_empty() {
            draft.complete_buckets = std::mem::take(&mut self.complete);
        }
        if draft.is_empty() {
            return None;
        }
        self.sequence += 1;
        draft.sequence = self.sequence;
        self.flying.insert(self.sequence, flight);
        Some(draft)
    }

    /// Batches that have left and are not acknowledged.
    pub fn flying(&self) -> u64 {
        u64::try_from(self.flying.len()).unwrap_or(u64::MAX)
    }

    /// Everything up to this batch has been committed: these detection batches with it.
    pub fn acknowledged(&mut self, sequence: u64) -> Vec<DetectionBatch> {
        let flying = self.flying.split_off(&sequence.saturating_add(1));
        let landed = std::mem::replace(&mut self.flying, flying);
        landed.into_values().flat_map(|flight| flight.detection_batches).collect()
    }

    /// A new session: numbers start anew. What was not acknowledged is owed again, except failures, which the digests cover,
    /// and what `fails` says has failed again since.
    pub fn restart(&mut self, fails: impl Fn(&Resource, &str) -> bool) {
        self.sequence = 0;
        self.resync.clear();
        self.complete.clear();
        self.coverage_complete = false;
        for flight in std::mem::take(&mut self.flying).into_values().rev() {
            for (resource, flown) in flight.ended {
                let owed = self.owed.entry(resource).or_insert_with(|| Owed { due: BTreeMap::new(), ..flown.clone() });
                for (control, due) in flown.due {
                    owed.due.entry(control).or_insert(due);
                }
            }
            for coverage in flight.coverage {
                self.coverage.entry(coverage.subject.clone()).or_insert(coverage);
            }
            flight
                .detection_batches
                .into_iter()
                .rev()
                .for_each(|detection_batch| self.detection_batches.push_front(detection_batch));
            for (key, value) in flight.proposals {
                self.proposals.entry(key).or_insert(value);
            }
        }
        self.owed.retain(|resource, owed| {
            owed.due.retain(|control, due| matches!(due, Due::Ended(..)) && !fails(resource, control));
            !owed.due.is_empty()
        });
    }
}

impl Owed {
    /// Takes the latter half of the statements off.
    pub fn split_off_half(&mut self) -> Self {
        let half = self.due.keys().nth(self.due.len() / 2).copied();
        let due = half.map(|half| self.due.split_off(half)).unwrap_or_default();
        Self { read: self.read.clone(), origin: self.origin.clone(), due }
    }
}

impl Draft {
    /// The bytes that it takes on the wire so far, its reports left out.
    pub fn encoded_len(&self) -> usize {
        let coverage = self.coverage.iter().map(|coverage| coverage.encoded_len() + 8);
        let proposals = self.proposals.iter().map(|proposal| proposal.encoded_len() + 8);
        coverage
            .chain(proposals)
            .chain(self.detection_batches.iter().map(|detection_batch| detection_batch.encoded_len() + 8))
            .sum()
    }

    fn is_empty(&self) -> bool {
        self.reports.is_empty()
            && self.coverage.is_empty()
            && self.proposals.is_empty()
            && self.detection_batches.is_empty()
            && !self.coverage_complete
            && self.complete_buckets.is_empty()
    }
}

impl Flight {
    /// Notes what this subject's reports carry that no digest covers.
    pub fn carry(&mut self, resource: &Resource, owed: &Owed) {
        let ended = owed.due.iter().filter(|(_, due)| matches!(due, Due::Ended(..)));
        let due: BTreeMap<_, _> = ended.map(|(control, due)| (*control, due.clone())).collect();
        if !due.is_empty() {
            self.ended.push((resource.clone(), Owed { read: owed.read.clone(), origin: owed.origin.clone(), due }));
        }
    }
}

fn proposal_to_wire(((namespace, label), value): &((String, String), String)) -> v1::ScopeProposal {
    v1::ScopeProposal { namespace: namespace.clone(), label: label.clone(), value: value.clone() }
}

#[cfg(test)]
mod tests {
    use holdfast_controls::catalog;
    use holdfast_model::CoverageState;

    use super::*;

    fn web() -> Resource {
        Resource::namespaced("apps", "Deployment", "shop", "web")
    }

    fn control() -> &'static Control {
        catalog::all().next().unwrap()
    }

    fn report(observation: Observation) -> Report {
        let statements = vec![holdfast_agent_core::ledger::statement(control(), observation)];
        Report { resource: web(), read: Read::default(), origin: Origin::default(), statements }
    }

    fn fail() -> Observation {
        Observation::Fail { severity: control().severity, locations: Vec::new() }
    }

    /// Sends everything that is owed as one batch.
    fn send(outbox: &mut Outbox) -> (Vec<Due>, Option<Draft>) {
        let (mut draft, mut flight) = outbox.begin();
        let mut due = Vec::new();
        while let Some((resource, owed)) = outbox.take_next() {
            flight.carry(&resource, &owed);
            due.extend(owed.due.into_values());
            draft.reports.push(v1::Report::default());
        }
        (due, outbox.depart(draft, flight))
    }

    #[test]
    fn what_ended_is_kept_until_it_is_acknowledged() {
        let mut outbox = Outbox::default();
        outbox.owe(report(Observation::Pass));
        assert_eq!(send(&mut outbox).1.unwrap().sequence, 1);
        outbox.restart(|_, _| false);
        let (due, draft) = send(&mut outbox);
        assert!(matches!(due[..], [Due::Ended(_, Observation::Pass)]));
        assert_eq!(draft.unwrap().sequence, 1);
        outbox.acknowledged(1);
        outbox.restart(|_, _| false);
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_failure_is_left_to_the_digests_and_overtakes_what_ended_before() {
        let mut outbox = Outbox::default();
        outbox.owe(report(fail()));
        outbox.restart(|_, _| true);
        assert!(outbox.is_empty());
        outbox.owe(report(Observation::Pass));
        send(&mut outbox);
        outbox.restart(|_, _| true);
        assert!(outbox.is_empty(), "it fails again: an old pass must not follow");
    }

    #[test]
    fn the_later_of_two_unsent_statements_is_said() {
        let mut outbox = Outbox::default();
        outbox.owe(report(Observation::Pass));
        send(&mut outbox);
        outbox.owe(report(Observation::Gone));
        outbox.restart(|_, _| false);
        assert!(matches!(send(&mut outbox).0[..], [Due::Ended(_, Observation::Gone)]));
    }

    #[test]
    fn buckets_are_complete_with_the_batch_that_empties_them_even_an_empty_one() {
        let mut outbox = Outbox::default();
        outbox.resync(vec![7], vec![(web(), vec![control()])]);
        assert_eq!(send(&mut outbox).1.unwrap().complete_buckets, [7]);
        outbox.resync(vec![8], Vec::new());
        assert_eq!(send(&mut outbox).1.unwrap().complete_buckets, [8]);
        assert!(send(&mut outbox).1.is_none());
    }

    #[test]
    fn only_the_last_coverage_of_a_subject_is_said_and_said_again_if_it_was_lost() {
        let mut outbox = Outbox::default();
        for state in [CoverageState::Starting, CoverageState::Seen] {
            outbox.cover(Coverage { subject: "pods".into(), state, reason: String::new(), since: 0 });
        }
        let states = |draft: Option<Draft>| draft.unwrap().coverage.into_iter().map(|c| c.state).collect::<Vec<_>>();
        assert_eq!(states(send(&mut outbox).1), ["seen"]);
        outbox.restart(|_, _| false);
        assert_eq!(states(send(&mut outbox).1), ["seen"]);
    }
}
