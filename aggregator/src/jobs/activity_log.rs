//! Gives committed events their places in the activity log. The log itself is [`crate::activity`].

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use holdfast_store::Store;

use super::{Did, Job};
use crate::activity::Sequencer;
use crate::authority::Authority;
use crate::environment::SharedEnvironment;

/// The job.
pub struct ActivityLog {
    sequencer: Sequencer,
}

impl ActivityLog {
    /// The log of this record.
    pub fn new(store: Store, authority: Arc<Authority>, environment: SharedEnvironment) -> Self {
        Self { sequencer: Sequencer::new(store, authority, environment) }
    }
}

impl Job for ActivityLog {
    fn name(&self) -> &'static str {
        "activity-log"
    }

    /// A busy hour has some thousand signed heads and not a million.
    fn pause(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn period(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn follows_changes(&self) -> bool {
        true
    }

    fn pass(&mut self) -> BoxFuture<'_, Did> {
        Box::pin(async {
            let done = self.sequencer.catch_up().await?;
            let did = || format!("{} events placed, {} receipts countersigned", done.sequenced, done.countersigned);
            Ok((done != Default::default()).then(did))
        })
    }
}
