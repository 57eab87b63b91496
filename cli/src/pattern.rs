//! `holdfast pattern show`: how far one problem has spread, what that changed, and where it is.

use std::process::ExitCode;

use clap::Subcommand;
use holdfast_api_types::Pattern;
use holdfast_model::PatternId;

use crate::context::Context;
use crate::render::RecordOutput;
use crate::render::escape::line;
use crate::render::paint::{heading, word};

/// One pattern: its share of the fleet, its band, the clusters that have it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast pattern show p_5dgqlbw3p3rzqieaso5w63lcie")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show a pattern
    Show {
        /// Its id, `p_…`
        id: PatternId,
        #[command(flatten)]
        output: RecordOutput,
    },
}

impl Args {
    /// Fetches and prints.
    pub async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let Action::Show { id, output } = self.action;
        let pattern: Pattern = context.client()?.get(&["patterns", &id.to_string()]).await?;
        output.print(&pattern, text)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn text(pattern: &Pattern) -> String {
    let row = &pattern.row;
    let place = row.resource.namespace.as_deref().map_or(String::new(), |namespace| format!("{namespace}/"));
    let resource = line(&format!("{} {place}{}", row.resource.kind, row.resource.name));
    let since = pattern.band_since.map_or(String::new(), |at| format!(" since {at}"));
    let mut out = format!("{}\n{resource}\n\n", heading(&line(&row.title)));
    let mut field = |name: &str, value: String| out.push_str(&format!("  {name:<14}{value}\n"));
    field("control", line(&row.control_id));
    field("spread", format!("{} of {} clusters, {} %", row.clusters_affected, row.clusters_judging, row.share_percent));
    field("band", format!("{}{since}", word(row.band.as_str())));
    field("severity", format!("{}, by the catalog {}", word(row.severity.as_str()), row.base_severity));
    if let (Some(rule), Some(approver)) = (&pattern.rule, &pattern.approver) {
        field("rule", format!("{} (approved by {})", line(rule), line(approver)));
    }
    out.push_str(&format!("\n{}\n  {}\n\n{}\n", heading("Fix"), line(&pattern.remediation), heading("Clusters")));
    for finding in &pattern.findings {
        out.push_str(&format!("  {}  {}  {}\n", line(&finding.cluster), word(finding.status.as_str()), finding.id));
    }
    out
}
