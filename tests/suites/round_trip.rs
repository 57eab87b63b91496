//! The story of a problem, told on a real API server: seen, fixed, proved, back again, and everything that must not close it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holdfast_lab::{ControlPlane, Options, apply};
use holdfast_tests::programs::eventually;
use holdfast_tests::story::{Agent, Story, grant};
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
struct Scene {
    story: Story,
    plane: ControlPlane,
    agent: Agent,
}

impl Scene {
    async fn set() -> Result<Option<Self>> {
        let Some(plane) = tier::available("apiserver", ControlPlane::start("prod-eu").await)? else { return Ok(None) };
        plane.namespace("shop", &[]).await?;
        let story = Story::begin().await?;
        let agent = story.join(&plane).await?;
        // A story is about changes, not about the first listing.
        story.until_seen("prod-eu").await?;
        Ok(Some(Self { story, plane, agent }))
    }

    async fn apply(&self, objects: &[Value]) -> Result<()> {
        apply(&self.plane.client().await?, objects).await
    }

    async fn web_is_found(&self) -> Result<(String, Value)> {
        self.apply(&[deployment("web", true)]).await?;
        let finding = self.story.finding("prod-eu", "shop", PRIVILEGED).await?;
        Ok((finding["id"].as_str().context("a finding without an id")?.to_owned(), finding))
    }

    async fn events(&self, id: &str) -> Result<Vec<String>> {
        let finding = self.story.show(id).await?;
        let history = finding["history"].as_array().context("no history")?.iter().rev();
        Ok(history.filter_map(|event| event["event"].as_str().map(str::to_owned)).collect())
    }
}

#[tokio::test]
async fn a_privileged_deployment_is_found_fixed_and_verified_with_a_receipt() -> Result<()> {
    let Some(scene) = Scene::set().await? else { return Ok(()) };
    let appeared = Instant::now();
    let (id, finding) = scene.web_is_found().await?;
    let seen_after = appeared.elapsed();
    ensure!(seen_after < Duration::from_secs(2), "the finding took {seen_after:?}");
    assert_eq!(finding["status"], "open");
    assert_eq!(finding["severity"], "critical");

    let shown = scene.story.show(&id).await?;
    assert_eq!(
        shown["evidence"]["locations"][0]["path"],
        "spec.template.spec.containers[0].securityContext.privileged"
    );
    assert_eq!(shown["evidence"]["locations"][0]["container"], "web");

    // The owner pastes the line that Holdfast hands out.
    scene.plane.shell(shown["fix"]["kubectl"].as_str().context("no line to paste")?).await?;
    let verified = scene.story.until(&id, "verified").await?;
    assert_eq!(verified["reach"], "config");
    assert_eq!(verified["retests"][0]["verdict"], "fixed");

    let file = scene.story.path("receipt.json").display().to_string();
    scene.story.holdfast(&["receipt", "get", &id, "--file", &file]).await?;
    let root = scene.story.root_fingerprint()?;
    let proved = scene.story.holdfast(&["receipt", "verify", &file, "--root", &root, "-o", "json"]).await?;
    assert_eq!(proved["proved"]["attestation"]["verdict"], "fixed", "{proved}");
    let forged = std::fs::read_to_string(&file)?.replace("fixed", "mixed");
    std::fs::write(&file, forged)?;
    let (code, _) = scene.story.holdfast_code(&["receipt", "verify", &file, "--root", &root, "-o", "json"]).await?;
    assert_eq!(code, 1, "a changed receipt was believed");
    Ok(())
}

#[tokio::test]
async fn a_regression_reopens_the_same_finding() -> Result<()> {
    let Some(scene) = Scene::set().await? else { return Ok(()) };
    let (id, _) = scene.web_is_found().await?;
    scene.apply(&[deployment("web", false)]).await?;
    scene.story.until(&id, "verified").await?;

    let (again, _) = scene.web_is_found().await?;
    assert_eq!(again, id);
    let finding = scene.story.until(&id, "open").await?;
    assert_eq!(finding["reopened"], 1);
    Ok(())
}

