//! What a band does to a severity: named rules of a policy that somebody approved, and the words of the events that follow.
//!
//! A calibrated severity is always reckoned from the catalog's, never from the one before: so the way back is the way
//! there. The policy is data; it is shipped unapproved and says so in every event until somebody puts their name to it.

use holdfast_model::{Activity, Actor, Band, PatternId, Reading, Severity, UnixMillis};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::fleet::Bands;

/// Stands where an approver would.
pub const UNAPPROVED: &str = "shipped, unapproved";

/// How the spread of a pattern moves severities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FleetPolicy {
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

/// What raises a severity, as a finding keeps it and people are shown it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raise {
    /// By how many steps.
    pub steps: u8,
    /// The policy's rule.
    pub rule: String,
    /// Why, for people.
    pub rationale: String,
    /// Who approved the policy.
    pub approver: String,
}

impl Raise {
    /// What was read, by which rule, approved by whom.
    pub fn facts(&self, count: u64) -> Value {
        json!({ "count": count, "rule": self.rule, "rationale": self.rationale, "approver": self.approver })
    }
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

impl FleetPolicy {
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

    /// What evidence from the kernel does to a severity, if anything.
    pub fn raise(&self) -> Option<Raise> {
        let RuntimeRule { name, raise, rationale } = self.runtime.clone()?;
        let approver = self.approver().to_owned();
        (raise > 0).then_some(Raise { steps: raise, rule: name, rationale, approver })
    }

    /// The rule of a band, if it has one.
    pub fn rule(&self, band: Band) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.band == band)
    }

    /// The severity in force for a finding whose pattern is in this band; none where that is the catalog's own.
    pub fn severity(&self, base: Severity, band: Band) -> Option<Severity> {
        let at = Severity::ALL.iter().position(|&severity| severity == base)?;
        let steps = isize::from(self.rule(band)?.raise);
        let moved = at.saturating_add_signed(steps).min(Severity::ALL.len() - 1);
        Severity::ALL.get(moved).copied().filter(|&severity| severity != base)
    }
}

/// A pattern that crossed into another band.
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
    pub policy: &'a FleetPolicy,
}

impl Crossing<'_> {
    /// The one event of the pattern, which the events of its findings cite.
    pub fn event(&self, at: UnixMillis) -> Activity {
        let Self { pattern, from, to, reading, policy } = self;
        let mut detail = facts(reading, policy, *to);
        detail["pattern"] = json!(pattern);
        detail["from"] = json!(from);
        Activity {
            at,
            actor: Actor::Holdfast("fleet".into()),
            event: "pattern-band-changed".to_owned(),
            cluster: None,
            finding: None,
            cause: format!("{}: the pattern was {from} and is {to} now", spread(reading)),
            detail,
        }
    }
}

/// Why the severity of a pattern's findings is what it is: the sentence and the facts for their events.
pub fn reason(
    pattern: PatternId,
    pattern_event: &str,
    reading: Reading,
    policy: &FleetPolicy,
    band: Band,
) -> (String, Value) {
    let mut detail = facts(&reading, policy, band);
    detail["pattern"] = json!(pattern);
    detail["pattern_event"] = json!(pattern_event);
    let cause = match policy.rule(band) {
        Some(rule) => format!("{}, so it is {band}: rule {}", spread(&reading), rule.name),
        None => format!("{}, so it is {band}: no rule moves the severity", spread(&reading)),
    };
    (cause, detail)
}

fn spread(reading: &Reading) -> String {
    let Reading { clusters, judging } = reading;
    format!("{clusters} of {} clusters have it", judging.max(clusters))
}

fn facts(reading: &Reading, policy: &FleetPolicy, band: Band) -> Value {
    let rule = policy.rule(band);
    json!({
        "band": band,
        "clusters": reading.clusters,
        "judging": reading.judging,
        "share_percent": reading.share_percent(),
        "policy": policy.name,
        "rule": rule.map_or("none", |rule| rule.name.as_str()),
        "rationale": rule.map_or("in this band the catalog's severity counts", |rule| rule.rationale.as_str()),
        "approver": policy.approver(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Entry;

    fn policy() -> FleetPolicy {
        let entry = |clusters, share_percent| Entry { clusters, share_percent };
        let rule = |name: &str, band, raise| Rule { name: name.into(), band, raise, rationale: "because".into() };
        FleetPolicy {
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

    #[test]
    fn a_rule_moves_from_the_catalogs_severity_and_stops_at_the_ends() {
        use Severity::*;
        for (base, band, then) in [
            (Medium, Band::Several, None),
            (Medium, Band::Widespread, Some(High)),
            (Medium, Band::Systemic, Some(Critical)),
            (High, Band::Systemic, Some(Critical)),
            (Critical, Band::Systemic, None),
            (Medium, Band::Isolated, Some(Low)),
            (Info, Band::Isolated, None),
        ] {
            assert_eq!(policy().severity(base, band), then, "{base} in {band}");
        }
    }

    #[test]
    fn events_cite_the_reading_the_rule_and_the_approver() {
        let (mut policy, reading) = (policy(), Reading { clusters: 4, judging: 10 });
        let pattern = PatternId::from_bytes([1; 16]);
        let crossing = Crossing { pattern, from: Band::Several, to: Band::Widespread, reading, policy: &policy };
        let event = crossing.event(7);
        assert_eq!(event.cause, "4 of 10 clusters have it: the pattern was several and is widespread now");
        assert_eq!((&event.detail["rule"], &event.detail["approver"]), (&json!("up"), &json!(UNAPPROVED)));
        assert_eq!(event.detail["share_percent"], json!(40));

        policy.approver = Some("Ada of the security board".into());
        let (cause, detail) = reason(pattern, "ab12", reading, &policy, Band::Widespread);
        assert_eq!(cause, "4 of 10 clusters have it, so it is widespread: rule up");
        assert_eq!(
            (&detail["pattern_event"], &detail["approver"]),
            (&json!("ab12"), &json!("Ada of the security board"))
        );
    }

    #[test]
    fn a_policy_that_contradicts_itself_is_told() {
        assert_eq!(policy().problem(), None);
        let broken = |break_it: fn(&mut FleetPolicy)| {
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
        let raise = policy.raise().unwrap();
        assert_eq!((raise.steps, raise.rule.as_str(), raise.approver.as_str()), (1, "seen", UNAPPROVED));
        assert_eq!(raise.facts(7)["rule"], json!("seen"));
        policy.runtime.iter_mut().for_each(|rule| rule.raise = 0);
        assert_eq!(policy.raise(), None);
        policy.runtime = None;
        assert_eq!(policy.raise(), None);
    }
}
