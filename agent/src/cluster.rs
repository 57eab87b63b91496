//! Which cluster this is: its fingerprint, read once at the start, and its version, asked again at every connection.

use std::time::Duration;

use anyhow::{Context, Result};
use holdfast_agent_core::text;
use k8s_openapi::api::core::v1::Namespace;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::KubeSource;
use crate::api::{Answer, Api, Refusal};

/// How long an API server may take to name its version again.
const REFRESH: Duration = Duration::from_secs(3);

/// What is known of the cluster before anything is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterFacts {
    /// The uid of the namespace kube-system: a restored or cloned cluster keeps it, another one never has it.
    pub fingerprint: String,
    /// Which Kubernetes it runs.
    pub server: ServerVersion,
}

/// Which Kubernetes the API server is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerVersion {
    /// As it says it, `v1.34.4`.
    pub name: String,
    /// Its minor version, where it could be read.
    pub minor: Option<u32>,
}

/// Follows the API server's version: what Pod Security demands depends on it, and clusters are upgraded under the agent.
pub struct Server {
    api: Api,
    known: watch::Sender<ServerVersion>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Version {
    git_version: String,
    minor: String,
}

/// A client for the cluster. Retries are left to the loops that know what they are trying.
pub async fn client(source: &KubeSource) -> Result<kube::Client> {
    let mut config = match source {
        KubeSource::Client(client) => return Ok(client.clone()),
        KubeSource::InCluster => kube::Config::incluster().context("not in a Pod with a service account")?,
        KubeSource::Kubeconfig { path, context } => {
            let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
            match path {
                Some(path) => {
                    let file =
                        Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?;
                    kube::Config::from_custom_kubeconfig(file, &options).await
                }
                None => kube::Config::from_kubeconfig(&options).await,
            }
            .context("the kubeconfig cannot be used")?
        }
    };
    config.default_retry = false;
    kube::Client::try_from(config).context("cannot make a client for the cluster")
}

/// Reads the fingerprint and the version.
pub async fn facts(api: &Api) -> Result<ClusterFacts> {
    let namespace: Namespace =
        api.read("/api/v1/namespaces/kube-system").await.context("the namespace kube-system cannot be read")?;
    let fingerprint = namespace.metadata.uid.filter(|uid| !uid.is_empty());
    let fingerprint = fingerprint.context("the namespace kube-system has no uid")?;
    Ok(ClusterFacts { fingerprint: text::line(&fingerprint), server: version(api).await? })
}

/// Where the API server serves its version.
pub(crate) const VERSION_PATH: &str = "/version";

/// Asks the version. One that the API server refuses to name is no failure: it is unknown.
async fn version(api: &Api) -> Result<ServerVersion, Refusal> {
    server_version(&api.get(VERSION_PATH).await?)
}

/// Reads the answer of [`VERSION_PATH`]: an unknown version where it is refused.
pub(crate) fn server_version(answer: &Answer) -> Result<ServerVersion, Refusal> {
    if !answer.status.is_success() {
        return Ok(ServerVersion::default());
    }
    let version: Version = serde_json::from_slice(&answer.body)
        .map_err(|error| Refusal::Failing(format!("its version is unreadable: {}", text::line(&error.to_string()))))?;
    // Some providers mark theirs: `27+`.
    let digits: String = version.minor.chars().take_while(char::is_ascii_digit).collect();
    Ok(ServerVersion { name: text::line(&version.git_version), minor: digits.parse().ok() })
}

impl Server {
    /// Follows the version from this one on, and gives the channel on which it is published.
    pub fn new(api: Api, version: ServerVersion) -> (Self, watch::Receiver<ServerVersion>) {
        let (known, published) = watch::channel(version);
        (Self { api, known }, published)
    }

    /// Asks again. An API server that does not answer now is taken to be the one that it was.
    pub async fn refresh(&self) -> ServerVersion {
        if let Ok(Ok(now)) = timeout(REFRESH, version(&self.api)).await
            && now.minor.is_some()
        {
            self.known.send_replace(now);
        }
        self.known.borrow().clone()
    }
}
