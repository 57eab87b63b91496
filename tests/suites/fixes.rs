//! Fixes, with a real API server as the oracle: the server accepts each patch, and the object that it would store passes the
//! control. The workloads are the failing fixtures of the Pod Security Standards, as templates of Deployments.

use std::collections::BTreeSet;

use anyhow::{Context, Result, anyhow, bail, ensure};
use futures::{StreamExt, TryStreamExt};
use holdfast_controls::evaluate::Answer;
use holdfast_controls::facts::workload;
use holdfast_controls::fix::{self, JsonPatch};
use holdfast_controls::inventory::Inventory;
use holdfast_controls::{Control, project};
use holdfast_lab::ControlPlane;
use holdfast_model::{Location, Resource};
use holdfast_tests::{pod_security_fixtures::pod_security_fixtures, tier};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

const NAMESPACE: &str = "fixes";

/// Fixes that the server refuses while another control fails, as the remediation states: the other one must be fixed first.
const FIRST: &[(&str, &[&str])] = &[
    ("workload.host-network", &["workload.host-process"]),
    ("workload.privilege-escalation", &["workload.capabilities-added", "workload.privileged"]),
];

/// The fixtures of the version that the standards last changed in, as Deployments that start nothing.
fn deployments() -> Result<Vec<Value>> {
    let fixtures = pod_security_fixtures()?.into_iter().filter(|(path, _)| path.starts_with("restricted/v1.34/fail"));
    let deployments = fixtures.enumerate().map(|(i, (_, mut pod))| {
        pod["metadata"]["labels"] = json!({"app": "it"});
        let template = json!({"metadata": pod["metadata"], "spec": pod["spec"]});
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": format!("it-{i}"), "namespace": NAMESPACE},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "it"}}, "template": template},
        })
    });
    Ok(deployments.collect())
}

/// Every control that fails on a Deployment, with its locations.
fn failing(deployment: &Value) -> Result<Vec<(&'static Control, Vec<Location>)>> {
    let name = deployment["metadata"]["name"].as_str().context("a name")?;
    let mut inventory = Inventory::complete();
    inventory.apply(project(&workload::DEPLOYMENT, deployment.clone())?);
    let subject = Resource::namespaced("apps", "Deployment", NAMESPACE, name);
    let outcomes = inventory.evaluate(&subject).context("it is known")?.outcomes;
    let failing = outcomes.into_iter().filter_map(|outcome| match outcome.answer {
        Answer::Fail(locations) => Some((outcome.control, locations)),
        _ => None,
    });
    Ok(failing.collect())
}

/// The server's answer to a patch: the object that it would store, or its refusal.
async fn dry_run(api: &Api<DynamicObject>, name: &str, patch: &JsonPatch) -> Result<Result<Value, String>> {
    let params = PatchParams { dry_run: true, ..PatchParams::default() };
    let patch: Patch<()> = Patch::Json(serde_json::from_value(serde_json::to_value(patch)?)?);
    match api.patch(name, &params, &patch).await {
        Ok(object) => Ok(Ok(serde_json::to_value(object)?)),
        Err(kube::Error::Api(status)) => Ok(Err(status.message.clone())),
        Err(error) => Err(error.into()),
    }
}

/// The patches to try: each fix alone, and combined with those that must go first, where there are any.
fn attempts(failing: &[(&'static Control, Vec<Location>)]) -> Vec<(&'static Control, JsonPatch, Option<JsonPatch>)> {
    let patch_of = |id: &str| failing.iter().find(|(control, _)| control.id == id).and_then(|(c, p)| fix::patch(c, p));
    let attempts = failing.iter().filter_map(|(control, locations)| {
        let alone = fix::patch(control, locations)?;
        let first = FIRST.iter().find(|(id, _)| *id == control.id).map_or(&[][..], |(_, first)| *first);
        let before: Vec<_> = first.iter().filter_map(|id| patch_of(id)).flat_map(|patch| patch.0).collect();
        let after = (!before.is_empty()).then(|| JsonPatch(before.into_iter().chain(alone.0.clone()).collect()));
        Some((*control, alone, after))
    });
    attempts.collect()
}

/// Tries every fix of one Deployment; answers the controls whose fix the server accepted alone, and those whose fix it
/// accepted after another.
async fn try_fixes(client: Client, deployment: Value) -> Result<(Vec<&'static str>, Vec<&'static str>)> {
    let kind = ApiResource::erase::<Deployment>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client, NAMESPACE, &kind);
    let stored = api.create(&PostParams::default(), &serde_json::from_value(deployment)?).await?;
    let name = stored.metadata.name.clone().context("a name")?;
    let (mut alone, mut after) = (Vec::new(), Vec::new());
    for (control, patch, second) in attempts(&failing(&serde_json::to_value(stored)?)?) {
        let fixed = match (dry_run(&api, &name, &patch).await?, second) {
            (Ok(fixed), _) => {
                alone.push(control.id);
                fixed
            }
            (Err(_), Some(second)) => {
                after.push(control.id);
                let answer = dry_run(&api, &name, &second).await?;
                answer.map_err(|refusal| anyhow!("{}: {second:?}: {refusal}", control.id))?
            }
            (Err(refusal), None) => bail!("{}: {patch:?}: {refusal}", control.id),
        };
        let still = failing(&fixed)?.into_iter().find(|(failing, _)| failing.id == control.id);
        ensure!(still.is_none(), "{} still fails after {patch:?}: {still:?}", control.id);
    }
    Ok((alone, after))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_accepts_every_fix_and_the_control_then_passes() -> Result<()> {
    let Some(plane) = tier::available("apiserver", ControlPlane::start("fixes").await)? else { return Ok(()) };
    plane.namespace(NAMESPACE, &[]).await?;
    let client = plane.client().await?;
    let tried: Vec<_> = futures::stream::iter(deployments()?)
        .map(|deployment| try_fixes(client.clone(), deployment))
        .buffer_unordered(8)
        .try_collect()
        .await?;
    let alone: Vec<_> = tried.iter().flat_map(|(alone, _)| alone).collect();
    let after: Vec<_> = tried.iter().flat_map(|(_, after)| after).collect();
    let controls: BTreeSet<_> = alone.iter().collect();
    println!(
        "fixes: {} accepted for {} controls, {} more after the one that goes first",
        alone.len(),
        controls.len(),
        after.len()
    );
    ensure!(controls.len() >= 15, "only {controls:?} were tried");
    Ok(())
}
