//! What an agent states: its batches, each applied once and in order, and what it no longer repeats.

use holdfast_model::{Actor, ClusterId};
use holdfast_record::Command;
use holdfast_record::lifecycle::Observed;

use super::Work;
use crate::live::LiveChange;
use crate::writer::job::{Batch, Complete, Stated};
use crate::writer::{Outcome, WriteError};

impl Work {
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
        if let Some(complete) = &batch.complete {
            self.miss(&actor, cluster, complete).await?;
        }
        self.surroundings(cluster, batch).await?;
        if let Some(Some(known)) = self.clusters.get_mut(&cluster) {
            known.sequence = batch.sequence;
        }
        Ok(true)
    }

    async fn surroundings(&mut self, cluster: ClusterId, batch: &Batch) -> Outcome<()> {
        self.tx.put_coverage(cluster, &batch.coverage).await?;
        for proposal in &batch.proposals {
            self.tx.put_scope_proposal(cluster, proposal).await?;
        }
        if !batch.coverage.is_empty() || !batch.proposals.is_empty() {
            self.tell(LiveChange::Cluster { cluster });
        }
        Ok(self.tx.set_applied(cluster, batch.epoch, batch.sequence, self.now).await?)
    }

    fn observe(&mut self, actor: &Actor, stated: &Stated, batch: &Batch) -> Outcome<()> {
        let Some((read, origin)) = batch.reports.get(stated.report) else { return Ok(()) };
        let observed = Observed { key: &stated.key, origin, read, statement: &stated.statement };
        self.decide(actor, (stated.key.cluster, stated.id), Command::Observe(observed), None)
    }

    /// Asks about everything in these buckets that fails by the record and that the agent did not repeat.
    async fn miss(&mut self, actor: &Actor, cluster: ClusterId, complete: &Complete) -> Outcome<()> {
        for &bucket in &complete.buckets {
            let mut missed = self.tx.failing_in_bucket(cluster, bucket).await?;
            missed.retain(|id| !complete.repeated.contains(id));
            self.load_findings(cluster, &missed).await?;
            for id in missed {
                self.decide(actor, (cluster, id), Command::NotRepeated, None)?;
            }
        }
        Ok(())
    }
}
