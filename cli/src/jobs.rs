//! `holdfast jobs`: the aggregator's background work and how it fares.

use std::process::ExitCode;

use holdfast_api_types::Job;

use crate::context::Context;
use crate::render::{Column, ListOutput};

/// List the aggregator's background work: what each job did last, how long it took, and what went wrong
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast jobs
  holdfast jobs -o json | jq '.[] | select(.last_error != null)'")]
pub struct Args {
    #[command(flatten)]
    output: ListOutput,
}

impl Args {
    /// Fetches and prints. A job whose last pass failed makes the answer a bad one.
    pub async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let (rows, _) = context.client()?.list::<Job>(&["jobs"], &[], None).await?;
        self.output.print(&rows, COLUMNS, "This aggregator has no background work.")?;
        let has_failed = rows.iter().any(|job| job.last_error.is_some());
        Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

const COLUMNS: &[Column<Job>] = &[
    Column::new("job", |job| job.name.clone()),
    Column::new("every", |job| format!("{} s", job.period_seconds)),
    Column::new("passes", |job| job.passes.to_string()),
    Column::new("failed", |job| job.failures.to_string()),
    Column::new("last", |job| job.last_at.map_or_else(String::new, |at| at.to_string())),
    Column::new("took", |job| format!("{} ms", job.last_took_ms)),
    Column::new("did", |job| job.last_did.clone().unwrap_or_default()),
    Column::new("error", |job| job.last_error.clone().unwrap_or_default()),
];
