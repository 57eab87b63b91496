//! The life of one collector: list, watch, watch again, list anew when the history is gone; wait where it is refused.
//!
//! Errors never end it. Each is a coverage state with the API server's own words, and a wait with jitter before the next
//! try. After a list, what the engine holds and the list lacked was not seen deleted: it is proved absent by name first.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use holdfast_agent_core::posture::{ObjectChange, Uids, Versions};
use holdfast_controls::Kind;
use holdfast_controls::inventory::ObjectKey;
use holdfast_model::CoverageState;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use super::list::{self, Stopped};
use super::watch::{self, Paused, Position};
use super::{EngineGone, Event, audit, decode, path};
use crate::api::{Api, Refusal};
use crate::random;

/// How long collectors wait. Data, so that a test need not wait.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// First and longest wait after a failure.
    pub retry: (Duration, Duration),
    /// Wait before a refused (403) or absent (404) kind is tried again.
    pub refused: Duration,
    /// Wait between two comparisons with the API server, jitter of the same length added.
    pub audit: Duration,
    /// Time for a watch to catch up before a difference counts.
    pub catch_up: Duration,
    /// Whether to try WatchList first.
    pub watch_list: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            retry: (Duration::from_millis(200), Duration::from_secs(30)),
            refused: Duration::from_secs(30),
            audit: Duration::from_secs(600),
            catch_up: Duration::from_secs(10),
            watch_list: true,
        }
    }
}

pub(super) struct Collector {
    kind: &'static Kind,
    api: Api,
    pace: Pace,
    events: mpsc::Sender<Event>,
    retry: ExponentialBackoff,
    coverage: Option<(CoverageState, String)>,
    watch_list: bool,
}

/// How a round of list and watches ended: what must happen next.
enum Next {
    /// List anew, at once.
    Relist,
    /// List anew after a wait, because of this.
    After(Refusal),
}

impl Collector {
    pub(super) fn new(kind: &'static Kind, api: Api, pace: Pace, events: mpsc::Sender<Event>) -> Self {
        let (retry, watch_list) = (backoff(&pace), pace.watch_list);
        Self { kind, api, pace, events, retry, coverage: None, watch_list }
    }

    /// Runs until the engine is gone.
    pub(super) async fn run(mut self) -> EngineGone {
        if self.cover(CoverageState::Starting, "").await.is_err() {
            return EngineGone;
        }
        loop {
            match self.round().await {
                Ok(Next::Relist) => {}
                Ok(Next::After(refusal)) => {
                    if self.wait_out(&refusal).await.is_err() {
                        return EngineGone;
                    }
                }
                Err(EngineGone) => return EngineGone,
            }
        }
    }

    /// One list and all the watches that follow it.
    async fn round(&mut self) -> Result<Next, EngineGone> {
        let mut at = Position::default();
        let stopped = if self.watch_list {
            at.initial = Some(Uids::new());
            self.follow(&mut at).await
        } else {
            self.list_and_follow(&mut at).await
        };
        match stopped {
            Stopped::EngineGone => Err(EngineGone),
            Stopped::Refused(Refusal::Expired(_)) if at.initial.is_none() => Ok(Next::Relist),
            Stopped::Refused(Refusal::NotUnderstood(_)) if self.watch_list => {
                self.watch_list = false;
                Ok(Next::Relist)
            }
            Stopped::Refused(refusal) => Ok(Next::After(refusal)),
        }
    }

    async fn list_and_follow(&mut self, at: &mut Position) -> Stopped {
        match list::list(&self.api, self.kind, &self.events).await {
            Ok(listed) => {
                at.resource_version = listed.resource_version;
                match self.settle(listed.seen).await {
                    Ok(()) => self.follow(at).await,
                    Err(EngineGone) => Stopped::EngineGone,
                }
            }
            Err(stopped) => stopped,
        }
    }

    /// Watches, one watch after the other, until one is refused or a comparison finds that the watch has lost something.
    async fn follow(&mut self, at: &mut Position) -> Stopped {
        let mut differed: Option<Versions> = None;
        let mut compare_at = Instant::now() + self.pace.audit + random::up_to(self.pace.audit);
        loop {
            let watched = tokio::select! {
                watched = self.watch(at) => watched,
                () = sleep_until(compare_at) => match self.compare().await {
                    Ok(now) if differed.as_ref().is_some_and(|before| before.overlaps(&now)) => {
                        tracing::info!(kind = self.kind.kind, "the watch has drifted from the API server: listing anew");
                        return Refusal::Expired("the watch has drifted".to_owned()).into();
                    }
                    Ok(now) => {
                        let soon = !now.is_empty() && differed.is_none();
                        let wait = if soon { self.pace.catch_up } else { self.pace.audit + random::up_to(self.pace.audit) };
                        differed = soon.then_some(now);
                        compare_at = Instant::now() + wait;
                        Ok(())
                    }
                    Err(stopped) => Err(stopped),
                },
            };
            match watched {
                Ok(()) => {}
                Err(Stopped::Refused(refusal @ Refusal::Failing(_))) if at.initial.is_none() => {
                    if self.wait_out(&refusal).await.is_err() {
                        return Stopped::EngineGone;
                    }
                }
                Err(stopped) => return stopped,
            }
        }
    }

