//! All of Holdfast in a cluster: both charts on a real node, and a fix that is verified down to the running processes. Nothing
//! is simulated: images, charts, kubelet, containers, kernel, relay, aggregator and receipt are real.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use holdfast_lab::{ControlPlane, SHELL, apply};
use holdfast_model::kernel::coverage_subject;
use holdfast_tests::installed::{Form, Installed, fixture, state};
use holdfast_tests::programs::eventually;
use serde_json::{Value, json};

const PRIVILEGED: &str = "workload.privileged";

/// A Deployment whose old Pod stays until its successor is ready.
fn web(privileged: bool, paused: bool) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "replicas": 1, "paused": paused, "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "web", "image": SHELL, "imagePullPolicy": "Never", "command": ["sleep", "infinity"],
                    "securityContext": {"privileged": privileged},
                }],
            }},
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fix_is_verified_only_once_the_old_pod_is_gone_and_the_kernel_agrees() -> Result<()> {
    let Some((plane, installed)) = fixture("prod-eu", 1, Form::Apart).await? else { return Ok(()) };
    let result = two_replicas(&plane, &installed).await;
    let state = if result.is_err() { state(&plane).await } else { String::new() };
    result.context(state)
}

/// In small clusters every node's Pod has both parts, and one of them leads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folded_into_the_node_pods_another_node_takes_over_from_the_leader_and_all_kernels_agree() -> Result<()> {
    let Some((plane, installed)) = fixture("small-cluster", 2, Form::Folded).await? else { return Ok(()) };
    let result = folded(&plane, &installed).await;
    let state = if result.is_err() { state(&plane).await } else { String::new() };
    result.context(state)
}

async fn folded(plane: &ControlPlane, installed: &Installed) -> Result<()> {
    plane.namespace("shop", &[]).await?;
    apply(&plane.client().await?, &[web(true, false)]).await?;
    let id = &installed.finding("shop", PRIVILEGED).await?;
    let lease = ["-n", "holdfast-agent", "get", "lease", "holdfast-agent", "-o", "jsonpath={.spec.holderIdentity}"];
    let before = plane.kubectl(&lease).await?;
    let pod = before.split('_').next().context("the Lease has no holder")?;
    plane.kubectl(&["-n", "holdfast-agent", "delete", "pod", pod, "--force", "--grace-period=0"]).await?;
    eventually("another node to lead", async || {
        let now = plane.kubectl(&lease).await?;
        Ok((!now.is_empty() && now != before).then_some(()))
    })
    .await?;
    eventually("both nodes to be covered", async || {
        let cluster = installed.holdfast(&["cluster", "show", "small-cluster", "-o", "json"]).await?;
        // Rows outlive the leader that reported them: only while a leader is connected are nodes counted as available.
        ensure!(
            cluster["cluster"]["nodes"]["available"] == plane.node_names().len(),
            "the nodes are {}",
            cluster["cluster"]["nodes"]
        );
        let rows = cluster["coverage"].as_array().context("no coverage")?;
        for node in plane.node_names() {
            let row = rows.iter().find(|row| row["subject"] == coverage_subject(&node));
            ensure!(row.is_some_and(|row| row["state"] == "seen"), "{node}: {row:?}");
        }
        Ok(Some(()))
    })
    .await?;
    apply(&plane.client().await?, &[web(false, false)]).await?;
    let verified = installed.until(id, "verified").await?;
    assert_eq!(verified["reach"], "running", "{verified}");
    Ok(())
}

async fn two_replicas(plane: &ControlPlane, installed: &Installed) -> Result<()> {
    plane.namespace("shop", &[]).await?;
    apply(&plane.client().await?, &[web(true, false)]).await?;
    let id = &installed.finding("shop", PRIVILEGED).await?;
    plane.kubectl(&["-n", "shop", "rollout", "status", "deployment/web", "--timeout=60s"]).await?;
    let old = plane.kubectl(&["-n", "shop", "get", "pods", "-o", "jsonpath={.items[*].metadata.name}"]).await?;

    has_evidence_of_posture_and_of_the_kernel(plane, installed, id).await?;
    the_node_parts_own_findings_are_listed(installed).await?;

    // While the rollout is paused, the template is fixed and the Pod is not.
    apply(&plane.client().await?, &[web(true, true)]).await?;
    apply(&plane.client().await?, &[web(false, true)]).await?;
    eventually("the old Pod to be named with its node", async || {
        let retest = installed.holdfast(&["retest", id, "--wait", "-o", "json"]).await?;
        let reason = retest["reason"].as_str().context("a retest without reason")?;
        ensure!(retest["verdict"] == "still-failing", "the verdict is {}: {reason}", retest["verdict"]);
        ensure!(reason.contains(&format!("Pod {old} on node node-0")), "{reason}");
        Ok(Some(()))
    })
    .await?;
    let finding = installed.show(id).await?;
    ensure!(finding["verified_at"].is_null(), "verified while {old} still runs: {finding}");

    plane.kubectl(&["-n", "shop", "rollout", "resume", "deployment", "web"]).await?;
    let verified = installed.until(id, "verified").await?;
    assert_eq!(verified["reach"], "running", "{verified}");
    the_receipt_carries_the_nodes_statement(plane, installed, id).await?;
    another_replica_takes_over_and_reopens_the_same_record(plane, installed, id).await
}

