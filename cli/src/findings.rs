//! `holdfast findings`: the list, filtered by the server, in the form that was asked for.

use std::process::ExitCode;

use holdfast_api_types::FindingRow;
use holdfast_model::{Severity, Status};

use crate::cluster;
use crate::context::Context;
use crate::render::{Column, ListOutput, remark};

/// List findings
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --status, the findings that still count are listed: open, in-progress and resolved.
A resolved finding is claimed or seen to be fixed, and not proved yet.

Examples:
  holdfast findings --severity critical,high
  holdfast findings --cluster prod-eu --namespace shop -o csv > shop.csv
  holdfast findings --status verified -o json | jq '.[].id'")]
pub struct Args {
    /// Cluster, by name or id
    #[arg(long)]
    cluster: Option<String>,
    /// Namespace
    #[arg(long, short = 'n')]
    namespace: Option<String>,
    /// Control, as `workload.privileged`
    #[arg(long)]
    control: Option<String>,
    /// One or more of critical, high, medium, low, info
    #[arg(long, value_delimiter = ',', value_name = "SEVERITY")]
    severity: Vec<Severity>,
    /// One or more of open, in-progress, resolved, verified, retired
    #[arg(long, value_delimiter = ',', value_name = "STATUS")]
    status: Vec<Status>,
    /// Owner, as the resource's labels name it
    #[arg(long)]
    owner: Option<String>,
    /// Text in the resource's name
    #[arg(long, short = 'q', value_name = "TEXT")]
    query: Option<String>,
    /// At most this many rows; all of them without it
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
    #[command(flatten)]
    output: ListOutput,
}

impl Args {
    /// Fetches page after page and prints.
    pub async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let client = context.client()?;
        let cluster = match &self.cluster {
            Some(text) => Some(cluster::find(&client, text).await?.to_string()),
            None => None,
        };
        let (rows, more) = client.list::<FindingRow>(&["findings"], &self.filter(cluster), self.limit).await?;
        self.output.print(&rows, COLUMNS, "No finding matches.")?;
        if more {
            remark(&format!("There are more than these {}: raise --limit, or leave it out.", rows.len()));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn filter(&self, cluster: Option<String>) -> Vec<(&'static str, String)> {
        let words = |words: Vec<&str>| (!words.is_empty()).then(|| words.join(","));
        let active = || Status::ALL.iter().filter(|status| status.is_active()).map(|status| status.as_str()).collect();
        let status = match self.status.as_slice() {
            [] => active(),
            some => some.iter().map(|status| status.as_str()).collect(),
        };
        let filters = [
            ("cluster", cluster),
            ("namespace", self.namespace.clone()),
            ("control", self.control.clone()),
            ("severity", words(self.severity.iter().map(|severity| severity.as_str()).collect())),
            ("status", words(status)),
            ("owner", self.owner.clone()),
            ("q", self.query.clone()),
        ];
        filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// The columns of a list of findings.
pub const COLUMNS: &[Column<FindingRow>] = &[
    Column::new("severity", |row| row.severity.to_string()),
    Column::new("status", |row| row.status.to_string()),
    Column::new("cluster", |row| row.cluster.clone()),
    Column::new("namespace", |row| row.resource.namespace.clone().unwrap_or_default()),
    Column::new("resource", |row| format!("{} {}", row.resource.kind, row.resource.name)),
    Column::new("control", |row| row.control_id.clone()),
    Column::new("owner", |row| row.owner.clone().unwrap_or_default()),
    Column::new("id", |row| row.id.to_string()),
    Column::more("title", |row| row.title.clone()),
    Column::more("base severity", |row| row.base_severity.to_string()),
    Column::more("reach", |row| row.reach.map(|reach| reach.to_string()).unwrap_or_default()),
    Column::more("first seen at", |row| row.first_seen_at.to_string()),
    Column::more("status at", |row| row.status_at.to_string()),
    Column::more("reopened", |row| row.reopened.to_string()),
    Column::more("api group", |row| row.resource.group.clone()),
    Column::more("cluster id", |row| row.cluster_id.to_string()),
    Column::more("pattern id", |row| row.pattern_id.to_string()),
];

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches};

    use super::*;

    fn parse(line: &[&str]) -> Args {
        let matches = Args::augment_args(Command::new("findings")).get_matches_from(line);
        Args::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn without_a_status_only_what_still_counts_is_listed() {
        assert_eq!(parse(&["findings"]).filter(None), [("status", "open,in-progress,resolved".to_owned())]);
    }

    #[test]
    fn several_severities_travel_as_one_list() {
        let filter = parse(&["findings", "--severity", "high,critical", "--status", "open"]).filter(Some("c_1".into()));
        let expected = [("cluster", "c_1"), ("severity", "high,critical"), ("status", "open")];
        assert_eq!(filter, expected.map(|(name, value)| (name, value.to_owned())));
    }
}
