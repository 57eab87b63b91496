//! `holdfast activity`: who or what did what, when and why; and the check that nobody changed it since.

use std::process::ExitCode;

use holdfast_api_types::{Activity, Entry, Time};
use holdfast_model::{FindingId, RootFingerprint};

use crate::cluster;
use crate::context::Context;
use crate::render::{Column, ListOutput};

mod verify;

/// Read the activity log
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast activity --since 2h
  holdfast activity --finding f_35mw3p4zrcwtdj2ksuxvj4pu6q
  holdfast activity --verify --root 3f1c…    # every entry, hashed again, against the signed head

Without --root, --verify asks the server for the root's fingerprint and says so: that finds a damaged log, but not a
server that lies.")]
pub struct Args {
    /// From this time on: 30m, 2h, 7d, or 2026-11-22T14:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = Since::parse)]
    since: Option<Since>,
    /// Of this cluster only, by name or id
    #[arg(long)]
    cluster: Option<String>,
    /// Of this finding only
    #[arg(long, value_name = "ID")]
    finding: Option<FindingId>,
    /// At most this many entries, newest first
    #[arg(long, value_name = "ROWS", default_value_t = 100)]
    limit: usize,
    /// Fetch the whole log and check it: exit code 1 if an entry was changed, moved or lost
    #[arg(long, conflicts_with_all = ["since", "cluster", "finding", "limit"])]
    verify: bool,
    /// SHA-256 of the installation's root certificate, 64 hexadecimal characters
    #[arg(long, value_name = "FINGERPRINT", requires = "verify")]
    root: Option<RootFingerprint>,
    #[command(flatten)]
    output: ListOutput,
}

impl Args {
    /// Fetches and prints.
    pub async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let client = context.client()?;
        if self.verify {
            return verify::run(&client, self.root, self.output.format).await;
        }
        let cluster = match &self.cluster {
            Some(text) => Some(cluster::find(&client, text).await?.to_string()),
            None => None,
        };
        let since = self.since.map(|since| since.before(jiff::Timestamp::now().as_millisecond()).to_string());
        let finding = self.finding.map(|id| id.to_string());
        let filters = [("cluster", cluster), ("finding", finding), ("since", since)];
        let query: Vec<_> = filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let (rows, _) = client.list::<Activity>(&["activity"], &query, Some(self.limit)).await?;
        self.output.print(&rows, COLUMNS, "Nothing has happened.")?;
        Ok(ExitCode::SUCCESS)
    }
}

const COLUMNS: &[Column<Activity>] = &[
    Column::new("at", |row| of(row, |entry| entry.at.to_string())),
    Column::new("event", |row| of(row, |entry| entry.event.clone())),
    Column::new("actor", |row| of(row, |entry| format!("{} {}", entry.actor.kind.as_str(), entry.actor.id))),
    Column::new("finding", |row| of(row, |entry| entry.finding_id.map(|id| id.to_string()).unwrap_or_default())),
    Column::new("cause", |row| of(row, |entry| entry.cause.clone())),
    Column::more("index", |row| row.index.map(|index| index.to_string()).unwrap_or_default()),
    Column::more("cluster", |row| of(row, |entry| entry.cluster_id.map(|id| id.to_string()).unwrap_or_default())),
    Column::more("leaf hash", |row| row.leaf.hash.clone()),
];

/// A field of what happened; empty once retention has dropped it.
fn of(row: &Activity, field: fn(&Entry) -> String) -> String {
    row.entry.as_ref().map(field).unwrap_or_default()
}

/// A moment, or a span before now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    At(Time),
    Ago(i64),
}

impl Since {
    fn parse(text: &str) -> Result<Self, String> {
        let millis = match text.chars().last() {
            Some('m') => 60_000,
            Some('h') => 3_600_000,
            Some('d') => 86_400_000,
            _ => return text.parse().map(Self::At),
        };
        let count: u32 =
            text[..text.len() - 1].parse().map_err(|_| format!("{text:?} is no span: write 30m, 2h or 7d"))?;
        Ok(Self::Ago(i64::from(count) * millis))
    }

    fn before(self, now: i64) -> Time {
        match self {
            Self::At(time) => time,
            Self::Ago(millis) => Time(now.saturating_sub(millis)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_counts_back_from_now_and_a_time_stands() {
        assert_eq!(Since::parse("2h").unwrap().before(10_000_000), Time(2_800_000));
        assert_eq!(Since::parse("1970-01-01T00:00:01Z").unwrap().before(0), Time(1_000));
        for text in ["", "h", "2x", "-1h", "yesterday", "1.5d", "é"] {
            assert!(Since::parse(text).is_err(), "{text}");
        }
    }
}
