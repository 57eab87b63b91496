//! `holdfast-aggregator`: settings to a running aggregator; the library does the rest. Its image has no shell, so what an
//! operator or a chart's test asks of it beside that are subcommands.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use holdfast_aggregator::serve::{ADMIN_TOKEN, Aggregator};
use holdfast_aggregator::settings::Flags;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Keeps one record of every problem in the fleet, and proves every fix.
#[derive(Debug, Parser)]
#[command(name = "holdfast-aggregator", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
    /// Log as JSON, one object a line
    #[arg(long, env = "HOLDFAST_LOG_JSON")]
    log_json: bool,
    /// What to log: `info`, `debug`, `holdfast_aggregator=debug`
    #[arg(long, env = "HOLDFAST_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the first administrator's token, which stands in the data folder, and leave
    AdminToken,
    /// Ask an API whether it is ready, and leave
    Ready {
        /// Where it listens
        #[arg(value_name = "HOST:PORT")]
        api: String,
    },
}

/// How long an API may take to say that it is ready.
const READY: Duration = Duration::from_secs(10);
/// More of an answer is not read.
const ANSWER_BYTES: u64 = 16 * 1024;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        None => run(cli).await,
        Some(Command::AdminToken) => admin_token(cli.flags),
        Some(Command::Ready { api }) => ready(api).await,
    };
    match done {
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

fn admin_token(flags: Flags) -> Result<()> {
    let path = flags.settle()?.data.join(ADMIN_TOKEN);
    let token = std::fs::read_to_string(&path);
    let token = token.with_context(|| format!("reading {}: has the aggregator started yet?", path.display()))?;
    println!("{}", token.trim());
    Ok(())
}

/// One request without a client library: it is the only one that an aggregator ever makes.
async fn ready(api: &str) -> Result<()> {
    let answer = async {
        let mut stream = TcpStream::connect(api).await?;
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = tokio::time::timeout(READY, answer).await;
    let answer = answer.with_context(|| format!("{api} did not answer within {} s", READY.as_secs()))?;
    let answer = answer.with_context(|| format!("asking {api}"))?;
    let status = answer.lines().next().unwrap_or_default().escape_default().to_string();
    ensure!(status.starts_with("HTTP/1.1 200 "), "{api} is not ready: {status}");
    println!("{api} is ready");
    Ok(())
}