    /// One watch. With `initial` it begins with everything there is, which is settled as a list when it has come.
    async fn watch(&mut self, at: &mut Position) -> Result<(), Stopped> {
        let seconds = 290 + random::up_to(Duration::from_secs(290)).as_secs();
        if let Some(initial) = &mut at.initial {
            initial.clear();
        }
        let path = match &at.initial {
            Some(_) => path::watch_list(self.kind, seconds),
            None => path::watch(self.kind, &at.resource_version, seconds),
        };
        let mut watch = watch::open(&self.api, &path).await?;
        if at.initial.is_none() {
            self.recovered().await?;
        }
        loop {
            match watch.read(self.kind, at, &self.events).await? {
                Paused::Ended => return Ok(()),
                Paused::InitialEventsEnded => self.settle(at.initial.take().unwrap_or_default()).await?,
            }
        }
    }

    /// After a list: what the engine holds and the list lacked is proved absent, one by one, and then removed.
    async fn settle(&mut self, seen: Uids) -> Result<(), EngineGone> {
        let (missing, answer) = oneshot::channel();
        self.events.send(Event::Listed { kind: self.kind, seen, missing }).await.map_err(|_| EngineGone)?;
        for (key, uid) in answer.await.map_err(|_| EngineGone)? {
            if self.is_absent(&key, &uid).await {
                self.events
                    .send(Event::Changed(ObjectChange::Deleted { key, uid }, None))
                    .await
                    .map_err(|_| EngineGone)?;
            }
        }
        self.recovered().await
    }

    /// A quorum read by name. The same name under another uid proves the old one gone; anything unclear keeps it.
    async fn is_absent(&self, key: &ObjectKey, uid: &str) -> bool {
        match self.api.get(&path::object(key)).await {
            Ok(answer) if answer.status.is_success() => {
                decode::identity(&answer.body).is_ok_and(|found| !found.uid.is_empty() && found.uid != uid)
            }
            Ok(answer) => answer.proves_absence_of(&key.name),
            Err(_) => false,
        }
    }

    /// Compares versions with the engine's, and gives what differs.
    async fn compare(&self) -> Result<Versions, Stopped> {
        let theirs = audit::versions(&self.api, self.kind).await?;
        let (answer, held) = oneshot::channel();
        self.events.send(Event::Versions { kind: self.kind, answer }).await.map_err(|_| EngineGone)?;
        Ok(held.await.map_err(|_| EngineGone)?.difference(&theirs))
    }

    /// The kind can be seen: its coverage is reported, and the next failure starts with a short wait again.
    async fn recovered(&mut self) -> Result<(), EngineGone> {
        self.retry = backoff(&self.pace);
        self.cover(CoverageState::Seen, "").await
    }

    async fn wait_out(&mut self, refusal: &Refusal) -> Result<(), EngineGone> {
        let (state, wait) = match refusal {
            Refusal::Forbidden(_) => (CoverageState::Forbidden, self.pace.refused),
            Refusal::NotServed(_) => (CoverageState::Absent, self.pace.refused),
            _ => (CoverageState::Failing, self.retry.next().unwrap_or(self.pace.retry.1)),
        };
        self.cover(state, &refusal.to_string()).await?;
        sleep(wait + random::up_to(wait / 4)).await;
        Ok(())
    }

    async fn cover(&mut self, state: CoverageState, reason: &str) -> Result<(), EngineGone> {
        let now = Some((state, reason.to_owned()));
        if self.coverage == now {
            return Ok(());
        }
        self.coverage = now;
        let change = ObjectChange::Coverage { kind: self.kind, state, reason: reason.to_owned() };
        self.events.send(Event::Changed(change, None)).await.map_err(|_| EngineGone)
    }
}

fn backoff(pace: &Pace) -> ExponentialBackoff {
    let (shortest, longest) = pace.retry;
    ExponentialBuilder::new().with_min_delay(shortest).with_max_delay(longest).without_max_times().with_jitter().build()
}
