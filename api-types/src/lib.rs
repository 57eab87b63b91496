//! What the REST API says: one struct per answer, the same types for the server that writes them and the clients that read.
//!
//! snake_case JSON; ids and closed lists as text; times as RFC 3339 in UTC with milliseconds; every list is a [`Page`]. Nothing
//! here knows the store or decides anything: the aggregator's `api` fills these from stored records, and `holdfast` prints them.

use holdfast_model::UnixMillis;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

pub mod activity;
pub mod cluster;
pub mod control;
pub mod finding;
pub mod job;
pub mod live;
pub mod pattern;
pub mod problem;
pub mod retest;
pub mod schema;
pub mod token;

pub use activity::{Activity, Actor, ActorKind, ConsistencyProof, Entry, Head, InclusionProof, Leaf};
pub use cluster::{Cluster, Coverage, IssuedJoinToken, NewCluster, NewScope, NodeCoverage, Scope, ScopeProposal};
pub use control::{Control, ControlRow};
pub use finding::{
    ActionResult, Calibration, ClusterCounts, Count, Evidence, Finding, FindingRow, Fix, History, Location, Note,
    Origin, Resource, RuntimeEvidence, Summary,
};
pub use job::Job;
pub use live::LiveEvent;
pub use pattern::{Pattern, PatternRow};
pub use problem::Problem;
pub use retest::Retest;
pub use token::{NewToken, Role, Token, TokenSecret};

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// What is on it, in the list's order.
    pub items: Vec<T>,
    /// Ask again with `cursor` set to this for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A list that is always short enough for one page.
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next_cursor: None }
    }
}

/// A moment, in JSON as `2026-11-22T14:05:29.123Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2026-11-22T14:05:29.123Z")]
pub struct Time(pub UnixMillis);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(moment) => write!(f, "{moment:.3}"),
            Err(_) => write!(f, "@{}ms", self.0),
        }
    }
}

impl std::str::FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<jiff::Timestamp>().map(|moment| Self(moment.as_millisecond())).map_err(|_| {
            let shown: String = text.chars().take(40).flat_map(char::escape_default).collect();
            format!("\"{shown}\" is not a time: write it as 2026-11-22T14:05:29Z")
        })
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The program that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// Version of the aggregator.
    pub version: String,
    /// Version of the API: the `v1` of its paths.
    pub api: String,
    /// SHA-256 of the installation's root certificate, hexadecimal: what `holdfast receipt verify --root` takes.
    pub root_fingerprint: String,
}

/// Liveness and readiness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`, or what is missing.
    pub status: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_utc_with_milliseconds_and_reads_back() {
        let time = Time(1_795_356_329_120);
        assert_eq!(time.to_string(), "2026-11-22T14:05:29.120Z");
        assert_eq!("2026-11-22T15:05:29.12+01:00".parse::<Time>(), Ok(time));
        assert!("yesterday".parse::<Time>().unwrap_err().contains("write it as"));
    }
}
