//! Folds changed counts into bands, and bands into the severities of findings.
//!
//! The store counts in how many clusters each pattern is active, with every write, and marks what changed. This job reads the
//! marks, asks `record` what follows, and hands it to the writer: first the pattern's band with its event, then its findings, a
//! thousand at a time, then the mark. A pass that breaks off between them leaves the mark, and the next takes it up. What moves
//! without a mark (a cluster that can judge more or less, a dwell time that ends, a new policy) is found by a sweep over the
//! patterns that spread.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use holdfast_model::{ClusterId, FindingId, PatternId, Reading, UnixMillis};
use holdfast_record::calibration::Policy;
use holdfast_record::fleet::Next;
use holdfast_record::propagation::{Occasion, Placed, Plan, plan, settled_at_most};
use holdfast_store::{Mark, Pattern, Store, StoreError};
use tokio::time::Instant;

use super::{Did, Job};
use crate::environment::SharedEnvironment;
use crate::fleet::{Judges, POLICY};
use crate::writer::{Moved, PatternMove, Recalibration, WriteError, Writer};

/// Patterns of one transaction that are decided one by one.
const BATCH: u32 = 64;
/// Patterns of one transaction that are settled in one statement.
const SETTLED: u32 = 10_000;
/// Findings of one transaction: few enough that whoever else writes waits for some ten milliseconds.
const MEMBERS: u32 = 1_000;

