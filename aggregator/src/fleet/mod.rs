//! The fleet's worker: folds changed counts into bands, and bands into the severities of findings.
//!
//! The store counts in how many clusters each pattern is active, with every write, and marks what changed. This one worker
//! takes the marks, asks `record` what follows, and writes the pattern's event, its findings and their events in one
//! transaction that also clears the mark: a crash repeats nothing and loses nothing. What moves without a mark (a cluster that
//! can judge more or less, a dwell time that ends, a new policy) is found by a sweep over the patterns that spread.

mod coverage;
pub mod policy;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use holdfast_controls::catalog::Control;
use holdfast_model::{Actor, Band, FindingId, OnDeletion, PatternId, Reading, RetestId, UnixMillis};
use holdfast_record::calibration::{Crossing, FleetPolicy, reason};
use holdfast_record::fleet::{Next, next_band};
use holdfast_record::{Command, Context, Decision, Entry, Finding, decide};
use holdfast_store::finding::{Counted, Written};
use holdfast_store::{Pattern, Store, StoreError, Tx};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

pub use coverage::Judges;

use crate::environment::SharedEnvironment;
use crate::live::{Live, LiveChange};

/// The setting that holds the policy by which the findings were last calibrated.
const POLICY: &str = "fleet-policy";
/// Patterns of one transaction that are looked at one by one.
const BATCH: u32 = 64;
/// Patterns of one transaction that are settled in one statement.
const SETTLED: u32 = 10_000;
/// The pause after each pass: counts are folded, not followed one by one.
const PAUSE: Duration = Duration::from_millis(500);
/// Looks at least this often, should nobody have told of a change.
const LOOK: Duration = Duration::from_secs(15);

/// Why the worker could not go on.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// An event has no canonical form.
    #[error("an event has no canonical form")]
    Form(#[from] serde_json::Error),
    /// The finding refuses to be recalibrated.
    #[error("finding {finding} refuses to be recalibrated")]
    Refused {
        /// Which.
        finding: FindingId,
        /// Why.
        source: holdfast_record::Refused,
    },
}

/// How far a look at a pattern goes, when its band stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Its band only.
    Band,
    /// Its findings too, where the band has a rule: some may be new.
    NewFindings,
    /// Its findings in any case: the rules may be new.
    Findings,
}

/// What the worker keeps beside a pattern's band.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct BandState {
    /// Leaf hash of the pattern's last event, hexadecimal: what the events of its findings cite.
    event: String,
    /// What was read then.
    reading: Reading,
}

/// The one task that moves bands and severities.
pub struct FleetWorker {
    store: Store,
    live: Live,
    environment: SharedEnvironment,
    policy: Arc<FleetPolicy>,
    judges: Judges,
    /// Everything that spread is looked at after a start, and whenever the fleet or the clock asks for it.
    sweep_due: bool,
    look_again_at: Option<UnixMillis>,
    /// A sweep of a large fleet is not repeated at once, however often its clusters come and go.
    rest_until: Instant,
}

impl FleetWorker {
    /// The worker of this record under this policy.
    pub fn new(store: Store, live: Live, environment: SharedEnvironment, policy: Arc<FleetPolicy>) -> Self {
        let judges = Judges::default();
        Self {
            store,
            live,
            environment,
            policy,
            judges,
            sweep_due: true,
            look_again_at: None,
            rest_until: Instant::now(),
        }
    }

