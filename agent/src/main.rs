//! `holdfast-agent`: flags and environment to an agent's configuration; the library does the rest.

use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use holdfast_agent::api::Api;
use holdfast_agent::health::{self, Readiness};
use holdfast_agent::lease::Timing;
use holdfast_agent::metrics::{self, Figures};
use holdfast_agent::node::{NodeConfig, NodeInputs, NodeKernel};
use holdfast_agent::relay::ServiceAccount;
use holdfast_agent::rights::{self, Right};
use holdfast_agent::{AgentConfig, AgentStatus, KubeSource, Shared};
use holdfast_model::RootFingerprint;
use holdfast_model::container_observation::ObservationWindows;
use holdfast_model::join_token::JoinToken;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Where health checks are answered in a cluster.
const HEALTH: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8473);
/// Where Kubernetes tells a Pod its namespace.
const POD_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

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
    Rights {
        /// Ask the API server whether this account has those that these settings need.
        #[arg(long)]
        check: bool,
    },
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
    /// Name of this agent in its logs, and of this replica in the Lease.
    #[arg(long, env = "HOLDFAST_NAME", default_value = "agent", value_name = "NAME")]
    name: String,
    /// Which part of the agent to run: the duties of the cluster, the node part, or both.
    #[arg(long, env = "HOLDFAST_ROLE", value_enum, default_value_t = Role::Cluster)]
    role: Role,
    #[command(flatten)]
    replica: Replica,
    #[command(flatten)]
    node: Node,
    /// Address for health checks, `/healthz` and `/readyz`. In a cluster 0.0.0.0:8473 where nothing else is said; elsewhere
    /// none.
    #[arg(long, env = "HOLDFAST_HEALTH_LISTEN", value_name = "ADDRESS:PORT")]
    health_listen: Option<SocketAddr>,
    /// Address for Prometheus, `/metrics`: counts without names. None where nothing is said.
    #[arg(long, env = "HOLDFAST_METRICS_LISTEN", value_name = "ADDRESS:PORT")]
    metrics_listen: Option<SocketAddr>,
    /// Log as JSON, one object a line.
    #[arg(long, env = "HOLDFAST_LOG_JSON")]
    log_json: bool,
    /// What to log: `info`, `debug`, `holdfast_agent=debug`.
    #[arg(long, env = "HOLDFAST_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
}

/// Which part of the agent a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Watches the API server and holds the stream to the aggregator.
    Cluster,
    /// Looks into the kernel of its node.
    Node,
    /// Both in one process, for small clusters.
    Both,
}

/// What the cluster's part shares with its replicas, and how it serves the nodes.
#[derive(Args)]
struct Replica {
    /// Namespace of the Lease and the Secret; that of the Pod where it runs in one.
    #[arg(long, env = "HOLDFAST_NAMESPACE", value_name = "NAME")]
    namespace: Option<String>,
    /// Lease that says which replica leads. Used in a cluster, or where it is named.
    #[arg(long, env = "HOLDFAST_LEASE", value_name = "NAME")]
    lease: Option<String>,
    /// Secret that holds the key and the certificate of all replicas.
    #[arg(long, env = "HOLDFAST_CREDENTIAL_SECRET", value_name = "NAME", default_value = rights::CREDENTIAL_SECRET)]
    credential_secret: String,
    /// Address at which the leading replica serves the nodes.
    #[arg(long, env = "HOLDFAST_RELAY_LISTEN", value_name = "ADDRESS:PORT", requires = "node_service_account")]
    relay_listen: Option<SocketAddr>,
    /// Seconds between two scans of all running processes.
    #[arg(long, env = "HOLDFAST_SCAN_EVERY_SECONDS", value_name = "SECONDS", default_value_t = 60)]
    scan_every_seconds: u32,
    /// Seconds for which a container must have been watched before a right that it has not used counts as unused.
    #[arg(long, env = "HOLDFAST_UNUSED_AFTER_SECONDS", value_name = "SECONDS", default_value_t = 86_400)]
    unused_after_seconds: u32,
    /// Seconds for which all running containers must have been watched without a behavior before its finding is closed.
    #[arg(long, env = "HOLDFAST_IDLE_AFTER_SECONDS", value_name = "SECONDS", default_value_t = 600)]
    idle_after_seconds: u32,
    /// Service account of the node part: tokens of other accounts are refused.
    #[arg(long, env = "HOLDFAST_NODE_SERVICE_ACCOUNT", value_name = "NAMESPACE/NAME")]
    node_service_account: Option<ServiceAccount>,
}

