//! `holdfast cluster`: the clusters of the fleet, how they join, what can be seen of them, what is left out.

use std::process::ExitCode;

use clap::Subcommand;
use holdfast_api_types::{Cluster, Coverage, IssuedJoinToken, NewCluster, Scope};
use holdfast_api_types::{NewScope, NodeCoverage};
use holdfast_model::{ClusterId, CoverageState};

use crate::api::Client;
use crate::context::Context;
use crate::render::{self, Column, ListOutput, RecordFormat, RecordOutput, escape, paint};

mod install;

use install::Install;

/// Clusters of the fleet: add, list, show, token, revoke, scope
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast cluster add prod-eu               # prints the join token of its agent, once
  holdfast cluster add prod-eu --helm --agents https://holdfast.example.com:8471
                                             # prints the commands that install its agent there
  holdfast cluster show prod-eu              # what can and cannot be seen of it
  holdfast cluster scope prod-eu --exclude legacy --include shop
  holdfast cluster revoke prod-eu            # its agent is refused from now on")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a cluster and print the join token of its agent
    Add {
        /// Its name: lower-case letters, digits, `-` and `.`
        name: String,
        #[command(flatten)]
        install: Install,
        #[command(flatten)]
        output: RecordOutput,
    },
    /// List the clusters
    List {
        #[command(flatten)]
        output: ListOutput,
    },
    /// Show a cluster and what can be seen of it
    Show {
        /// Name or id
        cluster: String,
        #[command(flatten)]
        output: RecordOutput,
    },
    /// Print a new join token; the ones before it keep their own expiry
    Token {
        /// Name or id
        cluster: String,
        #[command(flatten)]
        output: RecordOutput,
    },
    /// Refuse the cluster's agent from now on; its record stays
    Revoke {
        /// Name or id
        cluster: String,
        #[command(flatten)]
        output: RecordOutput,
    },
    /// Show or change which namespaces are left out
    Scope {
        /// Name or id
        cluster: String,
        /// Leave this namespace out: its findings are retired as out of scope, never as fixed (repeatable)
        #[arg(long, value_name = "NAMESPACE")]
        exclude: Vec<String>,
        /// Look at this namespace again (repeatable)
        #[arg(long, value_name = "NAMESPACE")]
        include: Vec<String>,
        #[command(flatten)]
        output: RecordOutput,
    },
}

