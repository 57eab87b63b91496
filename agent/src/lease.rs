//! Which replica leads: a Lease of coordination.k8s.io, taken, renewed and given back.
//!
//! No two clocks are compared. Whoever leads stops by its own monotonic clock, counted from the moment before its last good
//! renewal was asked for; whoever waits counts the whole life of the Lease by its own, from the moment at which it first
//! saw the version that does not change any more. The first is shorter by what ending the duties may take. A machine that
//! was asleep can be late with stopping: the aggregator's epochs make that harmless, this only makes it rare.
//! The Lease is there beforehand: no right to create one is needed.

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease as LeaseObject, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::api::{Api, Refusal};
use crate::clock;
use holdfast_agent_core::text;

/// The longest life of another's Lease that is waited for.
const LONGEST: Duration = Duration::from_secs(60);
/// How long giving it back may take.
const RELEASE: Duration = Duration::from_secs(2);

/// How long things take. Data, so that a test need not wait.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// The life of the Lease: how long the others wait after its last renewal. Whole seconds.
    pub life: Duration,
    /// How long the leader works on without a renewal.
    pub deadline: Duration,
    /// How often it renews, and how often the others read it.
    pub period: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { life: Duration::from_secs(8), deadline: Duration::from_secs(5), period: Duration::from_secs(2) }
    }
}

/// One replica's hold on the Lease.
pub struct Lease {
    api: Api,
    path: String,
    identity: String,
    timing: Timing,
    /// The version that somebody else holds, and when it was first seen.
    seen: Option<(String, Instant)>,
}

/// The Lease is held. Counted from before it was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    since: Instant,
}

/// Why a replica does not lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// This one leads.
    For(String),
    /// The Lease cannot be read or taken, for this reason.
    Blocked(String),
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(leader) => write!(f, "standing by: {leader} leads"),
            Self::Blocked(why) => write!(f, "the Lease cannot be held: {why}"),
        }
    }
}

/// How an attempt to hold the Lease ended.
enum Attempt {
    Held(Held),
    Other(String),
}

