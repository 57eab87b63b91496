//! How the agent of a cluster joins the aggregator that was just started: as the cluster that it was before, if there is one.

use std::path::Path;

use anyhow::{Context as _, Result};
use holdfast_agent::credential::StateDir;
use holdfast_api_types::{Cluster, IssuedJoinToken, NewCluster, Page};
use holdfast_model::JoinToken;
use serde_json::json;

use super::target::Target;
use crate::api::Client;

/// A token for the record that knows this fingerprint, or for a new one; none where the agent kept a credential of a
/// cluster that is still on record.
pub(super) async fn token(client: &Client, target: &Target, state: &Path) -> Result<Option<JoinToken>> {
    let Page { items: clusters, .. } = client.get::<Page<Cluster>>(&["clusters"]).await?;
    let active = clusters.iter().filter(|cluster| cluster.revoked_at.is_none());
    let known = active.clone().find(|cluster| cluster.fingerprint.as_ref() == Some(&target.fingerprint));
    let kept = StateDir::open(state)?.credential()?.map(|credential| credential.cluster);
    if kept.is_some_and(|kept| known.is_some_and(|known| known.id == kept)) {
        return Ok(None);
    }
    let issued: IssuedJoinToken = match known {
        Some(cluster) => client.post(&["clusters", &cluster.id.to_string(), "tokens"], &json!({})).await?,
        None => {
            let unused = |name: &String| clusters.iter().all(|cluster| cluster.name != *name);
            let numbered = (2..).map(|number| format!("{}-{number}", target.name));
            let name = std::iter::once(target.name.clone()).chain(numbered).find(unused);
            let name = name.context("every name for the cluster is taken")?;
            client.post(&["clusters"], &NewCluster { name }).await?
        }
    };
    let token = issued.token.parse();
    token.map(Some).map_err(|problem: String| anyhow::anyhow!("the server's join token is unreadable: {problem}"))
}
