//! The life of a finding on a real API server: detected, fixed, verified, reopened, and everything that must not close it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holdfast_lab::{ControlPlane, Options, apply};
use holdfast_tests::programs::eventually;
use holdfast_tests::scenario::{Agent, Scenario, grant};
use holdfast_tests::tier;
use serde_json::{Value, json};

const PRIVILEGED: &str = "workload.privileged";

/// A Deployment whose Pods come and go without a node: the old ones are deleted first, and nothing has to become ready.
fn deployment(name: &str, privileged: bool) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "replicas": 1, "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{
                    "name": "web", "image": "shop.example/web:3.14.1", "securityContext": {"privileged": privileged},
                }]},
            },
        },
    })
}

/// A cluster with an agent, and a privileged Deployment `web` in the namespace `shop`.
struct Fixture {
    scenario: Scenario,
    plane: ControlPlane,
    agent: Agent,
}

impl Fixture {
    async fn prepare() -> Result<Option<Self>> {
        let Some(plane) = tier::available("apiserver", ControlPlane::start("prod-eu").await)? else { return Ok(None) };
        plane.namespace("shop", &[]).await?;
        let scenario = Scenario::start().await?;
        let agent = scenario.join(&plane).await?;
        // These scenarios are about changes, not about the first listing.
        scenario.until_observed("prod-eu").await?;
        Ok(Some(Self { scenario, plane, agent }))
    }

    async fn apply(&self, objects: &[Value]) -> Result<()> {
        apply(&self.plane.client().await?, objects).await
    }

    async fn find_web(&self) -> Result<(String, Value)> {
        self.apply(&[deployment("web", true)]).await?;
        let finding = self.scenario.finding("prod-eu", "shop", PRIVILEGED).await?;
        Ok((finding["id"].as_str().context("a finding without an id")?.to_owned(), finding))
    }

    async fn events(&self, id: &str) -> Result<Vec<String>> {
        let finding = self.scenario.show(id).await?;
        let history = finding["history"].as_array().context("no history")?.iter().rev();
        Ok(history.filter_map(|event| event["event"].as_str().map(str::to_owned)).collect())
    }
}

#[tokio::test]
async fn a_privileged_deployment_is_found_fixed_and_verified_with_a_receipt() -> Result<()> {
    let Some(fixture) = Fixture::prepare().await? else { return Ok(()) };
    let applied_at = Instant::now();
    let (id, finding) = fixture.find_web().await?;
    let found_after = applied_at.elapsed();
    ensure!(found_after < Duration::from_secs(2), "the finding took {found_after:?}");
    assert_eq!(finding["status"], "open");
    assert_eq!(finding["severity"], "critical");

    let shown = fixture.scenario.show(&id).await?;
    assert_eq!(
        shown["evidence"]["locations"][0]["path"],
        "spec.template.spec.containers[0].securityContext.privileged"
    );
    assert_eq!(shown["evidence"]["locations"][0]["container"], "web");

    // The owner runs the command that Holdfast prints.
    fixture.plane.shell(shown["fix"]["kubectl"].as_str().context("no line to paste")?).await?;
    let verified = fixture.scenario.until(&id, "verified").await?;
    assert_eq!(verified["reach"], "config");
    assert_eq!(verified["retests"][0]["verdict"], "fixed");

    let file = fixture.scenario.path("receipt.json").display().to_string();
    fixture.scenario.holdfast(&["receipt", "get", &id, "--file", &file]).await?;
    let root = fixture.scenario.root_fingerprint()?;
    let proved = fixture.scenario.holdfast(&["receipt", "verify", &file, "--root", &root, "-o", "json"]).await?;
    assert_eq!(proved["proved"]["attestation"]["verdict"], "fixed", "{proved}");
    let forged = std::fs::read_to_string(&file)?.replace("fixed", "mixed");
    std::fs::write(&file, forged)?;
    let (code, _) =
        fixture.scenario.holdfast_code(&["receipt", "verify", &file, "--root", &root, "-o", "json"]).await?;
    assert_eq!(code, 1, "a changed receipt was accepted");
    Ok(())
}

#[tokio::test]
async fn a_regression_reopens_the_same_finding() -> Result<()> {
    let Some(fixture) = Fixture::prepare().await? else { return Ok(()) };
    let (id, _) = fixture.find_web().await?;
    fixture.apply(&[deployment("web", false)]).await?;
    fixture.scenario.until(&id, "verified").await?;

    let (again, _) = fixture.find_web().await?;
    assert_eq!(again, id);
    let finding = fixture.scenario.until(&id, "open").await?;
    assert_eq!(finding["reopened"], 1);
    Ok(())
}

