//! `holdfast receipt`: the signed evidence of a verdict, fetched and checked.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use holdfast_aggregator::api::view::Finding;
use holdfast_model::{FindingId, Receipt, RetestId};

use crate::api::Client;
use crate::context::Context;
use crate::render::{remark, write};

/// Receipts: the signed evidence of a verdict
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast receipt get f_35mw3p4zrcwtdj2ksuxvj4pu6q -o receipt.json")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Fetch a receipt, byte for byte as it was signed
    Get {
        /// A retest, `r_…`, or a finding, `f_…`: then its latest receipt
        id: String,
        /// Write it to this file instead of the terminal
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

impl Args {
    /// Does what the subcommand says.
    pub async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Get { id, output } => get(&context.client()?, &id, output.as_deref()).await,
        }
    }
}

async fn get(client: &Client, id: &str, output: Option<&Path>) -> anyhow::Result<ExitCode> {
    let retest = retest_of(client, id).await?;
    let receipt: Receipt = client.get(&["receipts", &retest.to_string()]).await?;
    let text = serde_json::to_string_pretty(&receipt)? + "\n";
    match output {
        None => write(&text)?,
        Some(file) => {
            std::fs::write(file, text).with_context(|| format!("{} can't be written", file.display()))?;
            remark(&format!("Written to {}.", file.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The retest that was named, or the latest of the named finding that left a receipt.
async fn retest_of(client: &Client, id: &str) -> anyhow::Result<RetestId> {
    if let Ok(retest) = id.parse() {
        return Ok(retest);
    }
    let finding: FindingId =
        id.parse().map_err(|_| anyhow::anyhow!("{id:?} is neither a retest (`r_…`) nor a finding (`f_…`)"))?;
    let finding: Finding = client.get(&["findings", &finding.to_string()]).await?;
    let retest = finding.retests.iter().find(|retest| retest.receipt);
    retest.map(|retest| retest.id).with_context(|| format!("{id} has no receipt yet: it was not retested to a verdict"))
}
