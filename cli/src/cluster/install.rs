//! `holdfast cluster add NAME --helm`: the commands that bring the agent into a cluster, ready to be pasted or piped to `sh`.
//!
//! What is printed is a POSIX script that runs with the user's own rights in the user's current context. The join token
//! stands in a manifest on standard input, never in an argument, where other users of the machine could read it.

use anyhow::{Context, bail};
use holdfast_api_types::IssuedJoinToken;
use holdfast_controls::kubectl::quoted;
use holdfast_model::JoinToken;
use serde::Serialize;

use crate::render::escape;

/// Name of the release, of its objects, and of the Secret that the chart refers to.
const RELEASE: &str = "holdfast-agent";
const JOIN_SECRET: &str = "holdfast-agent-join";

/// How to install the agent
#[derive(Debug, clap::Args)]
pub struct Install {
    /// Print the commands that install its agent with Helm
    #[arg(long, requires = "agents")]
    pub helm: bool,
    /// Where agents reach the aggregator
    #[arg(long, value_name = "https://HOST:PORT", requires = "helm")]
    agents: Option<String>,
    /// The chart: its folder, or where you keep it (`oci://…`)
    #[arg(long, value_name = "CHART", default_value = "charts/holdfast-agent", requires = "helm")]
    chart: String,
    /// The namespace of the agent; it will enforce the Pod Security level `restricted`
    #[arg(long, value_name = "NAMESPACE", default_value = RELEASE, requires = "helm")]
    namespace: String,
    /// For a cluster of a few nodes: one kind of Pod does everything, and its namespace must admit `privileged`
    #[arg(long, requires = "helm")]
    in_daemon_set: bool,
    /// A further value for Helm, as `image.repository=registry.example.com/holdfast-agent` (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "helm")]
    sets: Vec<String>,
}

/// A cluster that was added, and how its agent is installed.
#[derive(Serialize)]
pub struct Installation {
    /// The token and what it is for.
    #[serde(flatten)]
    pub token: IssuedJoinToken,
    /// The script.
    pub commands: String,
}

impl Install {
    /// Checks what can be checked before a cluster is added for it.
    pub fn check(&self) -> anyhow::Result<()> {
        let Some(agents) = self.agents.as_deref().filter(|_| self.helm) else { return Ok(()) };
        let address: http::Uri = agents.parse().with_context(|| format!("{agents:?} is no address"))?;
        if address.scheme_str() != Some("https") || address.host().is_none() || address.path().len() > 1 {
            bail!(
                "--agents takes the address at which the aggregator serves agents, as https://holdfast.example.com:8471"
            );
        }
        let label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.namespace.is_empty() || self.namespace.len() > 63 || !self.namespace.bytes().all(label) {
            bail!("{:?} is no name of a namespace", self.namespace);
        }
        Ok(())
    }

    /// The script for this token.
    pub fn installation(&self, token: IssuedJoinToken) -> anyhow::Result<Installation> {
        let join: JoinToken = token.token.parse().map_err(anyhow::Error::msg).context("the server's join token")?;
        let commands = format!(
            "# Installs Holdfast's agent as {} in the cluster of your current kubectl context.\n\
             # The token works until {}.\n{}\n{}\n",
            escape::line(&token.cluster),
            token.expires_at,
            self.prepare(&join),
            self.install(&join),
        );
        Ok(Installation { token, commands })
    }

    /// Namespace and Secret. By server-side apply: the client's would keep the token in an annotation as well.
    fn prepare(&self, join: &JoinToken) -> String {
        let level = if self.in_daemon_set { "privileged" } else { "restricted" };
        let namespace = &self.namespace;
        format!(
            "kubectl apply --server-side --filename - <<'END'\n\
             apiVersion: v1\n\
             kind: Namespace\n\
             metadata:\n\
             \x20 name: {namespace}\n\
             \x20 labels:\n\
             \x20   pod-security.kubernetes.io/enforce: {level}\n\
             ---\n\
             apiVersion: v1\n\
             kind: Secret\n\
             metadata:\n\
             \x20 name: {JOIN_SECRET}\n\
             \x20 namespace: {namespace}\n\
             stringData:\n\
             \x20 token: {}\n\
             END",
            join.reveal(),
        )
    }

