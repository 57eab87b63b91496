//! What has not been sent to the aggregator, and what has been sent and not acknowledged.
//!
//! Failing statements are kept by name only (`reports`). What ends a failure (pass, gone, unknown), coverage, scope proposals and
//! detection batches are kept until they are acknowledged, and sent again in the next session if they were not. Memory follows
//! findings and nodes, however long a link is down.

use std::collections::BTreeMap;

use holdfast_controls::Control;
use holdfast_controls::evaluate::Judgement;
use holdfast_model::limits::{BATCH_BYTES, MESSAGE_BYTES};
use holdfast_model::{Coverage, DetectionBatch, Report, Resource, RuntimeDetection};

use crate::size;

mod detections;
mod reports;
#[cfg(test)]
mod tests;

use detections::DetectionQueue;
use reports::{PendingReport, PendingReports};

/// Coverage states, and scope proposals, in one batch: each is a kilobyte or two at most.
const SMALL: usize = 64;
/// Reports are added up to here: a single statement takes a tenth of a message, and the frame takes little.
const FULL_BYTES: usize = MESSAGE_BYTES - 128 * 1024;

/// What a namespace's label asks for: the platform owner decides whether it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeProposal {
    /// The namespace.
    pub namespace: String,
    /// The label.
    pub label: String,
    /// Its value; empty where the label is gone.
    pub value: String,
}

impl ScopeProposal {
    /// Its size in a message.
    pub fn size(&self) -> usize {
        size::proposal(&self.namespace, &self.label, &self.value)
    }
}

/// One batch for the aggregator.
#[derive(Debug, Default, PartialEq)]
pub struct UplinkBatch {
    /// Its number in this session, from 1.
    pub sequence: u64,
    /// Differences of the ledger.
    pub reports: Vec<Report>,
    /// Coverage that changed.
    pub coverage: Vec<Coverage>,
    /// What namespaces' labels ask for.
    pub proposals: Vec<ScopeProposal>,
    /// Runtime evidence.
    pub detection_batches: Vec<DetectionBatch>,
    /// Every subject of coverage has been sent in this session.
    pub coverage_complete: bool,
    /// Buckets of which everything has been sent with this batch.
    pub complete_buckets: Vec<u8>,
}

/// What is pending and what is in flight.
#[derive(Debug, Default)]
pub struct Outbox {
    reports: PendingReports,
    /// Buckets that are complete with the batch that empties the resync.
    complete_buckets: Vec<u8>,
    coverage: BTreeMap<String, Coverage>,
    coverage_complete: bool,
    proposals: BTreeMap<(String, String), String>,
    detections: DetectionQueue,
    in_flight: BTreeMap<u64, InFlight>,
    sequence: u64,
    sent: u64,
    acknowledged: u64,
}

/// What must be sent again if this batch is not acknowledged.
#[derive(Debug, Default)]
struct InFlight {
    ended: Vec<(Resource, PendingReport)>,
    coverage: Vec<Coverage>,
    proposals: Vec<ScopeProposal>,
    detection_batches: Vec<DetectionBatch>,
}

impl Outbox {
    /// Nothing is pending. The agent's own detection batches are numbered within this run.
    pub fn new(run: &str) -> Self {
        Self { detections: DetectionQueue::new(run), ..Self::default() }
    }

    /// Adds a report. A later statement takes the place of an earlier one about the same control.
    pub fn add_report(&mut self, report: Report) {
        self.reports.add(report);
    }

    /// Adds a coverage state; the last one of a subject counts.
    pub fn add_coverage(&mut self, coverage: Coverage) {
        self.coverage.insert(coverage.subject.clone(), coverage);
    }

    /// Marks the coverage as complete, once all that is pending of it has been sent.
    pub fn complete_coverage(&mut self) {
        self.coverage_complete = true;
    }

    /// Adds what a namespace's label asks for.
    pub fn add_proposal(&mut self, proposal: ScopeProposal) {
        self.proposals.insert((proposal.namespace, proposal.label), proposal.value);
    }

    /// Adds what the agent observed itself: folded with what waits about the same finding.
    pub fn add_detection(&mut self, detection: RuntimeDetection) {
        self.detections.add_own(detection);
    }

    /// Adds a detection batch of a node's sensors.
    pub fn add_detection_batch(&mut self, batch: DetectionBatch) {
        self.detections.push(batch);
    }