/// Options of the node part.
#[derive(Args)]
struct Node {
    /// Address of the relay.
    #[arg(long, env = "HOLDFAST_RELAY", value_name = "https://HOST:PORT")]
    relay: Option<String>,
    /// SHA-256 of the aggregator's root certificate: the node believes only a relay that leads to it.
    #[arg(long, env = "HOLDFAST_ROOT_FINGERPRINT", value_name = "HEX")]
    root_fingerprint: Option<RootFingerprint>,
    /// File of the node's ServiceAccount token of audience `holdfast-relay`.
    #[arg(long, env = "HOLDFAST_RELAY_TOKEN_FILE", value_name = "FILE")]
    relay_token_file: Option<PathBuf>,
    /// Name of this node in its own logs. Which node it is, the API server says.
    #[arg(long = "node", env = "HOLDFAST_NODE", value_name = "NAME", default_value = "node")]
    node_name: String,
    /// Read /proc where the kernel has no task iterator. It needs CAP_SYS_PTRACE.
    #[arg(long, env = "HOLDFAST_PROC_FALLBACK")]
    proc_fallback: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Command::Rights { check: true }) => check_rights(&cli.run).await,
        Some(Command::Rights { check: false }) => {
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
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone()));
    let mut parts = JoinSet::new();
    let mut readiness = Vec::new();
    let mut figures = Figures::default();
    if run.role != Role::Node {
        let (tell, ready) = watch::channel(waiting());
        readiness.push(("cluster", ready));
        let (status, reported) = holdfast_agent::status();
        figures.cluster = Some(reported.clone());
        parts.spawn(cluster_part(config(&run)?, (status, reported), tell, stop.clone()));
    }
    if run.role != Role::Cluster {
        let (tell, ready) = watch::channel(waiting());
        if run.role == Role::Node {
            // In one process with the relay it must not count: it finds the relay through the addresses of what is ready.
            readiness.push(("node", ready));
        }
        let senses = NodeInputs::of_this_node(NodeKernel { proc_fallback: run.node.proc_fallback })?;
        figures.node = Some(senses.sensors.clone());
        parts.spawn(holdfast_agent::node::run(node_config(&run)?, senses, tell, stop.clone()));
    }
    let in_cluster = (run.in_cluster && run.role != Role::Node).then_some(HEALTH);
    if let Some(address) = run.health_listen.or(in_cluster) {
        let (address, serving) = health::listen(address, Arc::new(readiness)).await?;
        tracing::info!(%address, "answering health checks");
        tokio::spawn(serving);
    }
    if let Some(address) = run.metrics_listen {
        let (address, serving) = metrics::listen(address, figures).await?;
        tracing::info!(%address, "serving metrics");
        tokio::spawn(serving);
    }
    // The first part that ends ends the process: what restarts it restarts all.
    let ended = parts.join_next().await.context("no part runs")?.context("a part of the agent failed")?;
    stop.cancel();
    while parts.join_next().await.is_some() {}
    ended
}

fn waiting() -> Readiness {
    Readiness::NotReady("it has just started".to_owned())
}

/// The cluster's part, which tells whether it is ready.
async fn cluster_part(
    config: AgentConfig,
    (tell, mut reported): (watch::Sender<AgentStatus>, watch::Receiver<AgentStatus>),
    ready: watch::Sender<Readiness>,
    stop: CancellationToken,
) -> Result<()> {
    let follow = async {
        while reported.changed().await.is_ok() {
            let now = reported.borrow_and_update().readiness();
            ready.send_if_modified(|known| std::mem::replace(known, now.clone()) != now);
        }
        std::future::pending::<()>().await
    };
    tokio::select! {
        ended = holdfast_agent::run(config, tell, stop) => ended,
        () = follow => Ok(()),
    }
}

fn node_config(run: &Run) -> Result<NodeConfig> {
    let relay = run.node.relay.clone().context("no relay: give --relay or HOLDFAST_RELAY")?;
    let root = run.node.root_fingerprint.context("no root: give --root-fingerprint or HOLDFAST_ROOT_FINGERPRINT")?;
    let token_file = run.node.relay_token_file.clone();
    let token_file = token_file.context("no token: give --relay-token-file or HOLDFAST_RELAY_TOKEN_FILE")?;
    Ok(NodeConfig { name: run.node.node_name.clone(), ..NodeConfig::new(relay, root, token_file) })
}

