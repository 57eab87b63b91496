//! Real nodes: a kubelet and containerd run Pods from images that were built on this machine, and leave nothing behind.

use anyhow::{Context, Result};
use holdfast_lab::{ControlPlane, Options, SHELL, apply, left_behind};
use holdfast_tests::tier;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use serde_json::{Value, json};

/// A lab with this many real nodes; none where the machine can't run them.
async fn lab(name: &str, real_nodes: u16) -> Result<Option<ControlPlane>> {
    let options = Options { real_nodes, ..Options::default() };
    tier::available("node", ControlPlane::start_with(name, options, |line| println!("{line}")).await)
}

fn sleeper(name: &str, replicas: u16, security: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "web", "image": SHELL, "imagePullPolicy": "Never", "command": ["sleep", "infinity"],
                    "securityContext": security,
                }],
            }},
        },
    })
}

async fn until_ready(plane: &ControlPlane, name: &str, replicas: i32) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(plane.client().await?, "shop");
    let ready =
        async || Ok(deployments.get(name).await?.status.and_then(|status| status.ready_replicas) == Some(replicas));
    plane.until(&format!("{replicas} ready replicas of {name}"), ready).await
}

/// The one Pod's line of `/proc/1/status` with this key, as a process in the container reads it.
async fn status(plane: &ControlPlane, name: &str, key: &str) -> Result<String> {
    let target = format!("deployment/{name}");
    let printed = plane.kubectl(&["-n", "shop", "exec", &target, "--", "grep", key, "/proc/1/status"]).await?;
    Ok(printed.split_whitespace().last().context("no such line")?.to_owned())
}

#[tokio::test]
async fn a_deployment_runs_on_a_real_node_and_the_kernel_shows_what_it_may_do() -> Result<()> {
    let Some(plane) = lab("node", 1).await? else { return Ok(()) };
    let number = plane.number().context("a lab with real nodes has a number")?;
    plane.namespace("shop", &[]).await?;
    let modest = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsUser": 1000});
    let objects = [sleeper("modest", 1, &modest), sleeper("mighty", 1, &json!({"privileged": true}))];
    apply(&plane.client().await?, &objects).await?;
    until_ready(&plane, "modest", 1).await?;
    until_ready(&plane, "mighty", 1).await?;
    assert_eq!(status(&plane, "modest", "CapEff").await?, "0000000000000000");
    assert_eq!(status(&plane, "modest", "NoNewPrivs").await?, "1");
    let own = plane.on_node("node-0", &["grep", "CapEff", "/proc/self/status"]).await?;
    let own = own.split_whitespace().last().context("no capabilities")?;
    assert_eq!(status(&plane, "mighty", "CapEff").await?, own);
    drop(plane);
    assert_eq!(left_behind(number)?, Vec::<String>::new());
    Ok(())
}