    /// Adds every failing statement of these buckets, as the ledger names them; the batch that empties them says so.
    pub fn resync(&mut self, buckets: Vec<u8>, failing: Vec<(Resource, Vec<&'static Control>)>) {
        self.reports.resync(failing);
        self.complete_buckets = buckets;
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.reports.is_empty()
            && self.detections.is_empty()
            && !self.coverage_complete
            && self.complete_buckets.is_empty()
            && self.coverage.is_empty()
            && self.proposals.is_empty()
    }

    /// The next batch, up to the wire's limit; `None` when there is nothing to send. `judge` gives a subject's judgement now,
    /// `fails` what the ledger holds.
    pub fn next_batch(
        &mut self,
        judge: impl Fn(&Resource) -> Option<Judgement>,
        fails: impl Fn(&Resource, &str) -> bool,
    ) -> Option<UplinkBatch> {
        if self.is_empty() {
            return None;
        }
        let (mut batch, mut in_flight) = self.begin();
        let mut bytes = size_of_small(&batch);
        while bytes < BATCH_BYTES {
            let Some((resource, mut pending)) = self.reports.take_next() else { break };
            let mut reports = pending.reports(&resource, &judge, &fails);
            while bytes + size_of(&reports) > FULL_BYTES && pending.statements.len() > 1 {
                self.reports.put_back(&resource, pending.split_off_half());
                reports = pending.reports(&resource, &judge, &fails);
            }
            bytes += size_of(&reports);
            in_flight.ended.extend(pending.ended().map(|ended| (resource, ended)));
            batch.reports.extend(reports);
        }
        self.finish(batch, in_flight)
    }

    /// A batch with what is small: coverage and proposals, only so many of them, and detection batches.
    fn begin(&mut self) -> (UplinkBatch, InFlight) {
        let coverage: Vec<_> = std::iter::from_fn(|| self.coverage.pop_first()).take(SMALL).map(|(_, c)| c).collect();
        let proposals = std::iter::from_fn(|| self.proposals.pop_first()).take(SMALL);
        let proposals: Vec<_> =
            proposals.map(|((namespace, label), value)| ScopeProposal { namespace, label, value }).collect();
        let detection_batches = self.detections.take();
        let in_flight = InFlight {
            ended: Vec::new(),
            coverage: coverage.clone(),
            proposals: proposals.clone(),
            detection_batches: detection_batches.clone(),
        };
        let is_all = self.coverage.is_empty();
        let coverage_complete = is_all && std::mem::take(&mut self.coverage_complete);
        let batch = UplinkBatch { coverage, proposals, detection_batches, coverage_complete, ..UplinkBatch::default() };
        (batch, in_flight)
    }

    /// Numbers a batch and remembers what it carries; `None` when nothing came of it.
    fn finish(&mut self, mut batch: UplinkBatch, in_flight: InFlight) -> Option<UplinkBatch> {
        if !self.reports.is_resyncing() {
            batch.complete_buckets = std::mem::take(&mut self.complete_buckets);
        }
        if batch == UplinkBatch::default() {
            return None;
        }
        self.sequence += 1;
        self.sent += 1;
        batch.sequence = self.sequence;
        self.in_flight.insert(self.sequence, in_flight);
        Some(batch)
    }

    /// Everything up to this batch has been committed. Answers the detection batches among it.
    pub fn acknowledge(&mut self, sequence: u64) -> Vec<DetectionBatch> {
        let in_flight = self.in_flight.split_off(&sequence.saturating_add(1));
        let committed = std::mem::replace(&mut self.in_flight, in_flight);
        self.acknowledged += u64::try_from(committed.len()).unwrap_or(u64::MAX);
        let batches: Vec<_> = committed.into_values().flat_map(|batch| batch.detection_batches).collect();
        batches.iter().for_each(|batch| self.detections.acknowledged(batch));
        batches
    }

    /// A new session: numbers start anew. What was not acknowledged is pending again, except failures, which the digests cover,
    /// and ends of what `fails` again.
    pub fn restart(&mut self, fails: impl Fn(&Resource, &str) -> bool) {
        self.sequence = 0;
        self.complete_buckets.clear();
        self.coverage_complete = false;
        let mut ended = Vec::new();
        for sent in std::mem::take(&mut self.in_flight).into_values().rev() {
            ended.extend(sent.ended);
            for coverage in sent.coverage {
                self.coverage.entry(coverage.subject.clone()).or_insert(coverage);
            }
            for ScopeProposal { namespace, label, value } in sent.proposals {
                self.proposals.entry((namespace, label)).or_insert(value);
            }
            self.detections.put_back(sent.detection_batches);
        }
        self.reports.restart(ended.into_iter(), fails);
    }

    /// Batches that were sent since the start, and those of them that are committed.
    pub fn counts(&self) -> (u64, u64) {
        (self.sent, self.acknowledged)
    }
}

fn size_of(reports: &[Report]) -> usize {
    reports.iter().map(size::report).sum()
}

fn size_of_small(batch: &UplinkBatch) -> usize {
    let coverage = batch.coverage.iter().map(size::coverage);
    let proposals = batch.proposals.iter().map(ScopeProposal::size);
    coverage.chain(proposals).chain(batch.detection_batches.iter().map(size::detection_batch)).sum()
}
