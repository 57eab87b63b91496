//! Severity: one pure function of the catalog's severity, the readings of a finding and the policy in force.
//!
//! A calibrated severity is always computed from the catalog's, never from the one before: so the way back is the way there. The
//! policy is data; it is shipped unapproved and every event says so until somebody puts their name to it. A factor that moves
//! severities is a variant of [`Factor`], with the rule of the policy that applies to it in [`Policy::rule_for`].

use holdfast_model::{Activity, Actor, Band, PatternId, Reading, Severity, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::fleet::Bands;

/// Stands where an approver would.
pub const UNAPPROVED: &str = "shipped, unapproved";

/// What moves severities, as somebody approved it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Its name, as events cite it.
    pub name: String,
    /// Who approved it; none until an admin does.
    #[serde(default)]
    pub approver: Option<String>,
    /// When a pattern is in which band.
    pub bands: Bands,
    /// What each band does; at most one rule a band.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// What evidence from the kernel does to a finding that the posture reports too; none leaves the severity as it is.
    #[serde(default)]
    pub runtime: Option<RuntimeRule>,
}

/// How evidence from the kernel moves severities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeRule {
    /// Its name, as events cite it.
    pub name: String,
    /// By how many steps the severity rises; it stays at critical.
    pub raise: u8,
    /// Why, for people.
    pub rationale: String,
}

/// What one band does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name, as events cite it.
    pub name: String,
    /// The band.
    pub band: Band,
    /// By how many steps the severity rises; negative: falls. It stays between info and critical.
    pub raise: i8,
    /// Why, for people.
    pub rationale: String,
}

/// What was read of one factor of a finding's severity. In the order in which a calibration lists them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "factor", rename_all = "kebab-case")]
pub enum Factor {
    /// Runtime evidence: the kernel shows what the posture states.
    Runtime {
        /// Since when.
        since: UnixMillis,
    },
    /// Fleet propagation.
    Fleet(FleetReading),
}

/// How far a finding's pattern had spread when it last changed its band.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FleetReading {
    /// Its band.
    pub band: Band,
    /// Clusters whose finding of the pattern was active.
    pub clusters: u32,
    /// Clusters that could judge the control.
    pub judging: u32,
    /// Leaf hash of the pattern's event, hexadecimal: the one event that all its findings cite.
    pub pattern_event: String,
}

/// What became of a severity, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calibration {
    /// By the catalog.
    pub base: Severity,
    /// In force: the catalog's, moved by the sum of the steps, between info and critical.
    pub severity: Severity,
    /// The policy.
    pub policy: String,
    /// Who approved it.
    pub approver: String,
    /// The readings that a rule applies to.
    pub steps: Vec<Step>,
}

/// One reading with the rule that applies to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What was read.
    pub reading: Factor,
    /// The rule.
    pub rule: String,
    /// By how many steps it moves the severity.
    pub raise: i8,
    /// Why, for people.
    pub rationale: String,
}

/// The severity that follows from the catalog's, these readings in any order, and this policy.
pub fn calibrate(base: Severity, readings: &[Factor], policy: &Policy) -> Calibration {
    let mut readings: Vec<_> = readings.iter().collect();
    readings.sort_unstable();
    readings.dedup();
    let steps: Vec<_> = readings.into_iter().filter_map(|reading| policy.rule_for(reading)).collect();
    let sum = steps.iter().map(|step| isize::from(step.raise)).sum();
    let severity = moved(base, sum);
    let (policy, approver) = (policy.name.clone(), policy.approver().to_owned());
    Calibration { base, severity, policy, approver, steps }
}

fn moved(base: Severity, steps: isize) -> Severity {
    let at = Severity::ALL.iter().position(|&severity| severity == base).unwrap_or_default();
    let moved = at.saturating_add_signed(steps).min(Severity::ALL.len() - 1);
    Severity::ALL.get(moved).copied().unwrap_or(base)
}

impl Calibration {
    /// The step of the factor that differs from those of an earlier calibration: what the change is about.
    pub fn news<'c>(&'c self, before: Option<&Self>) -> Option<&'c Step> {
        self.steps.iter().find(|step| before.is_none_or(|before| !before.steps.contains(step)))
    }
}

impl Step {
    /// Why the severity is moved, in one sentence.
    pub fn cause(&self) -> String {
        match &self.reading {
            Factor::Runtime { .. } => self.rationale.clone(),
            Factor::Fleet(reading) => format!("{}, so it is {}: rule {}", reading.spread(), reading.band, self.rule),
        }
    }
}

impl FleetReading {
    /// How far it had spread, in words.
    pub fn spread(&self) -> String {
        format!("{} of {} clusters have it", self.clusters, self.judging.max(self.clusters))
    }
}