fn config(run: &Run) -> Result<AgentConfig> {
    let aggregator = run.aggregator.clone().context("no aggregator: give --aggregator or HOLDFAST_AGGREGATOR")?;
    let shared = shared(run)?;
    let relay = run.replica.relay_listen.zip(run.replica.node_service_account.clone());
    let relay = relay.map(|(listen, account)| holdfast_agent::relay::RelaySettings { listen, account });
    let join_token = join_token(run, shared.is_some())?;
    let usual = AgentConfig::new(kube_source(run), aggregator, run.state_dir.clone());
    let windows = ObservationWindows {
        unused_after: i64::from(run.replica.unused_after_seconds) * 1000,
        idle_after: i64::from(run.replica.idle_after_seconds) * 1000,
    };
    let runtime_scan = Duration::from_secs(run.replica.scan_every_seconds.max(1).into());
    Ok(AgentConfig { join_token, name: run.name.clone(), shared, relay, runtime_scan, windows, ..usual })
}

fn kube_source(run: &Run) -> KubeSource {
    if run.in_cluster {
        KubeSource::InCluster
    } else {
        KubeSource::Kubeconfig { path: run.kubeconfig.clone(), context: run.context.clone() }
    }
}

/// What replicas share: in a cluster always, elsewhere where a Lease is named.
fn shared(run: &Run) -> Result<Option<Shared>> {
    let Replica { namespace, lease, credential_secret, .. } = &run.replica;
    let lease = match (lease, run.in_cluster) {
        (Some(lease), _) => lease.clone(),
        (None, true) => rights::LEASE.to_owned(),
        (None, false) => return Ok(None),
    };
    let namespace = match namespace {
        Some(namespace) => namespace.clone(),
        None => {
            std::fs::read_to_string(POD_NAMESPACE).context("no namespace: give --namespace or HOLDFAST_NAMESPACE")?
        }
    };
    let namespace = namespace.trim().to_owned();
    Ok(Some(Shared { namespace, lease, secret: credential_secret.clone(), timing: Timing::default() }))
}

/// The join token. Replicas that share a credential need it only until the first of them has joined: a file that is gone by
/// then is no mistake.
fn join_token(run: &Run, shares: bool) -> Result<Option<JoinToken>> {
    let token = match (&run.join_token, &run.join_token_file) {
        (Some(token), _) => Some(token.clone()),
        (None, Some(file)) if shares && !file.exists() => None,
        (None, Some(file)) => {
            Some(std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?)
        }
        (None, None) => None,
    };
    token.map(|token| token.trim().parse::<JoinToken>()).transpose().map_err(anyhow::Error::msg)
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
    let lists = [
        ("To watch and to retest, in the whole cluster:", rights::rights()),
        ("To serve the nodes, in the whole cluster:", rights::relay_rights()),
        ("To share its place with other replicas, in its own namespace:", rights::own_rights()),
    ];
    for (what, list) in lists {
        println!("{what}");
        for right in list {
            println!("  {:<45} {:<16} {}", shown(&right), right.verbs.join(","), right.reason);
        }
    }
}

/// Resource, group and name in one word.
fn shown(right: &Right) -> String {
    let group = if right.group.is_empty() { String::new() } else { format!(".{}", right.group) };
    let name = right.name.map_or(String::new(), |name| format!("/{name}"));
    format!("{}{group}{name}", right.resource)
}

async fn check_rights(run: &Run) -> Result<()> {
    let api = Api::new(holdfast_agent::cluster::client(&kube_source(run)).await.context("cannot reach the cluster")?);
    let mut lists = vec![(None, rights::rights())];
    if run.replica.relay_listen.is_some() {
        lists.push((None, rights::relay_rights()));
    }
    if let Some(shared) = shared(run)? {
        lists.push((Some(shared.namespace), rights::own_rights()));
    }
    let mut lacking = 0;
    for (namespace, list) in &lists {
        let missing = holdfast_agent::check::missing(&api, namespace.as_deref(), list).await?;
        lacking += missing.len();
        for (right, verb) in missing {
            println!("missing: {verb} {}: {}", shown(right), right.reason);
        }
    }
    ensure!(lacking == 0, "this account lacks {lacking} of the agent's rights");
    println!("every right is there");
    Ok(())
}
