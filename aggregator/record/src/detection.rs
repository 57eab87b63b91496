//! A detection: one source's statement that a control fails on a resource, at some locations.
//!
//! A finding is the one record of (cluster, resource, control); its detections are its evidence, one for each source: Holdfast's
//! posture, Holdfast's kernel sensors, every imported tool. A detection knows nothing of the finding's status: what follows
//! from it is decided in [`crate::lifecycle`]. What a source's silence means stands here, in [`silence`], and nowhere else.

use std::fmt;
use std::str::FromStr;

use holdfast_model::digest::StatementHash;
use holdfast_model::{Location, Occurrences, Severity, UnixMillis};
use serde::{Deserialize, Serialize};

/// Who states it. In the order in which their locations are shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Source {
    /// Holdfast's agent, from the objects: what they ask for.
    Posture,
    /// Holdfast's agent, from the kernel: what runs and what it does.
    Kernel,
    /// Another tool, by its name, whose results are imported.
    Tool(String),
}

/// What it means that a source no longer states what it stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// A question, never an answer: the finding is retested.
    Asks,
    /// Nothing: what happened once needs not happen again.
    MeansNothing,
    /// The source's own detection has ended. Where Holdfast cannot judge and no other source stands, the finding resolves.
    EndsDetection,
}

/// What the silence of this source means, when it has looked at everything and does not state the failure again.
pub fn silence(source: &Source) -> Silence {
    match source {
        Source::Posture => Silence::Asks,
        Source::Kernel => Silence::MeansNothing,
        Source::Tool(_) => Silence::EndsDetection,
    }
}

/// Whether a source's statement holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It is the last thing that the source stated.
    #[default]
    Stands,
    /// The source, or a proof that covers what the source sees, has ended it.
    Ended,
    /// It stands, and a retest made after it found the control passing.
    Disputed,
}

/// By which rule a source judged: its own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// The finding's own control.
    Control {
        /// Its version.
        version: u32,
    },
    /// Another tool's rule.
    Foreign {
        /// The tool's id of it.
        id: String,
        /// The edition of the tool's rules; empty where it has none.
        edition: String,
        /// What the tool says of the failure.
        message: String,
    },
}

/// One source's statement about one finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detection {
    /// Who states it.
    pub source: Source,
    /// Whether it holds now.
    pub standing: Standing,
    /// By which rule.
    pub rule: Rule,
    /// The source's own severity.
    pub severity: Severity,
    /// Where, how often, first and last when. The posture's locations are its last statement's, whole; those of other sources
    /// are folded to the first few.
    pub seen: Occurrences,
    /// The posture's alone: the hash by which the agent's ledger holds it. None while the ledger does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<StatementHash>,
}

impl Detection {
    /// A failing statement of the posture.
    pub fn posture(severity: Severity, version: u32, locations: Vec<Location>, at: UnixMillis) -> Self {
        let seen = Occurrences { locations, count: 1, first_seen_at: at, last_seen_at: at };
        Self::new(Source::Posture, Rule::Control { version }, severity, seen)
    }

    /// What the kernel sensors observed.
    pub fn kernel(severity: Severity, version: u32, seen: Occurrences) -> Self {
        Self::new(Source::Kernel, Rule::Control { version }, severity, seen)
    }

    /// A detection that stands.
    pub fn new(source: Source, rule: Rule, severity: Severity, seen: Occurrences) -> Self {
        Self { source, standing: Standing::Stands, rule, severity, seen, statement: None }
    }

    /// Whether the source still states it, disputed or not.
    pub fn is_standing(&self) -> bool {
        self.standing != Standing::Ended
    }

    /// Whether it was observed after this moment.
    pub fn is_later_than(&self, at: UnixMillis) -> bool {
        self.seen.last_seen_at > at
    }

    /// Takes in what the same source states anew; the answer is whether that is news: a location that was not known, or a
    /// statement that had ended. What had ended starts over, but for its first time.
    pub fn fold(&mut self, newer: Self) -> bool {
        let ended = self.standing == Standing::Ended;
        let first = self.seen.first_seen_at.min(newer.seen.first_seen_at);
        if ended {
            *self = newer;
            self.seen.first_seen_at = first;
            return true;
        }
        (self.rule, self.severity) = (newer.rule, newer.severity);
        self.seen.fold(&newer.seen)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Posture => f.write_str("posture"),
            Self::Kernel => f.write_str("kernel"),
            Self::Tool(name) => write!(f, "tool:{name}"),
        }
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "posture" => Ok(Self::Posture),
            "kernel" => Ok(Self::Kernel),
            _ => match text.strip_prefix("tool:").filter(|name| !name.is_empty()) {
                Some(name) => Ok(Self::Tool(name.to_owned())),
                None => Err(format!("{:?} is not a source", text.chars().take(40).collect::<String>())),
            },
        }
    }
}

impl From<Source> for String {
    fn from(source: Source) -> Self {
        source.to_string()
    }
}

impl TryFrom<String> for Source {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_one_text_and_is_read_back() {
        for (source, text) in
            [(Source::Posture, "posture"), (Source::Kernel, "kernel"), (Source::Tool("trivy".into()), "tool:trivy")]
        {
            assert_eq!((source.to_string().as_str(), text.parse()), (text, Ok(source)));
        }
        assert!("tool:".parse::<Source>().is_err() && "agent".parse::<Source>().is_err());
    }

    #[test]
    fn what_had_ended_starts_over_and_remembers_its_first_time() {
        let at = |at, value: &str| {
            Detection::kernel(Severity::High, 1, Occurrences::once(vec![Location::field("process", value)], at))
        };
        let mut detection = at(10, "a");
        assert!(!detection.fold(at(20, "a")), "more of the same");
        assert!(detection.fold(at(30, "b")), "another fact");
        assert_eq!((detection.seen.count, detection.seen.locations.len()), (3, 2));
        detection.standing = Standing::Ended;
        assert!(detection.fold(at(40, "a")));
        let Occurrences { count, first_seen_at, last_seen_at, .. } = detection.seen;
        assert_eq!((detection.standing, count, first_seen_at, last_seen_at), (Standing::Stands, 1, 10, 40));
    }
}
