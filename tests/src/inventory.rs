//! A cluster judged from scratch: every object listed once, as an administrator, and evaluated by every control. Holdfast's
//! record must equal this once everything is at rest.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use holdfast_agent::collect::path;
use holdfast_controls::catalog::{self, Judge};
use holdfast_controls::evaluate::Answer;
use holdfast_controls::facts::project;
use holdfast_controls::{Inventory, KINDS, Kind};
use holdfast_lab::ControlPlane;
use kube::Client;
use serde_json::Value;

/// What a finding is about, within one cluster: group, kind, namespace, name, control.
pub type Identity = [String; 5];

/// Everything that fails now.
pub async fn failing(plane: &ControlPlane) -> Result<BTreeSet<Identity>> {
    let client = plane.client().await?;
    let version = client.apiserver_version().await?;
    let mut inventory = Inventory::complete();
    inventory.set_server_minor(version.minor.trim_end_matches('+').parse()?);
    for &kind in KINDS {
        for object in list(&client, kind).await? {
            inventory.apply(project(kind, object)?);
        }
    }
    let subjects: Vec<_> = inventory.subjects().cloned().collect();
    let judged = subjects.iter().filter_map(|subject| inventory.evaluate(subject));
    let failing = judged.flat_map(|judgement| {
        let fails = judgement.outcomes.into_iter().filter(|outcome| matches!(outcome.answer, Answer::Fail(_)));
        let resource = judgement.resource;
        fails.map(move |outcome| {
            let namespace = resource.namespace.clone().unwrap_or_default();
            [&resource.group, &resource.kind, &namespace, &resource.name, outcome.control.id]
                .map(|part: &str| part.to_owned())
        })
    });
    Ok(failing.collect())
}

/// The findings in a list of rows by identity, each with its id. Controls that only running processes can fail are left out.
pub fn by_identity(rows: &Value) -> Result<BTreeMap<Identity, String>> {
    let of_objects =
        |id: &str| catalog::all().any(|control| control.id == id && !matches!(control.judge, Judge::Processes));
    let mut found = BTreeMap::new();
    for row in rows.as_array().context("findings are no list")? {
        let text = |pointer: &str| row.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let control = text("/control_id");
        if of_objects(&control) {
            let resource = ["/resource/group", "/resource/kind", "/resource/namespace", "/resource/name"].map(text);
            let [group, kind, namespace, name] = resource;
            found.insert([group, kind, namespace, name, control], row["id"].as_str().context("no id")?.to_owned());
        }
    }
    Ok(found)
}

async fn list(client: &Client, kind: &'static Kind) -> Result<Vec<Value>> {
    let request = http::Request::get(path::collection(kind, None)).body(Vec::new())?;
    let listed: Value = match client.request(request).await {
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Vec::new()),
        listed => listed.with_context(|| format!("listing {}", kind.plural))?,
    };
    Ok(listed["items"].as_array().cloned().unwrap_or_default())
}