/// The node part is judged like any workload: exactly the findings that the chart's page names are listed and open.
async fn the_node_parts_own_findings_are_listed(installed: &Installed) -> Result<()> {
    let page = std::fs::read_to_string(holdfast_tests::helm::chart_path("holdfast-agent") + "/FINDINGS.md")?;
    let named: BTreeSet<&str> = page.split('`').filter(|word| word.starts_with("workload.")).collect();
    let line = ["findings", "--namespace", "holdfast-node", "-o", "json"];
    let found = eventually("the node part's own findings", async || {
        let mut rows = installed.holdfast(&line).await?.as_array().context("no list")?.clone();
        rows.retain(|row| row["resource"]["kind"] == "DaemonSet");
        let is_there = |control: &&&str| rows.iter().any(|row| row["control_id"] == ***control);
        let missing: Vec<_> = named.iter().filter(|control| !is_there(control)).collect();
        ensure!(missing.is_empty(), "not in the list: {missing:?}; of {rows:#?}");
        Ok(Some(rows))
    });
    for row in found.await? {
        let control = row["control_id"].as_str().unwrap_or_default();
        ensure!(named.contains(control), "the page does not name {row}");
        ensure!(row["status"] == "open", "{row}");
    }
    Ok(())
}

/// Posture shows what was configured, the kernel what is in force: two pieces of evidence on one finding.
async fn has_evidence_of_posture_and_of_the_kernel(
    plane: &ControlPlane,
    installed: &Installed,
    id: &str,
) -> Result<()> {
    plane
        .until("the kernel's evidence", async || {
            let finding = installed.show(id).await?;
            let posture = finding["evidence"]["locations"].as_array().is_some_and(|locations| !locations.is_empty());
            let kernel = &finding["evidence"]["runtime"];
            ensure!(posture && kernel["count"].as_u64() > Some(0), "{}", finding["evidence"]);
            ensure!(kernel["locations"].to_string().contains("node-0"), "no location on the node: {kernel}");
            Ok(true)
        })
        .await
}

async fn another_replica_takes_over_and_reopens_the_same_record(
    plane: &ControlPlane,
    installed: &Installed,
    id: &str,
) -> Result<()> {
    let lease = ["-n", "holdfast-agent", "get", "lease", "holdfast-agent", "-o", "jsonpath={.spec.holderIdentity}"];
    let before = plane.kubectl(&lease).await?;
    let pod = before.split('_').next().context("the Lease has no holder")?;
    plane.kubectl(&["-n", "holdfast-agent", "delete", "pod", pod, "--force", "--grace-period=0"]).await?;
    eventually("another replica to lead", async || {
        let now = plane.kubectl(&lease).await?;
        Ok((!now.is_empty() && now != before).then_some(()))
    })
    .await?;
    apply(&plane.client().await?, &[web(true, false)]).await?;
    let again = installed.until(id, "open").await?;
    assert_eq!(again["reopened"], 1, "{again}");
    Ok(())
}

async fn the_receipt_carries_the_nodes_statement(plane: &ControlPlane, installed: &Installed, id: &str) -> Result<()> {
    let file = installed.path("receipt.json").display().to_string();
    installed.holdfast(&["receipt", "get", id, "--file", &file]).await?;
    let root = installed.root_fingerprint(plane).await?;
    let proved = installed.holdfast(&["receipt", "verify", &file, "--root", &root, "-o", "json"]).await?;
    let attestation = &proved["proved"]["attestation"];
    assert_eq!((&attestation["verdict"], &attestation["reach"]), (&json!("fixed"), &json!("running")), "{proved}");
    let statement = attestation["nodes"][0]["statement"].as_str().context("no node has attested")?;
    let statement: Value = serde_json::from_str(statement)?;
    assert_eq!((&statement["node"], &statement["incomplete"]), (&json!("node-0"), &Value::Null));
    let processes = statement["containers"].as_array().into_iter().flatten();
    let mut processes =
        processes.filter(|container| container["name"] == "web").flat_map(|one| one["process_groups"].as_array());
    let sleeping = processes.next().and_then(|groups| groups.first());
    let sleeping = sleeping.context("no process of web is in the statement")?;
    let capabilities = ["-n", "shop", "exec", "deployment/web", "--", "grep", "CapEff", "/proc/1/status"];
    let capabilities = plane.kubectl(&capabilities).await?;
    let capabilities = u64::from_str_radix(capabilities.split_whitespace().last().context("no capabilities")?, 16)?;
    assert_eq!(sleeping["privileges"]["effective"].as_u64(), Some(capabilities), "{sleeping}");
    Ok(())
}