impl Policy {
    /// Why this policy cannot be used, if it can't.
    pub fn problem(&self) -> Option<String> {
        if let Some(problem) = self.bands.problem() {
            return Some(format!("bands: {problem}"));
        }
        for (at, rule) in self.rules.iter().enumerate() {
            if rule.name.trim().is_empty() || rule.rationale.trim().is_empty() {
                return Some(format!("rule {}: it needs a name and a rationale", at + 1));
            }
            if self.rules[..at].iter().any(|other| other.band == rule.band || other.name == rule.name) {
                return Some(format!("rule {:?}: its name or its band has another rule already", rule.name));
            }
        }
        if let Some(RuntimeRule { name, raise, rationale }) = &self.runtime {
            if name.trim().is_empty() || rationale.trim().is_empty() {
                return Some("runtime: it needs a name and a rationale".to_owned());
            }
            if usize::from(*raise) >= Severity::ALL.len() {
                return Some(format!("runtime: there are no {raise} steps between two severities"));
            }
            if self.rules.iter().any(|rule| rule.name == *name) {
                return Some(format!("rule {name:?}: its name has another rule already"));
            }
        }
        let nobody = self.approver.as_ref().is_some_and(|approver| approver.trim().is_empty());
        nobody.then(|| "approver: leave it out, or name who approved".to_owned())
    }

    /// Who approved it, for events and people.
    pub fn approver(&self) -> &str {
        self.approver.as_deref().unwrap_or(UNAPPROVED)
    }

    /// The rule of a band, if it has one.
    pub fn rule(&self, band: Band) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.band == band)
    }

    /// The rule that applies to a reading, if there is one that moves anything.
    fn rule_for(&self, reading: &Factor) -> Option<Step> {
        let (rule, raise, rationale) = match reading {
            Factor::Runtime { .. } => {
                let rule = self.runtime.as_ref()?;
                (&rule.name, i8::try_from(rule.raise).unwrap_or(i8::MAX), &rule.rationale)
            }
            Factor::Fleet(FleetReading { band, .. }) => {
                let rule = self.rule(*band)?;
                (&rule.name, rule.raise, &rule.rationale)
            }
        };
        let step = Step { reading: reading.clone(), rule: rule.clone(), raise, rationale: rationale.clone() };
        (raise != 0).then_some(step)
    }
}

/// A pattern that crosses into another band.
#[derive(Debug, Clone, Copy)]
pub struct Crossing<'a> {
    /// The pattern.
    pub pattern: PatternId,
    /// Its band before.
    pub from: Band,
    /// Its band from now on.
    pub to: Band,
    /// What was read.
    pub reading: Reading,
    /// By this policy.
    pub policy: &'a Policy,
}

/// The payload of a pattern's event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Crossed<'a> {
    pattern: PatternId,
    from: Band,
    band: Band,
    clusters: u32,
    judging: u32,
    share_percent: u32,
    policy: &'a str,
    rule: &'a str,
    rationale: &'a str,
    approver: &'a str,
}

