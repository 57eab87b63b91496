//! `holdfast up`: aggregator and agents in one process, over the same enrolment and mTLS that a fleet uses.
//!
//! Without a context it starts a lab of its own. It never turns to somebody's cluster by itself: a context is named by the
//! user, then its server and the rights are shown, then the user says yes.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use holdfast_agent::credential::StateDir;
use holdfast_agent::rights::{self, Scope, Subject};
use holdfast_agent::{AgentConfig, AgentStatus, KubeSource};
use holdfast_aggregator::api::view::{self, Cluster, NewCluster, Page, Summary};
use holdfast_aggregator::serve::Aggregator;
use holdfast_aggregator::settings::{DEFAULT_AGENTS, DEFAULT_API, DEFAULT_RECHECK, Settings};
use holdfast_lab::{ControlPlane, Options, apply};
use holdfast_model::{JoinToken, Reach, Severity};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::profile::Profile;
use crate::api::{Client, Endpoint};
use crate::render::{escape, remark};

/// The user as whom the lab's agent speaks to its API server.
const LAB_AGENT: &str = "holdfast-agent";

/// Start Holdfast here: on a lab of its own, or on clusters of your kubeconfig
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --context it starts a real Kubernetes control plane with good and bad workloads in it, and looks at that.
With --context it names the server and every right that it will use, asks, and then only reads. Secrets are never read.

Examples:
  holdfast up
  holdfast up --context prod-eu --context prod-us
  holdfast up --policy fleet.yaml --data /var/lib/holdfast")]
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

/// One cluster to look at.
struct Target {
    name: String,
    kube: KubeSource,
    fingerprint: String,
}

impl Args {
    /// Starts everything, tells how it comes along, and runs until Ctrl-C.
    pub async fn run(self) -> Result<ExitCode> {
        let data = self.data.clone().map_or_else(default_data, Ok)?;
        let (lab, targets) = if self.contexts.is_empty() {
            let (lab, target) = start_lab(&data).await?;
            (Some(lab), vec![target])
        } else {
            (None, self.named_targets().await?)
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
            _ = tokio::signal::ctrl_c() => say("stopping"),
            _ = terminate.recv() => say("stopping"),
            part = aggregator.failed() => bail!("{part} ended by itself"),
        }
        stop.cancel();
        aggregator.stop().await;
        Ok(ExitCode::SUCCESS)
    }

    /// The contexts that the user named, after the user has seen what that means.
    async fn named_targets(&self) -> Result<Vec<Target>> {
        let mut targets = Vec::new();
        for context in &self.contexts {
            let config = match &self.kubeconfig {
                Some(path) => Kubeconfig::read_from(path)?,
                None => Kubeconfig::read()?,
            };
            let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
            let config = kube::Config::from_custom_kubeconfig(config, &options).await;
            let config = config.with_context(|| format!("the context {context:?} of your kubeconfig can't be used"))?;
            say(&format!("{} is {}", escape::line(context), config.cluster_url));
            targets.push((context.clone(), kube::Client::try_from(config)?));
        }
        say("Holdfast will use these rights there, with your credentials, and no others:");
        for right in rights::rights() {
            let group = if right.group.is_empty() { String::new() } else { format!(".{}", right.group) };
            say(&format!("  {:<18} {}{group}: {}", right.verbs.join(", "), right.resource, right.reason));
        }
        if !self.yes && !agreed()? {
            bail!("nothing was done; run it again with --yes to agree beforehand");
        }
        let mut found = Vec::new();
        for (name, client) in targets {
            let fingerprint = fingerprint(&client).await.with_context(|| format!("{name:?} does not answer"))?;
            found.push(Target { name: cluster_name(&name), kube: KubeSource::Client(client), fingerprint });
        }
        Ok(found)
    }
}

fn say(line: &str) {
    remark(line);
}

fn agreed() -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    eprint!("Go on? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// `$XDG_DATA_HOME/holdfast`, or `~/.local/share/holdfast`.
fn default_data() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let base = base.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share")));
    Ok(base.context("no place for data: name one with --data")?.join("holdfast"))
}

/// The uid of kube-system: what makes this cluster this cluster.
async fn fingerprint(client: &kube::Client) -> Result<String> {
    let request = http::Request::get("/api/v1/namespaces/kube-system").body(Vec::new())?;
    let namespace: serde_json::Value = client.request(request).await?;
    let uid = namespace["metadata"]["uid"].as_str().context("kube-system has no uid")?;
    Ok(uid.to_owned())
}

/// A context's name as a cluster's: `arn:aws:eks:…/prod` becomes `arn-aws-eks-prod`.
fn cluster_name(context: &str) -> String {
    let allowed = |letter: char| matches!(letter, 'a'..='z' | '0'..='9' | '-' | '.');
    let mut name = String::new();
    for letter in context.to_lowercase().chars().map(|letter| if allowed(letter) { letter } else { '-' }) {
        if !(letter == '-' && name.ends_with('-')) {
            name.push(letter);
        }
    }
    let name: String = name.trim_matches(['-', '.']).chars().take(63).collect();
    if name.is_empty() { "cluster".to_owned() } else { name.trim_end_matches(['-', '.']).to_owned() }
}