#[tokio::test]
async fn a_deleted_deployment_retires_its_findings_and_counts_as_no_fix() -> Result<()> {
    let Some(scene) = Scene::set().await? else { return Ok(()) };
    let (id, _) = scene.web_is_found().await?;
    scene.plane.kubectl(&["-n", "shop", "delete", "deployment", "web"]).await?;
    let retired = scene.story.until(&id, "retired").await?;
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
    let story = Story::begin().await?;
    let agent = story.join(&plane).await?;
    let scene = Scene { story, plane, agent };
    let mut rolling = deployment("web", true);
    rolling["spec"]["strategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}});
    scene.apply(&[rolling.clone()]).await?;
    let finding = scene.story.finding("prod-eu", "shop", PRIVILEGED).await?;
    let id = finding["id"].as_str().context("no id")?;
    let pods = || scene.plane.kubectl(&["-n", "shop", "get", "pods", "-o", "jsonpath={.items[*].metadata.name}"]);
    let old = eventually("a pod", async || Ok(Some(pods().await?).filter(|names| !names.is_empty()))).await?;

    // Paused: the template is fixed at once, the pod is not.
    scene.plane.kubectl(&["-n", "shop", "rollout", "pause", "deployment", "web"]).await?;
    rolling["spec"]["template"]["spec"]["containers"][0]["securityContext"]["privileged"] = json!(false);
    rolling["spec"]["paused"] = json!(true);
    scene.apply(&[rolling]).await?;
    let named = eventually("the old pod to be named", async || {
        let shown = scene.story.show(id).await?;
        ensure!(shown["status"] != "verified", "verified while {old} still runs");
        Ok(shown["evidence"]["locations"].to_string().contains(&old).then_some(shown))
    })
    .await?;
    assert_ne!(named["status"], "verified");

    scene.plane.kubectl(&["-n", "shop", "rollout", "resume", "deployment", "web"]).await?;
    scene.story.until(id, "verified").await?;
    Ok(())
}

#[tokio::test]
async fn a_right_taken_from_the_agent_is_a_coverage_loss_and_closes_nothing() -> Result<()> {
    let Some(mut scene) = Scene::set().await? else { return Ok(()) };
    let (id, _) = scene.web_is_found().await?;
    grant(&scene.plane, &["deployments"]).await?;
    // The running watch outlives the right: it is the next list that is refused.
    scene.agent.kill().await?;
    scene.agent.resume()?;
    let lost = eventually("the loss to be reported", async || {
        let cluster = scene.story.holdfast(&["cluster", "show", "prod-eu", "-o", "json"]).await?;
        let coverage = cluster["coverage"].as_array().context("no coverage")?.clone();
        Ok(coverage.into_iter().find(|state| state["subject"] == "deployments.apps" && state["state"] == "forbidden"))
    })
    .await?;
    assert!(lost["reason"].as_str().is_some_and(|reason| reason.contains("forbidden")), "{lost}");

    // Asked in person, the agent can only say that it can't look. Nothing closes.
    let (code, answer) = scene.story.holdfast_code(&["retest", &id, "--wait", "--timeout", "3", "-o", "json"]).await?;
    assert_eq!(code, 1, "{answer}");
    let finding = scene.story.show(&id).await?;
    assert!(["open", "resolved"].contains(&finding["status"].as_str().unwrap_or_default()), "{finding}");
    assert!(finding["verified_at"].is_null() && finding["retired_reason"].is_null());
    Ok(())
}

#[tokio::test]
async fn the_platform_owner_decides_the_scope_and_a_namespace_label_only_proposes() -> Result<()> {
    let Some(scene) = Scene::set().await? else { return Ok(()) };
    let (id, _) = scene.web_is_found().await?;

    scene.plane.kubectl(&["label", "namespace", "shop", "holdfast.dev/scope=excluded"]).await?;
    eventually("the proposal to be shown", async || {
        let scope = scene.story.holdfast(&["cluster", "scope", "prod-eu", "-o", "json"]).await?;
        Ok(scope["proposals"].to_string().contains("shop").then_some(()))
    })
    .await?;
    assert_eq!(scene.story.show(&id).await?["status"], "open");

    scene.story.holdfast(&["cluster", "scope", "prod-eu", "--exclude", "shop", "-o", "json"]).await?;
    let retired = scene.story.until(&id, "retired").await?;
    assert_eq!(retired["retired_reason"], "out-of-scope");

    scene.story.holdfast(&["cluster", "scope", "prod-eu", "--include", "shop", "-o", "json"]).await?;
    scene.story.until(&id, "open").await?;
    Ok(())
}

#[tokio::test]
async fn an_aggregator_killed_in_the_middle_loses_nothing_and_counts_nothing_twice() -> Result<()> {
    let Some(mut scene) = Scene::set().await? else { return Ok(()) };
    let many =
        |from: usize| -> Vec<Value> { (from..from + 40).map(|n| deployment(&format!("web-{n}"), true)).collect() };
    scene.apply(&many(0)).await?;
    for round in 0..3 {
        let objects = many(40 * (round + 1));
        let (applied, killed) = tokio::join!(scene.plane.client(), scene.story.kill_aggregator());
        killed?;
        apply(&applied?, &objects).await?;
        scene.story.resume_aggregator().await?;
    }
    let filters = ["--cluster", "prod-eu", "--namespace", "shop", "--control", PRIVILEGED];
    let rows = eventually("160 findings", async || {
        let rows = scene.story.findings(&filters).await?;
        ensure!(rows.len() == 160, "{} findings", rows.len());
        Ok(Some(rows))
    })
    .await?;
    for row in rows.iter().step_by(37) {
        let events = scene.events(row["id"].as_str().context("no id")?).await?;
        assert_eq!(events.iter().filter(|event| *event == "finding-opened").count(), 1, "{events:?}");
    }
    let verified = scene.story.holdfast(&["activity", "--verify", "-o", "json"]).await?;
    assert!(!verified.is_null());
    Ok(())
}

#[tokio::test]
async fn a_fix_made_while_the_agent_is_away_is_verified_when_it_returns() -> Result<()> {
    let Some(mut scene) = Scene::set().await? else { return Ok(()) };
    let (id, _) = scene.web_is_found().await?;
    scene.agent.kill().await?;
    scene.apply(&[deployment("web", false)]).await?;
    scene.story.holdfast(&["resolve", &id, "-o", "json"]).await?;
    assert_eq!(scene.story.show(&id).await?["status"], "resolved");

    scene.agent.resume()?;
    scene.story.until(&id, "verified").await?;
    Ok(())
}

/// Everything that came over the wire is in the record or in a log: a secret that is in neither never left the cluster.
#[tokio::test]
async fn a_planted_secret_is_in_no_record_and_in_no_log() -> Result<()> {
    const CANARY: &str = "s3cr3t-canary-0451";
    let Some(scene) = Scene::set().await? else { return Ok(()) };
    let mut web = deployment("web", true);
    let pod = &mut web["spec"]["template"]["spec"]["containers"][0];
    pod["image"] = json!(format!("user:{CANARY}@shop.example/web:latest"));
    pod["args"] = json!([format!("--password={CANARY}"), format!("https://user:{CANARY}@db.example")]);
    pod["command"] = json!(["web", CANARY]);
    pod["env"] = json!([{"name": "PASSWORD", "value": CANARY}]);
    web["metadata"]["annotations"] = json!({"note": CANARY});
    let settings = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "shop"}, "data": {"password": CANARY},
    });
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "password", "namespace": "shop"}, "stringData": {"password": CANARY},
    });
    scene.apply(&[settings, secret, web]).await?;
    let finding = scene.story.finding("prod-eu", "shop", "workload.image-latest").await?;
    let id = finding["id"].as_str().context("no id")?;
    let (_, retest) = scene.story.holdfast_code(&["retest", id, "--wait", "-o", "json"]).await?;
    assert_eq!(retest["verdict"], "still-failing", "{retest}");
    assert!(!scene.story.show(id).await?.to_string().contains(CANARY));

    let files = scene.story.everything_written()?;
    assert!(files.iter().any(|(name, bytes)| name.ends_with("record.sqlite") && !bytes.is_empty()));
    let leaks: Vec<_> = files.iter().filter(|(_, bytes)| contains(bytes, CANARY)).map(|(name, _)| name).collect();
    assert!(leaks.is_empty(), "the secret stands in {leaks:?}");
    Ok(())
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