impl Crossing<'_> {
    /// The one event of the pattern, which the events of its findings cite.
    pub fn event(&self, at: UnixMillis) -> Result<Activity, serde_json::Error> {
        let Self { pattern, from, to, reading, policy } = *self;
        let rule = policy.rule(to);
        let detail = Crossed {
            pattern,
            from,
            band: to,
            clusters: reading.clusters,
            judging: reading.judging,
            share_percent: reading.share_percent(),
            policy: &policy.name,
            rule: rule.map_or("none", |rule| &rule.name),
            rationale: rule.map_or("in this band the catalog's severity counts", |rule| &rule.rationale),
            approver: policy.approver(),
        };
        let spread = self.cited(String::new()).spread();
        Ok(Activity {
            at,
            actor: Actor::Holdfast("fleet".into()),
            event: "pattern-band-changed".to_owned(),
            cluster: None,
            finding: None,
            cause: format!("{spread}: the pattern was {from} and is {to} now"),
            detail: serde_json::to_value(detail)?,
        })
    }

    /// The reading that the pattern's findings have from then on.
    pub fn cited(&self, pattern_event: String) -> FleetReading {
        let Reading { clusters, judging } = self.reading;
        FleetReading { band: self.to, clusters, judging, pattern_event }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::fleet::Entry;

    pub(crate) fn policy() -> Policy {
        let entry = |clusters, share_percent| Entry { clusters, share_percent };
        let rule = |name: &str, band, raise| Rule { name: name.into(), band, raise, rationale: "because".into() };
        Policy {
            name: "test".into(),
            approver: None,
            bands: Bands {
                several: entry(2, 0),
                widespread: entry(4, 10),
                systemic: entry(8, 30),
                left_at_percent: 80,
                dwell_seconds: 0,
            },
            rules: vec![
                rule("up", Band::Widespread, 1),
                rule("far-up", Band::Systemic, 2),
                rule("down", Band::Isolated, -1),
            ],
            runtime: Some(RuntimeRule { name: "seen".into(), raise: 1, rationale: "because".into() }),
        }
    }

    fn fleet(band: Band) -> Factor {
        Factor::Fleet(FleetReading { band, clusters: 4, judging: 10, pattern_event: "ab12".into() })
    }

    const SEEN: Factor = Factor::Runtime { since: 7 };

    #[test]
    fn a_rule_moves_from_the_catalogs_severity_and_stops_at_the_ends() {
        use Severity::*;
        for (base, band, then) in [
            (Medium, Band::Several, Medium),
            (Medium, Band::Widespread, High),
            (Medium, Band::Systemic, Critical),
            (High, Band::Systemic, Critical),
            (Critical, Band::Systemic, Critical),
            (Medium, Band::Isolated, Low),
            (Info, Band::Isolated, Info),
        ] {
            assert_eq!(calibrate(base, &[fleet(band)], &policy()).severity, then, "{base} in {band}");
        }
        let both = calibrate(Low, &[fleet(Band::Widespread), SEEN], &policy());
        assert_eq!((both.severity, both.steps.len()), (High, 2), "the steps are added up");
    }

    #[test]
    fn events_cite_the_reading_the_rule_and_the_approver() {
        let (mut policy, reading) = (policy(), Reading { clusters: 4, judging: 10 });
        let pattern = PatternId::from_bytes([1; 16]);
        let crossing = Crossing { pattern, from: Band::Several, to: Band::Widespread, reading, policy: &policy };
        let event = crossing.event(7).unwrap();
        assert_eq!(event.cause, "4 of 10 clusters have it: the pattern was several and is widespread now");
        assert_eq!((&event.detail["rule"], &event.detail["approver"]), (&json!("up"), &json!(UNAPPROVED)));
        assert_eq!(event.detail["share_percent"], json!(40));

        let cited = Factor::Fleet(crossing.cited("ab12".into()));
        policy.approver = Some("Ada of the security board".into());
        let calibration = calibrate(Severity::Medium, &[cited], &policy);
        let [step] = &calibration.steps[..] else { panic!("one step: {calibration:?}") };
        assert_eq!(step.cause(), "4 of 10 clusters have it, so it is widespread: rule up");
        assert_eq!(calibration.approver, "Ada of the security board");
        assert_eq!(step.reading, fleet(Band::Widespread));
    }

    #[test]
    fn a_policy_that_contradicts_itself_is_refused() {
        assert_eq!(policy().problem(), None);
        let broken = |break_it: fn(&mut Policy)| {
            let mut policy = policy();
            break_it(&mut policy);
            policy.problem().is_some()
        };
        assert!(broken(|policy| policy.rules[1].band = Band::Widespread));
        assert!(broken(|policy| policy.rules[1].name = "up".into()));
        assert!(broken(|policy| policy.rules[0].rationale = " ".into()));
        assert!(broken(|policy| policy.approver = Some(String::new())));
        assert!(broken(|policy| policy.bands.left_at_percent = 0));
        let runtime = |change: fn(&mut RuntimeRule)| {
            let mut policy = super::tests::policy();
            policy.runtime.iter_mut().for_each(change);
            policy.problem().is_some()
        };
        assert!(runtime(|rule| rule.name = "up".into()));
        assert!(runtime(|rule| rule.rationale.clear()));
        assert!(runtime(|rule| rule.raise = 5));
    }

    #[test]
    fn what_the_kernel_shows_raises_by_the_policys_rule_or_not_at_all() {
        let mut policy = policy();
        let calibration = calibrate(Severity::Medium, &[SEEN], &policy);
        assert_eq!((calibration.severity, calibration.approver.as_str()), (Severity::High, UNAPPROVED));
        assert_eq!(calibration.steps[0].rule, "seen");
        policy.runtime.iter_mut().for_each(|rule| rule.raise = 0);
        assert!(calibrate(Severity::Medium, &[SEEN], &policy).steps.is_empty());
        policy.runtime = None;
        assert!(calibrate(Severity::Medium, &[SEEN], &policy).steps.is_empty());
    }

    fn factor() -> impl Strategy<Value = Factor> {
        prop_oneof![
            (0i64..3).prop_map(|since| Factor::Runtime { since }),
            prop::sample::select(Band::ALL).prop_map(fleet),
        ]
    }

    proptest! {
        #[test]
        fn a_calibration_follows_from_its_inputs_alone(
            base in prop::sample::select(Severity::ALL),
            readings in prop::collection::vec(factor(), 0..6),
            turn in 0usize..6,
        ) {
            let first = calibrate(base, &readings, &policy());
            let mut turned = readings.clone();
            turned.rotate_left(turn.min(readings.len()));
            turned.extend(readings.first().cloned());
            prop_assert_eq!(&calibrate(base, &turned, &policy()), &first, "neither order nor repetition counts");
            let again: Vec<_> = first.steps.iter().map(|step| step.reading.clone()).collect();
            prop_assert_eq!(calibrate(base, &again, &policy()), first, "what was applied leads there again");
        }
    }
}