impl Args {
    /// Does what the subcommand says.
    pub async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let client = context.client()?;
        match self.action {
            Action::Add { name, install, output } => {
                install.check()?;
                let token: IssuedJoinToken = client.post(&["clusters"], &NewCluster { name }).await?;
                if install.helm {
                    output.print(&install.installation(token)?, |installation| installation.commands.clone())?;
                } else {
                    output.print(&token, join_text)?;
                }
            }
            Action::List { output } => {
                output.print(
                    &all(&client).await?,
                    COLUMNS,
                    "No cluster yet: add one with `holdfast cluster add NAME`.",
                )?;
            }
            Action::Show { cluster, output } => show(&client, &cluster, &output).await?,
            Action::Token { cluster, output } => {
                let id = find(&client, &cluster).await?.to_string();
                let token: IssuedJoinToken = client.post(&["clusters", &id, "tokens"], &serde_json::json!({})).await?;
                output.print(&token, join_text)?;
            }
            Action::Revoke { cluster, output } => {
                let id = find(&client, &cluster).await?.to_string();
                let cluster: Cluster = client.post(&["clusters", &id, "revoke"], &serde_json::json!({})).await?;
                output.print(&cluster, |cluster| format!("{} is revoked.\n", escape::line(&cluster.name)))?;
            }
            Action::Scope { cluster, exclude, include, output } => {
                let scope = change_scope(&client, &cluster, &exclude, &include).await?;
                output.print(&scope, scope_text)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The id of a cluster that was given by id or by name.
pub async fn find(client: &Client, text: &str) -> anyhow::Result<ClusterId> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let clusters = all(client).await?;
    let found = clusters.iter().find(|cluster| cluster.name == text);
    found.map(|cluster| cluster.id).ok_or_else(|| {
        anyhow::anyhow!(
            "there is no cluster named {text:?}: `holdfast cluster list` shows the {} there are",
            clusters.len()
        )
    })
}

async fn all(client: &Client) -> anyhow::Result<Vec<Cluster>> {
    Ok(client.list(&["clusters"], &[], None).await?.0)
}

const COLUMNS: &[Column<Cluster>] = &[
    Column::new("name", |cluster| cluster.name.clone()),
    Column::new("agent", |cluster| state(cluster).to_owned()),
    Column::new("nodes seen", nodes_seen),
    Column::new("last seen", |cluster| cluster.last_seen_at.map_or("never".to_owned(), |at| at.to_string())),
    Column::new("kubernetes", |cluster| cluster.server_version.clone().unwrap_or_default()),
    Column::new("id", |cluster| cluster.id.to_string()),
    Column::more("fingerprint", |cluster| cluster.fingerprint.clone().unwrap_or_default()),
    Column::more("agent version", |cluster| cluster.agent_version.clone().unwrap_or_default()),
    Column::more("added at", |cluster| cluster.added_at.to_string()),
];

/// How many nodes have a kernel view and sensors: which, `cluster show` lists.
fn nodes_seen(cluster: &Cluster) -> String {
    let NodeCoverage { expected, available } = cluster.nodes;
    match available {
        _ if expected == 0 => "none".to_owned(),
        Some(available) => format!("{available} of {expected}"),
        None => format!("unknown of {expected}"),
    }
}

fn state(cluster: &Cluster) -> &'static str {
    match (cluster.revoked_at, cluster.connected) {
        (Some(_), _) => "revoked",
        (None, true) => "connected",
        (None, false) => "offline",
    }
}

async fn show(client: &Client, cluster: &str, output: &RecordOutput) -> anyhow::Result<()> {
    let id = find(client, cluster).await?.to_string();
    let cluster: Cluster = client.get(&["clusters", &id]).await?;
    let coverage: Vec<Coverage> = client.list(&["clusters", &id, "coverage"], &[], None).await?.0;
    if output.format == RecordFormat::Text {
        return render::write(&cluster_text(&cluster, &coverage));
    }
    output.print(&serde_json::json!({"cluster": cluster, "coverage": coverage}), |_| String::new())
}

fn cluster_text(cluster: &Cluster, coverage: &[Coverage]) -> String {
    let mut text = format!("{}  {}\n", paint::heading(&escape::line(&cluster.name)), paint::word(state(cluster)));
    let mut field = |name: &str, value: &str| text.push_str(&format!("  {name:<14}{}\n", escape::line(value)));
    field("id", &cluster.id.to_string());
    field("fingerprint", cluster.fingerprint.as_deref().unwrap_or("not known yet"));
    field("kubernetes", cluster.server_version.as_deref().unwrap_or("not known yet"));
    field("agent", cluster.agent_version.as_deref().unwrap_or("none has joined yet"));
    field("last seen", &cluster.last_seen_at.map_or("never".to_owned(), |at| at.to_string()));
    field("nodes seen", &nodes_seen(cluster));
    text.push_str(&format!("\n{}\n", paint::heading("Coverage")));
    let there =
        coverage.iter().filter(|part| part.state != CoverageState::Absent || !part.subject.starts_with("node/"));
    let (nodes, kinds): (Vec<&Coverage>, Vec<_>) = there.partition(|part| part.subject.starts_with("node/"));
    text.push_str(&format!("  {} of {} kinds are seen\n", seen(&kinds), kinds.len()));
    for (what, does) in [("/kernel-view", "nodes can be looked into"), ("/sensors", "nodes have sensors that see")] {
        let parts: Vec<_> = nodes.iter().copied().filter(|part| part.subject.ends_with(what)).collect();
        if !parts.is_empty() {
            text.push_str(&format!("  {} of {} {does}\n", seen(&parts), parts.len()));
        }
    }
    for part in kinds.into_iter().chain(nodes).filter(|part| part.state != CoverageState::Seen) {
        let (subject, reason) = (escape::line(&part.subject), escape::line(&part.reason));
        text.push_str(&format!("  {subject}: {} since {}. {reason}\n", paint::word(part.state.as_str()), part.since));
    }
    text
}

fn seen(parts: &[&Coverage]) -> usize {
    parts.iter().filter(|part| part.state == CoverageState::Seen).count()
}

fn join_text(token: &IssuedJoinToken) -> String {
    let (name, line) = (escape::line(&token.cluster), escape::line(&token.token));
    format!(
        "{line}\n\nGive this token to the agent of {name}. It is shown this once and works until {}.\n",
        token.expires_at
    )
}

async fn change_scope(client: &Client, cluster: &str, exclude: &[String], include: &[String]) -> anyhow::Result<Scope> {
    let id = find(client, cluster).await?.to_string();
    let scope: Scope = client.get(&["clusters", &id, "scope"]).await?;
    if exclude.is_empty() && include.is_empty() {
        return Ok(scope);
    }
    let mut excluded_namespaces = scope.excluded_namespaces;
    excluded_namespaces.extend_from_slice(exclude);
    excluded_namespaces.retain(|namespace| !include.contains(namespace));
    excluded_namespaces.sort();
    excluded_namespaces.dedup();
    client.put(&["clusters", &id, "scope"], &NewScope { excluded_namespaces }).await
}

fn scope_text(scope: &Scope) -> String {
    let mut text = match scope.excluded_namespaces.as_slice() {
        [] => "Every namespace is looked at.\n".to_owned(),
        left_out => format!("Left out: {}\n", escape::line(&left_out.join(", "))),
    };
    for proposal in &scope.proposals {
        let (namespace, asks) = (escape::line(&proposal.namespace), escape::line(&proposal.proposal));
        text.push_str(&format!("Proposed by a label of namespace {namespace}: {asks} (since {})\n", proposal.since));
    }
    text
}

#[cfg(test)]
mod tests {
    use holdfast_api_types::Time;