    fn install(&self, join: &JoinToken) -> String {
        let url = self.agents.as_deref().unwrap_or_default().trim_end_matches('/');
        let mut sets = vec![
            format!("aggregator.url={url}"),
            format!("aggregator.rootFingerprint={}", join.root),
            format!("joinToken.existingSecret={JOIN_SECRET}"),
        ];
        if self.in_daemon_set {
            sets.push("cluster.inDaemonSet=true".to_owned());
        }
        sets.extend_from_slice(&self.sets);
        let sets: String = sets.iter().map(|set| format!(" \\\n  --set {}", quoted(set))).collect();
        format!("helm install {RELEASE} {} --namespace {}{sets}", quoted(&self.chart), self.namespace)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use holdfast_api_types::Time;
    use holdfast_model::ClusterId;
    use holdfast_model::join_token::{JoinSecret, RootFingerprint};

    use super::*;

    fn install(agents: &str) -> Install {
        Install {
            helm: true,
            agents: Some(agents.to_owned()),
            chart: "my charts/agent".to_owned(),
            namespace: "holdfast".to_owned(),
            in_daemon_set: false,
            sets: vec!["image.repository=registry.example.com/agent".to_owned(), "log.filter=$(id)".to_owned()],
        }
    }

    fn token() -> IssuedJoinToken {
        let id = holdfast_model::JoinTokenId::from_bytes([1; 16]);
        let token = JoinToken { id, secret: JoinSecret::from_bytes([2; 32]), root: RootFingerprint::of(b"root") };
        IssuedJoinToken {
            cluster_id: ClusterId::from_bytes([3; 16]),
            cluster: "prod-eu\nrm".to_owned(),
            token: token.reveal(),
            expires_at: Time(1_795_356_329_123),
        }
    }

    #[test]
    fn the_script_names_everything_and_nothing_of_it_is_obeyed_by_the_shell() {
        let script = install("https://holdfast.example.com:8471/").installation(token()).unwrap().commands;
        expect![[r#"
            # Installs Holdfast's agent as prod-eu\nrm in the cluster of your current kubectl context.
            # The token works until 2026-11-22T14:05:29.123Z.
            kubectl apply --server-side --filename - <<'END'
            apiVersion: v1
            kind: Namespace
            metadata:
              name: holdfast
              labels:
                pod-security.kubernetes.io/enforce: restricted
            ---
            apiVersion: v1
            kind: Secret
            metadata:
              name: holdfast-agent-join
              namespace: holdfast
            stringData:
              token: hf_join_aeaqcaibaeaqcaibaeaqcaibae.aibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaiba.4813494d137e1631bba301d5acab6e7bb7aa74ce1185d456565ef51d737677b2
            END
            helm install holdfast-agent 'my charts/agent' --namespace holdfast \
              --set aggregator.url=https://holdfast.example.com:8471 \
              --set aggregator.rootFingerprint=4813494d137e1631bba301d5acab6e7bb7aa74ce1185d456565ef51d737677b2 \
              --set joinToken.existingSecret=holdfast-agent-join \
              --set image.repository=registry.example.com/agent \
              --set 'log.filter=$(id)'
        "#]].assert_eq(&script);
    }

    #[test]
    fn folded_in_its_namespace_admits_the_node_pods() {
        let install = Install { in_daemon_set: true, ..install("https://h:1") };
        let script = install.installation(token()).unwrap().commands;
        assert!(
            script.contains("enforce: privileged") && script.contains("--set cluster.inDaemonSet=true"),
            "{script}"
        );
    }

    #[test]
    fn an_address_that_no_agent_could_use_is_refused_before_a_cluster_is_added() {
        assert!(install("https://holdfast.example.com:8471").check().is_ok());
        for wrong in ["http://holdfast.example.com:8471", "holdfast.example.com", "https://h/path", "https://", ""] {
            assert!(install(wrong).check().is_err(), "{wrong:?}");
        }
        let named = Install { namespace: "a b".to_owned(), ..install("https://h:1") };
        assert!(named.check().is_err());
    }

    #[test]
    fn a_token_that_is_none_is_not_printed_into_a_script() {
        let damaged = IssuedJoinToken { token: "x\nEND\nrm -rf ~".to_owned(), ..token() };
        assert!(install("https://h:1").installation(damaged).is_err());
    }
}
