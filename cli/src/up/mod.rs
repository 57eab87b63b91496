//! `holdfast up`: aggregator and agents in one process, over the same enrolment and mTLS that a fleet uses.
//!
//! Without a context it starts a lab of its own, where it was built with one. It never turns to somebody's cluster by itself: a
//! context is named by the user, then its server and the rights are shown, then the user says yes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use holdfast_agent::{AgentConfig, AgentStatus};
use holdfast_aggregator::serve::Aggregator;
use holdfast_aggregator::settings::{DEFAULT_AGENTS, DEFAULT_API, DEFAULT_RECHECK, Settings};
use holdfast_api_types::Summary;
use holdfast_model::{Reach, Severity};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::profile::Profile;
use crate::api::{Client, Endpoint};
use crate::render::remark;

mod join;
#[cfg(feature = "lab")]
mod lab;
mod target;
#[cfg(not(feature = "lab"))]
mod without_lab;
#[cfg(not(feature = "lab"))]
use without_lab as lab;

use lab::Lab;
use target::Target;

/// Start Holdfast here, on clusters of your kubeconfig or on a lab of its own
#[derive(Debug, clap::Args)]
#[command(after_help = lab::HELP)]
pub struct Args {
    /// A context of your kubeconfig to look at (repeatable)
    #[arg(long = "context", value_name = "NAME")]
    contexts: Vec<String>,
    /// Kubeconfig file; without one KUBECONFIG and the usual places
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Folder of everything that is kept from one start to the next
    #[arg(long, env = "HOLDFAST_DATA", value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Where the API listens
    #[arg(long, env = "HOLDFAST_API", value_name = "ADDRESS:PORT", default_value_t = DEFAULT_API)]
    api: SocketAddr,
    /// Where agents are served
    #[arg(long, env = "HOLDFAST_AGENTS", value_name = "ADDRESS:PORT", default_value_t = DEFAULT_AGENTS)]
    agents: SocketAddr,
    /// Fleet policy: bands and what they do to severity
    #[arg(long, env = "HOLDFAST_POLICY", value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Don't ask before turning to the named clusters
    #[arg(long)]
    yes: bool,
}

/// How long a cluster may take to be listed and recorded.
const PATIENCE: Duration = Duration::from_secs(300);

impl Args {
    /// Starts everything, reports the progress, and runs until Ctrl-C.
    pub async fn run(self) -> Result<ExitCode> {
        let data = self.data.clone().map_or_else(default_data, Ok)?;
        let (lab, targets) = if self.contexts.is_empty() {
            let (lab, target) = lab::start(&data).await?;
            (Some(lab), vec![target])
        } else {
            (None, target::named(&self.contexts, self.kubeconfig.as_deref(), self.yes).await?)
        };
        let settings = Settings {
            data: data.join("aggregator"),
            api: self.api,
            agents: self.agents,
            names: Vec::new(),
            policy: self.policy.clone(),
            store: None,
            recheck: Some(DEFAULT_RECHECK),
        };
        let aggregator = Aggregator::start(settings).await?;
        let profile =
            Profile { server: aggregator.api_url(), token: aggregator.admin_token().to_owned(), ca_file: None };
        let saved = profile.save()?;
        let client = Client::new(Endpoint { server: profile.server, token: profile.token, ca_file: None })?;

        let stop = CancellationToken::new();
        let mut statuses = Vec::new();
        for target in targets {
            statuses.push(start_agent(&client, &aggregator, &data, target, stop.clone()).await?);
        }
        until_recorded(&client, &mut statuses).await?;
        print_ready(&client, &aggregator, &saved, lab.as_ref()).await?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = tokio::signal::ctrl_c() => remark("stopping"),
            _ = terminate.recv() => remark("stopping"),
            part = aggregator.failed() => bail!("{part} ended by itself"),
        }
        stop.cancel();
        aggregator.stop().await;
        Ok(ExitCode::SUCCESS)
    }
}

/// `$XDG_DATA_HOME/holdfast`, or `~/.local/share/holdfast`.
fn default_data() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let base = base.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share")));
    Ok(base.context("no place for data: name one with --data")?.join("holdfast"))
}

/// Starts the agent of a cluster: with the credential that it has, or with a join token for the record that knows this
/// fingerprint, or for a new one.
async fn start_agent(
    client: &Client,
    aggregator: &Aggregator,
    data: &Path,
    target: Target,
    stop: CancellationToken,
) -> Result<(String, watch::Receiver<AgentStatus>)> {
    let state = data.join("agents").join(&target.fingerprint);
    let token = join::token(client, &target, &state).await?;
    let mut config = AgentConfig::new(target.kube, aggregator.agents_url(), &state);
    config.name = target.name.clone();
    config.join_token = token;
    let (status, watched) = holdfast_agent::status();
    let name = target.name.clone();
    tokio::spawn(async move {
        if let Err(error) = holdfast_agent::run(config, status, stop).await {
            remark(&format!("the agent of {name} ended: {error:#}"));
        }
    });
    Ok((target.name, watched))
}

/// Waits until every agent has seen everything and the record holds it, reporting how far each is.
async fn until_recorded(client: &Client, statuses: &mut [(String, watch::Receiver<AgentStatus>)]) -> Result<()> {
    let mut expected = 0;
    for (name, status) in statuses.iter_mut() {
        remark(&format!("{name}: listing"));
        let listed = status.wait_for(|agent| agent.progress.synced && agent.link.connected);
        let agent = tokio::time::timeout(PATIENCE, listed).await;
        let agent =
            agent.with_context(|| format!("{name} was not listed within {} s: see above", PATIENCE.as_secs()))??;
        remark(&format!("{name}: {} resources judged, {} problems", agent.progress.subjects, agent.progress.failing));
        expected += agent.progress.failing as u64;
    }
    let deadline = Instant::now() + PATIENCE;
    while recorded(&client.get(&["summary"]).await?) < expected && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

fn recorded(summary: &Summary) -> u64 {
    summary.counts.iter().map(|count| count.findings).sum()
}

async fn print_ready(client: &Client, aggregator: &Aggregator, profile: &Path, lab: Option<&Lab>) -> Result<()> {
    let summary: Summary = client.get(&["summary"]).await?;
    remark("");
    remark("open findings:");
    for severity in Severity::ALL.iter().rev() {
        let counts = summary.counts.iter().filter(|count| count.severity == *severity && count.status.is_active());
        let open: u64 = counts.map(|count| count.findings).sum();
        remark(&format!("  {severity:<9} {open:>5}   holdfast findings --severity {severity}"));
    }
    for reach in Reach::ALL.iter().rev() {
        let proved: u64 =
            summary.counts.iter().filter(|count| count.reach == Some(*reach)).map(|count| count.findings).sum();
        if proved > 0 {
            remark(&format!("  verified  {proved:>5}   reach {reach}"));
        }
    }
    remark("");
    remark(&format!("API      {}/api/v1   described at /api/v1/openapi.json", aggregator.api_url()));
    remark(&format!("sign in  the token stands in {}; `holdfast` finds it there by itself", profile.display()));
    remark(&format!("root     {}   for `holdfast receipt verify`", aggregator.state().authority.fingerprint()));
    if let Some(lab) = lab {
        lab.print_access();
    }
    remark("Ctrl-C ends it; what it knows is kept");
    Ok(())
}
