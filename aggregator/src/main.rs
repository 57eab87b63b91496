//! `holdfast-aggregator`: settings to a running aggregator; the library does the rest.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use holdfast_aggregator::serve::Aggregator;
use holdfast_aggregator::settings::Flags;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Keeps one record of every problem in the fleet, and proves every fix.
#[derive(Debug, Parser)]
#[command(name = "holdfast-aggregator", version)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    /// Log as JSON, one object a line
    #[arg(long, env = "HOLDFAST_LOG_JSON")]
    log_json: bool,
    /// What to log: `info`, `debug`, `holdfast_aggregator=debug`
    #[arg(long, env = "HOLDFAST_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("holdfast-aggregator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&cli.log)?)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    if cli.log_json {
        log.json().init();
    } else {
        log.init();
    }
    let aggregator = Aggregator::start(cli.flags.settle()?).await?;
    tracing::info!(api = aggregator.api_url(), agents = aggregator.agents_url(), "serving");
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
        failed = aggregator.failed() => tracing::error!(task = failed, "a part of the aggregator ended by itself"),
    }
    aggregator.stop().await;
    Ok(())
}
