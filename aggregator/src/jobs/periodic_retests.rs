//! Periodic retests: what was verified is looked at again from time to time, so that "fixed" stays a fact.
//!
//! Each minute it requests the share of the verified findings that covers all of them in one period, longest unchanged first;
//! what was verified together is not retested together. A finding is retested between one and two periods after its last
//! change. What was proved by its objects alone is retested once its cluster has a kernel view, so many a pass; and so is what
//! only the kernel has shown, once it has not been shown for a while: no object reports that it is over. What a retest means is
//! decided by `record`; for an agent that is away it waits.

use std::time::Duration;

use futures::future::BoxFuture;
use holdfast_controls::catalog::{self, Judge};
use holdfast_model::{Actor, ClusterId, FindingId, Status};
use holdfast_record::{RetestCause, retest};
use holdfast_store::{Store, StoreError};

use super::{Did, Job};
use crate::environment::SharedEnvironment;
use crate::writer::{Action, WriteError, Writer};

/// The pause between two passes.
const EVERY: Duration = Duration::from_secs(60);
/// Most findings of one pass, however many there are.
const MOST: u64 = 2048;
/// Most findings of one pass that are retested because their cluster has got a kernel view: 100,000 in eight hours.
const GAINED: u32 = 208;

/// Most findings of one pass that only the kernel has shown, and how long they must have been left alone.
const SHOWN: (u32, i64) = (208, 60_000);

/// Why a pass broke off.
#[derive(Debug, thiserror::Error)]
pub enum PeriodicRetestsError {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// A retest could not be requested.
    #[error("a retest could not be requested")]
    Write(#[from] WriteError),
}

/// The job.
pub struct PeriodicRetests {
    store: Store,
    writer: Writer,
    environment: SharedEnvironment,
    period: Duration,
}

impl PeriodicRetests {
    /// Comes round to every verified finding once in this period.
    pub fn new(store: Store, writer: Writer, environment: SharedEnvironment, period: Duration) -> Self {
        Self { store, writer, environment, period }
    }

    /// Requests this minute's retests, and answers how many.
    pub async fn pass(&self) -> Result<usize, PeriodicRetestsError> {
        let counts = self.store.counts().await?;
        let verified = counts.iter().filter(|count| count.status == Status::Verified).map(|count| count.findings).sum();
        let unchanged_since = self.environment.now() - i64::try_from(self.period.as_millis()).unwrap_or(i64::MAX);
        let passes = self.period.as_secs() / EVERY.as_secs();
        let share = u32::try_from(retest::share(verified, passes, MOST)).unwrap_or(u32::MAX);
        let due = self.store.verified_unchanged_since(unchanged_since, share).await?;
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

impl Job for PeriodicRetests {
    fn name(&self) -> &'static str {
        "periodic-retests"
    }

    fn pause(&self) -> Duration {
        Duration::ZERO
    }

    fn period(&self) -> Duration {
        EVERY
    }

    fn pass(&mut self) -> BoxFuture<'_, Did> {
        Box::pin(async {
            let requested = PeriodicRetests::pass(self).await?;
            Ok((requested > 0).then(|| format!("{requested} retests requested")))
        })
    }
}