    /// Runs until it is dropped; at any moment that is safe. A failure is logged and tried again.
    pub async fn run(mut self) {
        let mut changes = self.live.watch();
        loop {
            if let Err(error) = self.pass().await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the fleet's bands were not brought up to date"
                );
            }
            tokio::time::sleep(PAUSE).await;
            if matches!(tokio::time::timeout(LOOK, changes.recv()).await, Ok(Err(RecvError::Closed))) {
                return;
            }
            changes = changes.resubscribe();
        }
    }

    /// Brings every band and severity up to date.
    pub async fn pass(&mut self) -> Result<(), FleetError> {
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
    async fn fold(&mut self) -> Result<(), FleetError> {
        // Below the entry of several, and with no rule for isolated, a pattern that was isolated stays so.
        let settled_below = match self.policy.rule(Band::Isolated) {
            None => u64::from(self.policy.bands.several.clusters).saturating_sub(1),
            Some(_) => 0,
        };
        loop {
            let mut tx = self.store.begin().await?;
            let settled = tx.settle_isolated_patterns(settled_below, SETTLED).await?;
            let changed = tx.lock_changed_patterns(BATCH).await?;
            let more = settled == u64::from(SETTLED) || changed.len() == BATCH as usize;
            self.look_at(tx, changed, Look::NewFindings).await?;
            if !more {
                return Ok(());
            }
        }
    }

    /// Looks at every pattern that spread, changed or not; under another policy than the last time, at its findings too.
    async fn sweep(&mut self) -> Result<(), FleetError> {
        let started = Instant::now();
        let policy = serde_json::to_string(&self.policy)?;
        let same_policy = self.store.setting(POLICY).await?.as_ref() == Some(&policy);
        self.look_again_at = None;
        let mut after: Option<PatternId> = None;
        loop {
            let mut tx = self.store.begin().await?;
            let page = tx.lock_banded_patterns(after, BATCH).await?;
            let Some(last) = page.last() else {
                tx.put_setting(POLICY, &policy, self.environment.now()).await?;
                tx.commit().await?;
                break;
            };
            after = Some(last.id);
            let look = if same_policy { Look::Band } else { Look::Findings };
            self.look_at(tx, page, look).await?;
        }
        self.rest_until = Instant::now() + started.elapsed() * 10;
        Ok(())
    }

    async fn look_at(&mut self, mut tx: Tx, patterns: Vec<Pattern>, look: Look) -> Result<(), FleetError> {
        let mut moved = Vec::new();
        for pattern in patterns {
            moved.append(&mut self.settle(&mut tx, pattern, look).await?);
        }
        tx.commit().await?;
        for finding in moved {
            let (cluster, status, severity) = (finding.key.cluster, finding.status(), finding.severity());
            self.live.tell(LiveChange::Finding { finding: finding.id, cluster, status, severity });
        }
        Ok(())
    }

    /// Decides one pattern and brings its findings into line. The answer are the findings that moved.
    async fn settle(&mut self, tx: &mut Tx, mut pattern: Pattern, look: Look) -> Result<Vec<Finding>, FleetError> {
        let now = self.environment.now();
        let clusters = u32::try_from(pattern.active).unwrap_or(u32::MAX);
        let reading = Reading { clusters, judging: self.judges.count(&pattern.control, &pattern.resource) };
        let next = next_band(&self.policy.bands, reading, pattern.band, pattern.band_since, now);
        match next {
            Next::Stay => {}
            Next::HoldUntil(until) => {
                self.look_again_at = Some(self.look_again_at.map_or(until, |at| at.min(until)));
            }
            Next::Change(to) => self.cross(tx, &mut pattern, to, reading, now).await?,
        }
        let crossed = matches!(next, Next::Change(_));
        if crossed || look != Look::Band {
            tx.put_band(&pattern).await?;
        }
        match look {
            _ if crossed => self.recalibrate(tx, &pattern, reading, now).await,
            Look::Findings => self.recalibrate(tx, &pattern, reading, now).await,
            Look::NewFindings if self.policy.rule(pattern.band).is_some() => {
                self.recalibrate(tx, &pattern, reading, now).await
            }
            Look::NewFindings | Look::Band => Ok(Vec::new()),
        }
    }

    async fn cross(
        &self,
        tx: &mut Tx,
        pattern: &mut Pattern,
        to: Band,
        reading: Reading,
        now: UnixMillis,
    ) -> Result<(), FleetError> {
        let crossing = Crossing { pattern: pattern.id, from: pattern.band, to, reading, policy: &self.policy };
        let entry = Entry::of(crossing.event(now))?;
        let event = data_encoding::HEXLOWER.encode(&entry.leaf);
        tx.add_events(&[entry]).await?;
        pattern.band = to;
        pattern.band_since = Some(now);
        pattern.state = Some(serde_json::to_string(&BandState { event, reading })?);
        Ok(())
    }

    /// Every finding of the pattern, closed ones too: one that comes back comes back with the right severity.
    async fn recalibrate(
        &self,
        tx: &mut Tx,
        pattern: &Pattern,
        reading: Reading,
        now: UnixMillis,
    ) -> Result<Vec<Finding>, FleetError> {
        let state: Option<BandState> = pattern.state.as_deref().map(serde_json::from_str).transpose()?;
        let event = state.map(|state| state.event).unwrap_or_default();
        let (cause, detail) = reason(pattern.id, &event, reading, &self.policy, pattern.band);
        let members = tx.findings_of_pattern(pattern.id).await?;
        let mut decided = Vec::new();
        for finding in members {
            let (id, before) = (finding.id, Counted::of(&finding));
            let severity = self.policy.severity(finding.state.base_severity, pattern.band);
            let command = Command::Recalibrate { severity, cause: &cause, detail: &detail };
            let mut finding = Some(finding);
            let decision = decide(&context(&pattern.control, now), &mut finding, command)
                .map_err(|source| FleetError::Refused { finding: id, source })?;
            decided.extend(finding.zip(decision).map(|(finding, decision)| (before, finding, decision)));
        }
        write(tx, &decided).await?;
        Ok(decided.into_iter().map(|(_, finding, _)| finding).collect())
    }
}

fn context(control: &holdfast_model::ControlId, now: UnixMillis) -> Context<'static> {
    static ACTOR: std::sync::LazyLock<Actor> = std::sync::LazyLock::new(|| Actor::Holdfast("fleet".into()));
    Context {
        now,
        actor: &ACTOR,
        on_deletion: Control::find(control.as_str()).map_or(OnDeletion::Retires, |control| control.on_deletion),
        in_scope: true,
        // A recalibration orders no retest.
        fresh: RetestId::from_bytes([0; 16]),
    }
}

async fn write(tx: &mut Tx, decided: &[(Counted, Finding, Decision)]) -> Result<(), FleetError> {
    let written: Vec<_> =
        decided.iter().map(|(before, after, _)| Written { before: Some(*before), after, evidence: false }).collect();
    let events = decided.iter().flat_map(|(.., decision)| decision.events.iter().cloned());
    let events = events.map(Entry::of).collect::<Result<Vec<_>, _>>()?;
    tx.write_findings(&written).await?;
    tx.add_events(&events).await?;
    Ok(())
}