impl Lease {
    /// The Lease of this name, for a replica of this identity.
    pub fn new(api: Api, namespace: &str, name: &str, identity: String, timing: Timing) -> Self {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}");
        Self { api, path, identity, timing, seen: None }
    }

    /// Waits until the Lease is held. `report` is called with who holds it, or why it cannot be read, as that changes.
    pub async fn win(&mut self, mut report: impl FnMut(&Waiting)) -> Held {
        let mut last = None;
        loop {
            let waiting = match timeout(self.timing.deadline, self.attempt()).await {
                Ok(Ok(Attempt::Held(held))) => return held,
                Ok(Ok(Attempt::Other(holder))) => Waiting::For(holder),
                Ok(Err(refusal)) => Waiting::Blocked(refusal.to_string()),
                Err(_) => Waiting::Blocked("the API server does not answer".to_owned()),
            };
            if last.as_ref() != Some(&waiting) {
                report(&waiting);
                last = Some(waiting);
            }
            sleep(self.timing.period).await;
        }
    }

    /// Renews for as long as it goes, and answers why it does not any more. The duties must end at once then.
    pub async fn hold(&mut self, mut held: Held) -> String {
        loop {
            let deadline = held.since + self.timing.deadline;
            sleep_until((held.since + self.timing.period).max(Instant::now()).min(deadline)).await;
            match self.renew(deadline).await {
                Ok(renewed) => held = renewed,
                Err(lost) => return lost,
            }
        }
    }

    /// Tries until it works, somebody else has it, or the deadline is over.
    async fn renew(&mut self, deadline: Instant) -> Result<Held, String> {
        let mut problem = "the API server did not answer".to_owned();
        loop {
            match timeout_at(deadline, self.attempt()).await {
                Ok(Ok(Attempt::Held(held))) => return Ok(held),
                Ok(Ok(Attempt::Other(holder))) => return Err(format!("{holder} has taken the Lease")),
                Ok(Err(refusal)) => problem = refusal.to_string(),
                Err(_) => return Err(format!("the Lease could not be renewed in time: {problem}")),
            }
            sleep_until((Instant::now() + self.timing.period / 4).min(deadline)).await;
        }
    }

    /// Gives it back, so that another need not wait. Call when the duties have ended.
    pub async fn release(&mut self) {
        let released = timeout(RELEASE, async {
            let mut lease: LeaseObject = self.api.read(&self.path).await?;
            if holder(&lease) != self.identity {
                return Ok(());
            }
            lease.spec.get_or_insert_default().holder_identity = Some(String::new());
            self.replace(&lease).await
        });
        match released.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the Lease could not be given back: the others wait until it expires")
            }
            Err(_) => tracing::warn!("the Lease could not be given back in time: the others wait until it expires"),
        }
    }

    async fn attempt(&mut self) -> Result<Attempt, Refusal> {
        let since = Instant::now();
        let mut lease: LeaseObject = self.api.read(&self.path).await?;
        let is_mine = holder(&lease) == self.identity;
        if !is_mine && !holder(&lease).is_empty() && !self.has_expired(&lease) {
            return Ok(Attempt::Other(text::line(holder(&lease))));
        }
        claim(lease.spec.get_or_insert_default(), &self.identity, is_mine, self.timing.life, clock::now());
        self.replace(&lease).await?;
        self.seen = None;
        Ok(Attempt::Held(Held { since }))
    }

    async fn replace(&self, lease: &LeaseObject) -> Result<(), Refusal> {
        match self.api.replace(&self.path, lease).await? {
            Some(_) => Ok(()),
            // A label or an annotation is enough for that: the next read shows who has it.
            None => Err(Refusal::Failing("somebody wrote the Lease at the same moment".to_owned())),
        }
    }

    /// Whether the version that another one holds has not changed for its whole life, by the clock here.
    fn has_expired(&mut self, lease: &LeaseObject) -> bool {
        let version = lease.metadata.resource_version.as_deref().unwrap_or_default();
        let now = Instant::now();
        match &self.seen {
            Some((seen, at)) if seen == version => {
                let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
                let life = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
                now.duration_since(*at) >= life.clamp(self.timing.life, LONGEST.max(self.timing.life))
            }
            _ => {
                self.seen = Some((version.to_owned(), now));
                false
            }
        }
    }
}

/// Who holds it; empty where nobody does.
fn holder(lease: &LeaseObject) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}

/// Writes this replica in as the holder. Times are for people: nobody here compares them.
fn claim(spec: &mut LeaseSpec, identity: &str, is_mine: bool, life: Duration, now: i64) {
    let now = jiff::Timestamp::from_millisecond(now).ok().map(MicroTime);
    if !is_mine {
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1).max(0));
        spec.acquire_time = now.clone();
    }
    spec.holder_identity = Some(identity.to_owned());
    spec.lease_duration_seconds = Some(i32::try_from(life.as_secs()).unwrap_or(i32::MAX).max(1));
    spec.renew_time = now;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_counts_transitions_and_writes_times_that_kubernetes_reads() {
        let mut lease = LeaseObject::default();
        let spec = lease.spec.get_or_insert_default();
        claim(spec, "a", false, Duration::from_secs(8), 1_790_000_000_123);
        assert_eq!(spec.lease_transitions, Some(1));
        claim(spec, "a", true, Duration::from_secs(8), 1_790_000_002_123);
        assert_eq!(spec.lease_transitions, Some(1));
        let written = serde_json::to_value(&lease).unwrap();
        assert_eq!(written["spec"]["acquireTime"], "2026-09-21T14:13:20.123000Z");
        assert_eq!(written["spec"]["renewTime"], "2026-09-21T14:13:22.123000Z");
        assert_eq!(written["spec"]["leaseDurationSeconds"], 8);
    }
}