    use super::*;

    #[test]
    fn what_cannot_be_seen_is_shown_with_the_servers_reason() {
        let at = Time(1_795_356_329_123);
        let cluster = Cluster {
            id: ClusterId::from_bytes([1; 16]),
            name: "prod-eu".into(),
            fingerprint: Some("0b5f".into()),
            server_version: Some("v1.34.4".into()),
            agent_version: Some("0.1.0".into()),
            connected: true,
            nodes: NodeCoverage { expected: 2, available: Some(1) },
            last_seen_at: Some(at),
            added_at: at,
            revoked_at: None,
        };
        let part = |subject: &str, state, reason: &str| Coverage {
            subject: subject.into(),
            state,
            reason: reason.into(),
            since: at,
        };
        let text = cluster_text(
            &cluster,
            &[
                part("deployments.apps", CoverageState::Forbidden, "User \"agent\" cannot list it\u{1b}[2J"),
                part("pods", CoverageState::Seen, ""),
                part("node/a/kernel-view", CoverageState::Seen, ""),
                part("node/a/sensors", CoverageState::Seen, ""),
                part("node/b/kernel-view", CoverageState::Seen, ""),
                part("node/b/sensors", CoverageState::Failing, "the heartbeat probe has not come back for 4 min"),
                part("node/c/sensors", CoverageState::Absent, "no Pod runs on this node any more"),
            ],
        );
        assert!(text.contains("1 of 2 kinds are seen"), "{text}");
        let line = text.lines().find(|line| line.contains("deployments.apps")).unwrap();
        assert!(line.contains("forbidden") && line.contains("User \"agent\" cannot list it"), "{line}");
        assert!(!line.contains("\u{1b}[2J"), "{line}");
        assert!(!text.contains("  pods"), "{text}");
        assert!(text.contains("nodes seen    1 of 2"), "{text}");
        assert!(
            text.contains("2 of 2 nodes can be looked into") && text.contains("1 of 2 nodes have sensors"),
            "{text}"
        );
        assert!(text.contains("node/b/sensors: failing") && !text.contains("node/c"), "{text}");
        let away = Cluster { connected: false, nodes: NodeCoverage { expected: 2, available: None }, ..cluster };
        assert_eq!((nodes_seen(&away), state(&away)), ("unknown of 2".to_owned(), "offline"));
    }
}
