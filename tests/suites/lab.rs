//! The lab itself, which every other suite needs.

use anyhow::Result;
use holdfast_lab::{ControlPlane, Options};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;

#[tokio::test]
async fn a_control_plane_started_again_in_its_folder_is_the_same_cluster() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let options = || Options { folder: Some(folder.path().to_owned()), ..Options::default() };
    let mut fingerprints = Vec::new();
    for _ in 0..2 {
        let plane = ControlPlane::start_with("again", options(), |_| {}).await?;
        let system = Api::<Namespace>::all(plane.client().await?).get("kube-system").await?;
        fingerprints.push(system.metadata.uid);
    }
    assert!(fingerprints[0].is_some());
    assert_eq!(fingerprints[0], fingerprints[1]);
    Ok(())
}

#[tokio::test]
async fn a_rollout_finishes_on_nodes_that_kwok_simulates() -> Result<()> {
    let plane = ControlPlane::start_with("rollout", Options { nodes: 1, ..Options::default() }, |_| {}).await?;
    plane.plant().await?;
    let web: Api<Deployment> = Api::namespaced(plane.client().await?, "shop");
    let ready = async || {
        let status = web.get("web").await?.status.unwrap_or_default();
        Ok(status.ready_replicas == Some(2))
    };
    plane.until("two ready replicas", ready).await
}
