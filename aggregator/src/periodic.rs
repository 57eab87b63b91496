//! Periodic retests: what was verified is looked at again from time to time, so that "fixed" stays a fact.
//!
//! One task. Each minute it asks for the share of the verified findings that brings it round to all of them in one period,
//! longest unchanged first; what was verified together is not retested together. A finding is looked at again between one
//! and two periods after its last change. What was proved by its objects alone is retested once its cluster has an eye on
//! processes, so many a pass; and so is what only the kernel has shown, once it has not been shown for a while: no object will
//! ever tell that it is over. What the look means is decided by `record`; an agent that is away finds it waiting.

use std::time::Duration;

use holdfast_controls::catalog::{self, Judge};
use holdfast_model::{Actor, ClusterId, FindingId, Status};
use holdfast_record::RetestCause;
use holdfast_store::{Store, StoreError};

use crate::environment::SharedEnvironment;
use crate::writer::{Action, WriteError, Writer};

/// The pause between two passes.
const EVERY: Duration = Duration::from_secs(60);
/// Most findings of one pass, however many there are.
const MOST: u64 = 2048;
/// Most findings of one pass that are retested because their cluster has got eyes: 100,000 in eight hours.
const GAINED: u32 = 208;

/// Most findings of one pass that only the kernel has shown, and how long they must have been left alone.
const SHOWN: (u32, i64) = (208, 60_000);

/// Why a pass broke off.
#[derive(Debug, thiserror::Error)]
pub enum PeriodicError {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// A retest could not be requested.
    #[error("a retest could not be requested")]
    Write(#[from] WriteError),
}

/// The one task that asks for periodic retests.
pub struct Periodic {
    store: Store,
    writer: Writer,
    environment: SharedEnvironment,
    period: Duration,
}

impl Periodic {
    /// Comes round to every verified finding once in this period.
    pub fn new(store: Store, writer: Writer, environment: SharedEnvironment, period: Duration) -> Self {
        Self { store, writer, environment, period }
    }

    /// Runs until it is dropped or the writer is gone. A failure is logged and tried again.
    pub async fn run(self) {
        loop {
            match self.pass().await {
                Err(PeriodicError::Write(WriteError::Stopped)) => return,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "periodic retests were not requested");
                }
                Ok(_) => {}
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Requests this minute's retests, and answers how many.
    pub async fn pass(&self) -> Result<usize, PeriodicError> {
        let counts = self.store.counts().await?;
        let verified = counts.iter().filter(|count| count.status == Status::Verified).map(|count| count.findings).sum();
        let unchanged_since = self.environment.now() - i64::try_from(self.period.as_millis()).unwrap_or(i64::MAX);
        let due = self.store.verified_unchanged_since(unchanged_since, share(verified, self.period)).await?;
        let with_kernel_view: Vec<_> =
            catalog::all().filter(|control| control.running.is_some()).map(|control| control.id).collect();
        let short = self.store.verified_without_processes(&with_kernel_view, GAINED).await?;
        let (most, left_alone) = SHOWN;
        let of_processes = catalog::all().filter(|control| matches!(control.judge, Judge::Processes));
        let of_processes: Vec<_> = of_processes.map(|control| control.id).collect();
        let then = self.environment.now() - left_alone;
        let shown = self.store.shown_only_unchanged_since(&of_processes, then, most).await?;
        self.request(&due, RetestCause::Periodic).await?;
        self.request(&shown, RetestCause::RuntimeEvidence).await?;
        self.request(&short, RetestCause::MethodGained).await?;
        Ok(due.len() + shown.len() + short.len())
    }

    /// Together, so that the writer folds them into one transaction.
    async fn request(&self, places: &[(ClusterId, FindingId)], cause: RetestCause) -> Result<(), WriteError> {
        let requests = places.iter().map(|&(cluster, finding)| {
            let actor = Actor::Holdfast("periodic".into());
            self.writer.act(actor, cluster, finding, Action::RequestRetest(cause))
        });
        futures::future::try_join_all(requests).await.map(|_| ())
    }
}

/// How many of this many findings a pass takes, to take all of them in a period.
fn share(verified: u64, period: Duration) -> u32 {
    let passes = (period.as_secs() / EVERY.as_secs()).max(1);
    u32::try_from(verified.div_ceil(passes).min(MOST)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_passes_of_a_period_take_everything_and_one_pass_is_bounded() {
        let day = Duration::from_secs(24 * 60 * 60);
        assert_eq!([0, 1, 1440, 1441, 100_000].map(|verified| share(verified, day)), [0, 1, 1, 2, 70]);
        assert_eq!(share(500, Duration::from_secs(1)), 500);
        assert_eq!(u64::from(share(u64::MAX, day)), MOST);
    }
}
