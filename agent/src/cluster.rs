//! Which cluster this is: its fingerprint and its version, read once at the start.

use anyhow::{Context, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::Deserialize;

use crate::KubeSource;
use crate::api::{Api, refusal};
use crate::collect::decode;
use crate::text;

/// What is known of the cluster before anything is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterFacts {
    /// The uid of the namespace kube-system: a restored or cloned cluster keeps it, another one never has it.
    pub fingerprint: String,
    /// Version of the API server, `v1.34.4`.
    pub version: String,
    /// Its minor version, where it could be read.
    pub minor: Option<u32>,
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
    let namespace = api.get("/api/v1/namespaces/kube-system").await?;
    if !namespace.status.is_success() {
        bail!("the namespace kube-system cannot be read: {}", refusal(&namespace));
    }
    let fingerprint = decode::identity(&namespace.body).uid;
    if fingerprint.is_empty() {
        bail!("the namespace kube-system has no uid");
    }
    let version: Version = serde_json::from_slice(&api.get("/version").await?.body).unwrap_or_default();
    let digits: String = version.minor.chars().take_while(char::is_ascii_digit).collect();
    Ok(ClusterFacts {
        fingerprint: text::line(&fingerprint),
        version: text::line(&version.git_version),
        minor: digits.parse().ok(),
    })
}