/// Why a pass broke off.
#[derive(Debug, thiserror::Error)]
pub enum FleetBandsError {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// What was planned could not be applied.
    #[error("a plan could not be applied")]
    Write(#[from] WriteError),
    /// The policy has no JSON form.
    #[error("the policy has no JSON form")]
    Form(#[from] serde_json::Error),
}

/// The job.
pub struct FleetBands {
    store: Store,
    writer: Writer,
    environment: SharedEnvironment,
    policy: Arc<Policy>,
    judges: Judges,
    /// Everything that spread is looked at after a start, and whenever the fleet or the clock asks for it.
    sweep_due: bool,
    look_again_at: Option<UnixMillis>,
    /// A sweep of a large fleet is not repeated at once, however often its clusters come and go.
    rest_until: Instant,
    moved: usize,
    calibrated: usize,
}

impl FleetBands {
    /// The bands of this record under this policy.
    pub fn new(store: Store, writer: Writer, environment: SharedEnvironment, policy: Arc<Policy>) -> Self {
        Self {
            store,
            writer,
            environment,
            policy,
            judges: Judges::default(),
            sweep_due: true,
            look_again_at: None,
            rest_until: Instant::now(),
            moved: 0,
            calibrated: 0,
        }
    }

    /// Brings every band and severity up to date.
    pub async fn pass(&mut self) -> Result<(), FleetBandsError> {
        let judges = Judges::load(&self.store).await?;
        if judges != self.judges {
            (self.judges, self.sweep_due) = (judges, true);
        }
        self.fold().await?;
        self.sweep_due |= self.look_again_at.is_some_and(|at| self.environment.now() >= at);
        if self.sweep_due && Instant::now() >= self.rest_until {
            let swept = self.sweep().await;
            // One that broke off is made whole by the next.
            self.sweep_due = swept.is_err();
            return swept;
        }
        Ok(())
    }

    /// Takes the marks of changed counts.
    async fn fold(&mut self) -> Result<(), FleetBandsError> {
        let at_most_active = settled_at_most(&self.policy);
        while self.writer.settle_isolated(at_most_active, SETTLED).await? == u64::from(SETTLED) {}
        loop {
            let marked = self.store.marked_patterns(BATCH).await?;
            let (found, applied) = (marked.len(), self.apply(marked, false).await?);
            // What has changed while it was read is left to the next pass.
            if found < BATCH as usize || applied == 0 {
                return Ok(());
            }
        }
    }

    /// Looks at every pattern that spread, changed or not; under another policy than the last time, at all calibrated findings.
    async fn sweep(&mut self) -> Result<(), FleetBandsError> {
        let started = Instant::now();
        let policy = serde_json::to_string(&*self.policy)?;
        let same_policy = self.store.setting(POLICY).await?.as_ref() == Some(&policy);
        self.look_again_at = None;
        let mut after: Option<PatternId> = None;
        loop {
            let page = self.store.spread_patterns(after, BATCH).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            self.apply(page, !same_policy).await?;
        }
        if !same_policy {
            self.recalibrate_kernel_detections().await?;
            self.writer.policy_applied(policy).await?;
        }
        self.rest_until = Instant::now() + started.elapsed() * 10;
        Ok(())
    }

    /// Plans for these patterns and has the plans applied; the answer is how many were.
    async fn apply(&mut self, patterns: Vec<Pattern>, policy_changed: bool) -> Result<usize, FleetBandsError> {
        let moves: Vec<_> = patterns.into_iter().filter_map(|pattern| self.plan(pattern, policy_changed)).collect();
        if moves.is_empty() {
            return Ok(0);
        }
        let (planned, settled) = (moves.len(), moves.iter().filter(|planned| !planned.members).count());
        self.moved += moves.iter().filter(|planned| planned.crosses_to.is_some()).count();
        let moved = self.writer.move_patterns(moves).await?;
        for Moved { pattern, fleet } in &moved {
            let mut after = None;
            loop {
                let members = self.store.members_of_pattern(*pattern, after, MEMBERS).await?;
                let Some(last) = members.last() else { break };
                after = Some(last.0);
                self.calibrate(members, Recalibration::Fleet(fleet.clone())).await?;
            }
        }
        let follow: Vec<_> = moved.iter().map(|moved| moved.pattern).collect();
        let applied = follow.len() + settled;
        self.writer.settle_patterns(follow).await?;
        Ok(applied.min(planned))
    }

    fn plan(&mut self, pattern: Pattern, policy_changed: bool) -> Option<PatternMove> {
        let clusters = u32::try_from(pattern.active).unwrap_or(u32::MAX);
        let reading = Reading { clusters, judging: self.judges.count(&pattern.control, &pattern.resource) };
        let placed = Placed { band: pattern.band, since: pattern.band_since };
        let occasion = match pattern.mark {
            _ if policy_changed => Occasion::PolicyChanged,
            Mark::Pending => Occasion::Unfinished,
            Mark::Changed => Occasion::CountChanged,
            Mark::Settled => Occasion::Sweep,
        };
        let Plan { next, members } = plan(&self.policy, occasion, placed, reading, self.environment.now());
        let crosses_to = match next {
            Next::Change(to) => Some(to),
            Next::HoldUntil(until) => {
                self.look_again_at = Some(self.look_again_at.map_or(until, |at| at.min(until)));
                None
            }
            Next::Stay => None,
        };
        let is_settled = pattern.mark == Mark::Settled && !members;
        (!is_settled).then_some(PatternMove { read: pattern, crosses_to, reading, members })
    }

    /// The kernel's part of severities follows the policy too, wherever its findings are.
    async fn recalibrate_kernel_detections(&mut self) -> Result<(), FleetBandsError> {
        let mut after = None;
        loop {
            let page = self.store.kernel_detections(after, MEMBERS).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(*last);
            self.calibrate(page, Recalibration::Policy).await?;
        }
    }

    async fn calibrate(
        &mut self,
        members: Vec<(ClusterId, FindingId)>,
        why: Recalibration,
    ) -> Result<(), FleetBandsError> {
        self.calibrated += members.len();
        Ok(self.writer.calibrate(members, why).await?)
    }
}

impl Job for FleetBands {
    fn name(&self) -> &'static str {
        "fleet-bands"
    }

    /// Counts are folded, not followed one by one.
    fn pause(&self) -> Duration {
        Duration::from_millis(500)
    }

    fn period(&self) -> Duration {
        Duration::from_secs(15)
    }

    fn follows_changes(&self) -> bool {
        true
    }

    fn pass(&mut self) -> BoxFuture<'_, Did> {
        Box::pin(async {
            (self.moved, self.calibrated) = (0, 0);
            FleetBands::pass(self).await?;
            let did = || format!("{} patterns moved, {} findings calibrated", self.moved, self.calibrated);
            Ok((self.moved + self.calibrated > 0).then(did))
        })
    }
}
