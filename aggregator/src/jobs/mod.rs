//! Background work, as one ordered list: one file a job, each with a name, a period and one pass.
//!
//! A job plans and hands its plan to the writer; it changes no finding itself. What each last did, how long it took and what went
//! wrong is kept here and shown by the API, the metrics and the command line. A job that fails is run again; the others go on.
//! To add one: write its file, then add `mod x;` and its line in [`all`].

use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use holdfast_model::UnixMillis;
use holdfast_record::calibration::Policy;
use holdfast_store::Store;
use tokio::sync::watch;

use crate::authority::Authority;
use crate::environment::SharedEnvironment;
use crate::live::Live;
use crate::writer::Writer;

mod activity_log;
pub mod fleet_bands;
pub mod periodic_retests;

pub use activity_log::ActivityLog;
pub use fleet_bands::FleetBands;
pub use periodic_retests::PeriodicRetests;

/// What one pass did, in a few words; none where there was nothing to do.
pub type Did = Result<Option<String>, Box<dyn Error + Send + Sync>>;

/// One kind of background work.
pub trait Job: Send + 'static {
    /// Its name, the same everywhere.
    fn name(&self) -> &'static str;
    /// A pass begins at least this long after the one before.
    fn pause(&self) -> Duration;
    /// A pass begins at most this long after that, should nothing change.
    fn period(&self) -> Duration;
    /// Whether a change of the record starts a pass before its period is over.
    fn follows_changes(&self) -> bool {
        false
    }
    /// One pass. It may be dropped at any moment.
    fn pass(&mut self) -> BoxFuture<'_, Did>;
}

/// What jobs are made of.
pub struct Parts {
    /// The record.
    pub store: Store,
    /// Changes findings.
    pub writer: Writer,
    /// Signs the log.
    pub authority: Arc<Authority>,
    /// Clock and randomness.
    pub environment: SharedEnvironment,
    /// By which severities are calibrated.
    pub policy: Arc<Policy>,
    /// How long after its last change a verified finding is retested; never where there is none.
    pub recheck: Option<Duration>,
}

/// Every job, in the order in which they are shown.
pub fn all(parts: Parts) -> Vec<Box<dyn Job>> {
    let Parts { store, writer, authority, environment, policy, recheck } = parts;
    let mut jobs: Vec<Box<dyn Job>> = vec![
        Box::new(ActivityLog::new(store.clone(), authority, environment.clone())),
        Box::new(FleetBands::new(store.clone(), writer.clone(), environment.clone(), policy)),
    ];
    if let Some(period) = recheck {
        jobs.push(Box::new(PeriodicRetests::new(store, writer, environment, period)));
    }
    jobs
}

/// How a job fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobStatus {
    /// Its name.
    pub name: &'static str,
    /// A pass begins at most this long after the one before.
    pub period: Duration,
    /// Passes so far.
    pub passes: u64,
    /// Of them, those that failed.
    pub failures: u64,
    /// When the last pass began.
    pub last_at: Option<UnixMillis>,
    /// How long it took.
    pub last_took: Duration,
    /// What the last pass that did anything did.
    pub last_did: Option<String>,
    /// Why the last pass failed, with its causes; none if it did not.
    pub last_error: Option<String>,
}

/// How every job fares. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Jobs {
    known: Arc<Mutex<Vec<JobStatus>>>,
}

impl Jobs {
    /// Every job, in order.
    pub fn statuses(&self) -> Vec<JobStatus> {
        self.lock().clone()
    }

    /// Adds a job that has not run yet.
    pub fn register(&self, job: &dyn Job) {
        let (name, period) = (job.name(), job.period() + job.pause());
        self.lock().push(JobStatus {
            name,
            period,
            passes: 0,
            failures: 0,
            last_at: None,
            last_took: Duration::ZERO,
            last_did: None,
            last_error: None,
        });
    }

    /// Runs one pass of a job and keeps how it went.
    pub async fn run(&self, job: &mut dyn Job, environment: &SharedEnvironment) {
        let (at, clock) = (environment.now(), Instant::now());
        let did = job.pass().await;
        if let Err(error) = &did {
            tracing::error!(job = job.name(), error = error.as_ref() as &dyn Error, "a pass of a job failed");
        }
        let mut known = self.lock();
        let Some(status) = known.iter_mut().find(|status| status.name == job.name()) else { return };
        status.passes += 1;
        (status.last_at, status.last_took) = (Some(at), clock.elapsed());
        match did {
            Ok(did) => {
                status.last_error = None;
                status.last_did = did.or(status.last_did.take());
            }
            Err(error) => {
                status.failures += 1;
                status.last_error = Some(chain(error.as_ref()));
            }
        }
    }

    /// The list holds no half-made state, so a panic elsewhere leaves it usable.
    fn lock(&self) -> MutexGuard<'_, Vec<JobStatus>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Runs a job, pass after pass, until the aggregator stops.
pub async fn drive(
    mut job: Box<dyn Job>,
    jobs: Jobs,
    live: Live,
    environment: SharedEnvironment,
    mut stopping: watch::Receiver<bool>,
) {
    let mut changes = live.watch();
    loop {
        let pass = async {
            jobs.run(job.as_mut(), &environment).await;
            tokio::time::sleep(job.pause()).await;
            if job.follows_changes() {
                // Whether a change came, or some were missed, or the time is over: the next pass looks at everything.
                let _ = tokio::time::timeout(job.period(), changes.recv()).await;
            } else {
                tokio::time::sleep(job.period()).await;
            }
        };
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            () = pass => changes = changes.resubscribe(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::testing::TestEnvironment;

    struct Fails(u32);

    #[derive(Debug, thiserror::Error)]
    #[error("the pass failed")]
    struct Failed(#[source] std::fmt::Error);

    impl Job for Fails {
        fn name(&self) -> &'static str {
            "fails"
        }

        fn pause(&self) -> Duration {
            Duration::ZERO
        }

        fn period(&self) -> Duration {
            Duration::from_secs(60)
        }

        fn pass(&mut self) -> BoxFuture<'_, Did> {
            self.0 += 1;
            let did: Did = match self.0 {
                1 => Ok(Some("one thing".to_owned())),
                2 => Err(Failed(std::fmt::Error).into()),
                _ => Ok(None),
            };
            Box::pin(async move { did })
        }
    }

    #[tokio::test]
    async fn what_a_job_did_last_and_why_it_failed_is_kept() {
        let (jobs, environment) = (Jobs::default(), TestEnvironment::at(7));
        let environment: SharedEnvironment = environment;
        let mut job = Fails(0);
        jobs.register(&job);
        let mut seen = Vec::new();
        for _ in 0..3 {
            jobs.run(&mut job, &environment).await;
            let [status] = &jobs.statuses()[..] else { panic!("one job") };
            seen.push((status.passes, status.failures, status.last_did.clone(), status.last_error.clone()));
        }
        let did = Some("one thing".to_owned());
        let error = format!("the pass failed: {}", std::fmt::Error);
        assert_eq!(seen, [(1, 0, did.clone(), None), (2, 1, did.clone(), Some(error)), (3, 1, did, None)]);
        assert_eq!(jobs.statuses()[0].last_at, Some(7));
    }
}