#[tokio::test]
async fn a_deleted_deployment_retires_its_findings_and_counts_as_no_fix() -> Result<()> {
    let Some(fixture) = Fixture::prepare().await? else { return Ok(()) };
    let (id, _) = fixture.find_web().await?;
    fixture.plane.kubectl(&["-n", "shop", "delete", "deployment", "web"]).await?;
    let retired = fixture.scenario.until(&id, "retired").await?;
    assert_eq!(retired["retired_reason"], "deleted");
    assert_eq!(retired["retests"][0]["verdict"], "workload-deleted");
    assert!(retired["verified_at"].is_null());
    Ok(())
}

#[tokio::test]
async fn an_old_pod_that_still_runs_keeps_the_finding_unverified_and_is_named() -> Result<()> {
    let Some(plane) = tier::available(
        "apiserver",
        ControlPlane::start_with("prod-eu", Options { nodes: 1, ..Options::default() }, |_| {}).await,
    )?
    else {
        return Ok(());
    };
    plane.namespace("shop", &[]).await?;
    let scenario = Scenario::start().await?;
    let agent = scenario.join(&plane).await?;
    let fixture = Fixture { scenario, plane, agent };
    let mut rolling = deployment("web", true);
    rolling["spec"]["strategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}});
    fixture.apply(&[rolling.clone()]).await?;
    let finding = fixture.scenario.finding("prod-eu", "shop", PRIVILEGED).await?;
    let id = finding["id"].as_str().context("no id")?;
    let pods = || fixture.plane.kubectl(&["-n", "shop", "get", "pods", "-o", "jsonpath={.items[*].metadata.name}"]);
    let old = eventually("a pod", async || Ok(Some(pods().await?).filter(|names| !names.is_empty()))).await?;

    // While the rollout is paused, the template is fixed and the Pod is not.
    fixture.plane.kubectl(&["-n", "shop", "rollout", "pause", "deployment", "web"]).await?;
    rolling["spec"]["template"]["spec"]["containers"][0]["securityContext"]["privileged"] = json!(false);
    rolling["spec"]["paused"] = json!(true);
    fixture.apply(&[rolling]).await?;
    let named = eventually("the old pod to be named", async || {
        let shown = fixture.scenario.show(id).await?;
        ensure!(shown["status"] != "verified", "verified while {old} still runs");
        Ok(shown["evidence"]["locations"].to_string().contains(&old).then_some(shown))
    })
    .await?;
    assert_ne!(named["status"], "verified");

    fixture.plane.kubectl(&["-n", "shop", "rollout", "resume", "deployment", "web"]).await?;
    fixture.scenario.until(id, "verified").await?;
    Ok(())
}

#[tokio::test]
async fn a_right_taken_from_the_agent_is_a_coverage_loss_and_closes_nothing() -> Result<()> {
    let Some(mut fixture) = Fixture::prepare().await? else { return Ok(()) };
    let (id, _) = fixture.find_web().await?;
    grant(&fixture.plane, &["deployments"]).await?;
    // The API server ends no watch when the right is gone: the next list is refused.
    fixture.agent.kill().await?;
    fixture.agent.restart()?;
    let lost = eventually("the loss to be reported", async || {
        let cluster = fixture.scenario.holdfast(&["cluster", "show", "prod-eu", "-o", "json"]).await?;
        let coverage = cluster["coverage"].as_array().context("no coverage")?.clone();
        Ok(coverage.into_iter().find(|state| state["subject"] == "deployments.apps" && state["state"] == "forbidden"))
    })
    .await?;
    assert!(lost["reason"].as_str().is_some_and(|reason| reason.contains("forbidden")), "{lost}");

    // The agent answers a retest with `unreachable`: nothing closes.
    let (code, answer) =
        fixture.scenario.holdfast_code(&["retest", &id, "--wait", "--timeout", "3", "-o", "json"]).await?;
    assert_eq!(code, 1, "{answer}");
    let finding = fixture.scenario.show(&id).await?;
    assert!(["open", "resolved"].contains(&finding["status"].as_str().unwrap_or_default()), "{finding}");
    assert!(finding["verified_at"].is_null() && finding["retired_reason"].is_null());
    Ok(())
}

#[tokio::test]
async fn the_platform_owner_decides_the_scope_and_a_namespace_label_only_proposes() -> Result<()> {
    let Some(fixture) = Fixture::prepare().await? else { return Ok(()) };
    let (id, _) = fixture.find_web().await?;

    fixture.plane.kubectl(&["label", "namespace", "shop", "holdfast.dev/scope=excluded"]).await?;
    eventually("the proposal to be shown", async || {
        let scope = fixture.scenario.holdfast(&["cluster", "scope", "prod-eu", "-o", "json"]).await?;
        Ok(scope["proposals"].to_string().contains("shop").then_some(()))
    })
    .await?;
    assert_eq!(fixture.scenario.show(&id).await?["status"], "open");

    fixture.scenario.holdfast(&["cluster", "scope", "prod-eu", "--exclude", "shop", "-o", "json"]).await?;
    let retired = fixture.scenario.until(&id, "retired").await?;
    assert_eq!(retired["retired_reason"], "out-of-scope");

    fixture.scenario.holdfast(&["cluster", "scope", "prod-eu", "--include", "shop", "-o", "json"]).await?;
    fixture.scenario.until(&id, "open").await?;
    Ok(())
}

#[tokio::test]
async fn an_aggregator_killed_in_the_middle_loses_nothing_and_counts_nothing_twice() -> Result<()> {
    let Some(mut fixture) = Fixture::prepare().await? else { return Ok(()) };
    let many =
        |from: usize| -> Vec<Value> { (from..from + 40).map(|n| deployment(&format!("web-{n}"), true)).collect() };
    fixture.apply(&many(0)).await?;
    for round in 0..3 {
        let objects = many(40 * (round + 1));
        let (applied, killed) = tokio::join!(fixture.plane.client(), fixture.scenario.kill_aggregator());
        killed?;
        apply(&applied?, &objects).await?;
        fixture.scenario.restart_aggregator().await?;
    }
    let filters = ["--cluster", "prod-eu", "--namespace", "shop", "--control", PRIVILEGED];
    let rows = eventually("160 findings", async || {
        let rows = fixture.scenario.findings(&filters).await?;
        ensure!(rows.len() == 160, "{} findings", rows.len());
        Ok(Some(rows))
    })
    .await?;
    for row in rows.iter().step_by(37) {
        let events = fixture.events(row["id"].as_str().context("no id")?).await?;
        assert_eq!(events.iter().filter(|event| *event == "finding-opened").count(), 1, "{events:?}");
    }
    let verified = fixture.scenario.holdfast(&["activity", "--verify", "-o", "json"]).await?;
    assert!(!verified.is_null());
    Ok(())
}

#[tokio::test]
async fn a_fix_made_while_the_agent_is_away_is_verified_when_it_returns() -> Result<()> {
    let Some(mut fixture) = Fixture::prepare().await? else { return Ok(()) };
    let (id, _) = fixture.find_web().await?;
    fixture.agent.kill().await?;
    fixture.apply(&[deployment("web", false)]).await?;
    fixture.scenario.holdfast(&["resolve", &id, "-o", "json"]).await?;
    assert_eq!(fixture.scenario.show(&id).await?["status"], "resolved");

    fixture.agent.restart()?;
    fixture.scenario.until(&id, "verified").await?;
    Ok(())
}

/// Everything that comes over the wire ends in the record or in a log, so a secret that is in neither has not left the cluster.
#[tokio::test]
async fn a_planted_secret_is_in_no_record_and_in_no_log() -> Result<()> {
    const PLANTED: &str = "s3cr3t-planted-0451";
    let Some(fixture) = Fixture::prepare().await? else { return Ok(()) };
    let mut web = deployment("web", true);
    let pod = &mut web["spec"]["template"]["spec"]["containers"][0];
    pod["image"] = json!(format!("user:{PLANTED}@shop.example/web:latest"));
    pod["args"] = json!([format!("--password={PLANTED}"), format!("https://user:{PLANTED}@db.example")]);
    pod["command"] = json!(["web", PLANTED]);
    pod["env"] = json!([{"name": "PASSWORD", "value": PLANTED}]);
    web["metadata"]["annotations"] = json!({"note": PLANTED});
    let settings = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "shop"}, "data": {"password": PLANTED},
    });
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "password", "namespace": "shop"}, "stringData": {"password": PLANTED},
    });
    fixture.apply(&[settings, secret, web]).await?;
    let finding = fixture.scenario.finding("prod-eu", "shop", "workload.image-latest").await?;
    let id = finding["id"].as_str().context("no id")?;
    let (_, retest) = fixture.scenario.holdfast_code(&["retest", id, "--wait", "-o", "json"]).await?;
    assert_eq!(retest["verdict"], "still-failing", "{retest}");
    assert!(!fixture.scenario.show(id).await?.to_string().contains(PLANTED));

    let files = fixture.scenario.everything_written()?;
    assert!(files.iter().any(|(name, bytes)| name.ends_with("record.sqlite") && !bytes.is_empty()));
    let leaks: Vec<_> = files.iter().filter(|(_, bytes)| contains(bytes, PLANTED)).map(|(name, _)| name).collect();
    assert!(leaks.is_empty(), "the secret is in {leaks:?}");
    Ok(())
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
