//! What an agent states: its batches, each applied once and in order, and what it no longer repeats.

use holdfast_controls::Control;
use holdfast_controls::process::Running;
use holdfast_model::{Actor, ClusterId, Coverage, CoverageState, DetectionBatch, FindingKey, RuntimeDetection, kernel};
use holdfast_record::lifecycle::{Detected, Observed, Silent};
use holdfast_record::{Command, Detection, Source};

use super::WriteGroup;
use crate::live::LiveChange;
use crate::writer::job::{Batch, Complete, Stated};
use crate::writer::{Outcome, WriteError};

impl WriteGroup {
    /// Applies a batch, if it is the next one of the current epoch.
    pub(in crate::writer) async fn apply(&mut self, cluster: ClusterId, batch: &Batch) -> Outcome<bool> {
        let known = self.member(cluster)?;
        if batch.epoch != known.epoch {
            return Err(WriteError::StaleEpoch { stated: batch.epoch, current: known.epoch });
        }
        if batch.sequence <= known.sequence {
            return Ok(false);
        }
        if batch.sequence != known.sequence + 1 {
            return Err(WriteError::Hole { stated: batch.sequence, expected: known.sequence + 1 });
        }
        let actor = Actor::Agent(cluster);
        for stated in &batch.stated {
            self.observe(&actor, stated, batch)?;
        }
        for detection_batch in &batch.detection_batches {
            self.apply_detections(&actor, cluster, detection_batch).await?;
        }
        if let Some(complete) = &batch.complete {
            self.ask_about_missing(&actor, cluster, complete).await?;
        }
        self.apply_context(cluster, batch).await?;
        if let Some(Some(known)) = self.clusters.get_mut(&cluster) {
            known.sequence = batch.sequence;
        }
        Ok(true)
    }

    async fn apply_context(&mut self, cluster: ClusterId, batch: &Batch) -> Outcome<()> {
        self.cover(cluster, batch).await?;
        for proposal in &batch.proposals {
            self.tx.put_scope_proposal(cluster, proposal).await?;
        }
        if !batch.coverage.is_empty() || batch.coverage_complete || !batch.proposals.is_empty() {
            self.notify(LiveChange::Cluster { cluster });
        }
        Ok(self.tx.set_applied(cluster, batch.epoch, batch.sequence, self.now).await?)
    }

    /// A node that is no more leaves no row; a kind that the API server does not serve does.
    async fn cover(&mut self, cluster: ClusterId, batch: &Batch) -> Outcome<()> {
        let gone = |row: &&Coverage| row.state == CoverageState::Absent && kernel::is_coverage_subject(&row.subject);
        let (gone, reported): (Vec<_>, Vec<_>) = batch.coverage.iter().partition(gone);
        let reported: Vec<Coverage> = reported.into_iter().cloned().collect();
        self.tx.put_coverage(cluster, batch.epoch, &reported).await?;
        for row in gone {
            self.tx.drop_coverage(cluster, &row.subject).await?;
        }
        if batch.coverage_complete {
            self.tx.drop_coverage_before(cluster, batch.epoch).await?;
        }
        Ok(())
    }

    fn observe(&mut self, actor: &Actor, stated: &Stated, batch: &Batch) -> Outcome<()> {
        let Some((read, origin)) = batch.reports.get(stated.report) else { return Ok(()) };
        let observed = Observed { key: &stated.key, origin, read, statement: &stated.statement };
        self.decide(actor, (stated.key.cluster, stated.id), Command::Observe(observed), None)
    }

    /// A detection batch that comes again, after a lost acknowledgement or through another leader, counts no second time.
    async fn apply_detections(
        &mut self,
        actor: &Actor,
        cluster: ClusterId,
        detection_batch: &DetectionBatch,
    ) -> Outcome<()> {
        let DetectionBatch { source, run, sequence, detections } = detection_batch;
        if self.tx.take_detection_batch(cluster, source, run, *sequence, self.now).await? {
            for detection in detections {
                self.detect(actor, cluster, detection).await?;
            }
        }
        Ok(())
    }

    /// What the kernel sensors observed, as evidence on its finding. A control that this program does not know is nobody's to
    /// retest.
    async fn detect(&mut self, actor: &Actor, cluster: ClusterId, observed: &RuntimeDetection) -> Outcome<()> {
        let RuntimeDetection { resource, origin, control, control_version, severity, seen } = observed;
        let key = FindingKey { cluster, resource: resource.clone(), control: control.clone() };
        let id = key.finding_id();
        self.load_findings(cluster, &[id]).await?;
        let detected = Detected {
            key: &key,
            origin,
            control_version: *control_version,
            detection: Detection::kernel(*severity, *control_version, seen.clone()),
            can_look: Control::find(control.as_str()).and_then(|control| control.running).is_some_and(is_of_processes),
        };
        self.decide(actor, (cluster, id), Command::Detect(detected), None)
    }

    /// Asks about everything in these buckets that fails by the record and that the agent did not repeat.
    async fn ask_about_missing(&mut self, actor: &Actor, cluster: ClusterId, complete: &Complete) -> Outcome<()> {
        let ledger = Silent { source: &Source::Posture, can_judge: true };
        for &bucket in &complete.buckets {
            let mut missed = self.tx.failing_in_bucket(cluster, bucket).await?;
            missed.retain(|id| !complete.repeated.contains(id));
            self.load_findings(cluster, &missed).await?;
            for id in missed {
                self.decide(actor, (cluster, id), Command::Silent(ledger), None)?;
            }
        }
        Ok(())
    }
}

/// Whether what runs shows whether the control holds, so that a retest can look for it. A behavior is over when it is reported:
/// nothing that runs later takes it back.
pub(super) fn is_of_processes(running: Running) -> bool {
    !matches!(running, Running::Behaviors(_))
}