/// A lab with its planted workloads, and its agent's rights: what it lists, no more.
async fn start_lab(data: &Path) -> Result<(ControlPlane, Target)> {
    say("starting a lab: a real Kubernetes control plane of its own");
    let options = Options { folder: Some(data.join("lab")), nodes: 1, ..Options::default() };
    let lab = ControlPlane::start_with("lab", options, say).await?;
    say("planting workloads, good and bad");
    lab.plant().await?;
    let admin = lab.client().await?;
    let user = Subject::User(LAB_AGENT);
    apply(&admin, &rights::grant(LAB_AGENT, Scope::Cluster, user, &rights::rights())).await?;
    let kube = KubeSource::Client(lab.client_for(LAB_AGENT, &[]).await?);
    let fingerprint = fingerprint(&admin).await?;
    Ok((lab, Target { name: "lab".to_owned(), kube, fingerprint }))
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
    let token = join_token(client, &target, &state).await?;
    let mut config = AgentConfig::new(target.kube, aggregator.agents_url(), &state);
    config.name = target.name.clone();
    config.join_token = token;
    let (status, told) = holdfast_agent::status();
    let name = target.name.clone();
    tokio::spawn(async move {
        if let Err(error) = holdfast_agent::run(config, status, stop).await {
            say(&format!("the agent of {name} ended: {error:#}"));
        }
    });
    Ok((target.name, told))
}

/// A token for the record that knows this fingerprint, or for a new one; none where the agent kept a credential of a
/// cluster that is still on record.
async fn join_token(client: &Client, target: &Target, state: &Path) -> Result<Option<JoinToken>> {
    let Page { items: clusters, .. } = client.get::<Page<Cluster>>(&["clusters"]).await?;
    let active = clusters.iter().filter(|cluster| cluster.revoked_at.is_none());
    let known = active.clone().find(|cluster| cluster.fingerprint.as_ref() == Some(&target.fingerprint));
    let kept = StateDir::open(state)?.credential()?.map(|credential| credential.cluster);
    if kept.is_some_and(|kept| known.is_some_and(|known| known.id == kept)) {
        return Ok(None);
    }
    let shown: view::JoinToken = match known {
        Some(cluster) => client.post(&["clusters", &cluster.id.to_string(), "tokens"], &json!({})).await?,
        None => {
            let unused = |name: &String| clusters.iter().all(|cluster| cluster.name != *name);
            let numbered = (2..).map(|number| format!("{}-{number}", target.name));
            let name = std::iter::once(target.name.clone()).chain(numbered).find(unused).unwrap_or_default();
            client.post(&["clusters"], &NewCluster { name }).await?
        }
    };
    let token = shown.token.parse();
    token.map(Some).map_err(|problem: String| anyhow::anyhow!("the server's join token is unreadable: {problem}"))
}

/// Waits until every agent has seen everything and the record holds it, telling how far each is.
async fn until_recorded(client: &Client, statuses: &mut [(String, watch::Receiver<AgentStatus>)]) -> Result<()> {
    let mut expected = 0;
    for (name, status) in statuses.iter_mut() {
        say(&format!("{name}: listing"));
        let listed = status.wait_for(|told| told.progress.synced && told.link.connected);
        let told = tokio::time::timeout(PATIENCE, listed).await;
        let told =
            told.with_context(|| format!("{name} was not listed within {} s: see above", PATIENCE.as_secs()))??;
        say(&format!("{name}: {} resources judged, {} problems", told.progress.subjects, told.progress.failing));
        expected += told.progress.failing as u64;
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

async fn print_ready(
    client: &Client,
    aggregator: &Aggregator,
    profile: &Path,
    lab: Option<&ControlPlane>,
) -> Result<()> {
    let summary: Summary = client.get(&["summary"]).await?;
    say("");
    say("open findings:");
    for severity in Severity::ALL.iter().rev() {
        let counts = summary.counts.iter().filter(|count| count.severity == *severity && count.status.is_active());
        let open: u64 = counts.map(|count| count.findings).sum();
        say(&format!("  {severity:<9} {open:>5}   holdfast findings --severity {severity}"));
    }
    for reach in Reach::ALL.iter().rev() {
        let proved: u64 =
            summary.counts.iter().filter(|count| count.reach == Some(*reach)).map(|count| count.findings).sum();
        if proved > 0 {
            say(&format!("  verified  {proved:>5}   reach {reach}"));
        }
    }
    say("");
    say(&format!("API      {}/api/v1   described at /api/v1/openapi.json", aggregator.api_url()));
    say(&format!("sign in  the token stands in {}; `holdfast` finds it there by itself", profile.display()));
    say(&format!("root     {}   for `holdfast receipt verify`", aggregator.state().authority.fingerprint()));
    if let Some(lab) = lab {
        say(&format!("lab      export KUBECONFIG={}", lab.kubeconfig().display()));
        if !on_path("kubectl") {
            say(&format!("kubectl  alias kubectl={}", lab.kubectl_program().display()));
        }
    }
    say("Ctrl-C ends it; what it knows is kept");
    Ok(())
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

#[cfg(test)]
mod tests {
    use super::cluster_name;

    #[test]
    fn a_context_becomes_a_name_that_a_cluster_may_have() {
        assert_eq!(cluster_name("arn:aws:eks:eu-west-1:1:cluster/Prod"), "arn-aws-eks-eu-west-1-1-cluster-prod");
        assert_eq!(cluster_name("kind-kind"), "kind-kind");
        assert_eq!(cluster_name("///"), "cluster");
    }
}
