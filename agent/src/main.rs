//! `holdfast-agent`: flags and environment to an agent's configuration; the library does the rest.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use holdfast_agent::{AgentConfig, KubeSource, rights};
use holdfast_model::join_token::JoinToken;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Watches one Kubernetes cluster for Holdfast. It reads, and changes nothing.
#[derive(Parser)]
#[command(name = "holdfast-agent", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Subcommand)]
enum Command {
    /// Print the rights that the agent needs in its cluster, each with its reason, and leave.
    Rights,
}

#[derive(Args)]
struct Run {
    /// Address of the aggregator.
    #[arg(long, env = "HOLDFAST_AGGREGATOR", value_name = "https://HOST:PORT")]
    aggregator: Option<String>,
    /// Folder that keeps the agent's key and certificate from one start to the next.
    #[arg(long, env = "HOLDFAST_STATE_DIR", value_name = "FOLDER", default_value = "holdfast-agent-state")]
    state_dir: PathBuf,
    /// Join token, as `holdfast cluster token` prints it. Needed for the first start only. Prefer the environment or a
    /// file: other users of this machine may see the command line.
    #[arg(long, env = "HOLDFAST_JOIN_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    join_token: Option<String>,
    /// File that holds the join token.
    #[arg(long, env = "HOLDFAST_JOIN_TOKEN_FILE", value_name = "FILE", conflicts_with = "join_token")]
    join_token_file: Option<PathBuf>,
    /// Kubeconfig file. Without one KUBECONFIG and the usual places are tried, and inside a Pod its service account.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; its current one where none is named.
    #[arg(long, env = "HOLDFAST_CONTEXT", value_name = "NAME")]
    context: Option<String>,
    /// Use the service account of the Pod that the agent runs in.
    #[arg(long, env = "HOLDFAST_IN_CLUSTER", conflicts_with_all = ["kubeconfig", "context"])]
    in_cluster: bool,
    /// Name of this agent in its logs.
    #[arg(long, env = "HOLDFAST_NAME", default_value = "agent", value_name = "NAME")]
    name: String,
    /// Log as JSON, one object a line.
    #[arg(long, env = "HOLDFAST_LOG_JSON")]
    log_json: bool,
    /// What to log: `info`, `debug`, `holdfast_agent=debug`.
    #[arg(long, env = "HOLDFAST_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Command::Rights) => {
            print_rights();
            Ok(())
        }
        None => run(cli.run).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("holdfast-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(run: Run) -> Result<()> {
    start_log(&run)?;
    let config = config(run)?;
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone()));
    let (status, _told) = holdfast_agent::status();
    holdfast_agent::run(config, status, stop).await
}

fn config(run: Run) -> Result<AgentConfig> {
    let aggregator = run.aggregator.context("no aggregator: give --aggregator or HOLDFAST_AGGREGATOR")?;
    let kube = if run.in_cluster {
        KubeSource::InCluster
    } else {
        KubeSource::Kubeconfig { path: run.kubeconfig, context: run.context }
    };
    let token = match (run.join_token, run.join_token_file) {
        (Some(token), _) => Some(token),
        (None, Some(file)) => {
            Some(std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?)
        }
        (None, None) => None,
    };
    let join_token = token.map(|token| token.parse::<JoinToken>()).transpose().map_err(anyhow::Error::msg)?;
    Ok(AgentConfig { join_token, name: run.name, ..AgentConfig::new(kube, aggregator, run.state_dir) })
}

fn start_log(run: &Run) -> Result<()> {
    let filter = EnvFilter::try_new(&run.log).with_context(|| format!("{:?} is no log filter", run.log))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    if run.log_json {
        log.json().init()
    } else {
        log.init()
    }
    Ok(())
}

async fn stop_on_signal(stop: CancellationToken) {
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated => {}
    }
    stop.cancel();
}

fn print_rights() {
    for right in rights::rights() {
        let resource = match right.group {
            "" => right.resource.to_owned(),
            group => format!("{}.{group}", right.resource),
        };
        println!("{resource:<45} {:<16} {}", right.verbs.join(","), right.reason);
    }
}
