//! `holdfast patterns`: what repeats across the fleet, so that it is fixed once.

use std::process::ExitCode;

use holdfast_api_types::PatternRow;

use crate::context::Context;
use crate::render::{Column, ListOutput};

/// List what repeats across clusters
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The share is the clusters that have the pattern, of those whose coverage can judge it.

Examples:
  holdfast patterns
  holdfast patterns -o json | jq '.[] | select(.band == \"systemic\")'")]
pub struct Args {
    /// At most this many rows; all of them without it
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
    #[command(flatten)]
    output: ListOutput,
}

impl Args {
    /// Fetches page after page and prints.
    pub async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let (rows, _) = context.client()?.list::<PatternRow>(&["patterns"], &[], self.limit).await?;
        self.output.print(&rows, COLUMNS, "No pattern yet: nothing is wrong, or no cluster has reported.")?;
        Ok(ExitCode::SUCCESS)
    }
}

const COLUMNS: &[Column<PatternRow>] = &[
    Column::new("band", |row| row.band.to_string()),
    Column::new("clusters", |row| format!("{} of {}", row.clusters_affected, row.clusters_judging)),
    Column::new("share", |row| format!("{} %", row.share_percent)),
    Column::new("severity", |row| row.severity.to_string()),
    Column::new("namespace", |row| row.resource.namespace.clone().unwrap_or_default()),
    Column::new("resource", |row| format!("{} {}", row.resource.kind, row.resource.name)),
    Column::new("control", |row| row.control_id.clone()),
    Column::new("id", |row| row.id.to_string()),
    Column::more("title", |row| row.title.clone()),
    Column::more("base severity", |row| row.base_severity.to_string()),
];
