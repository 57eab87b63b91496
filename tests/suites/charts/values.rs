//! The values of the charts: every value has a comment, unknown ones are refused by name, contradictions with a clear message.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use holdfast_tests::helm::{chart_path, values};
use serde_json::{Map, Value};

use super::{CHARTS, helm};

#[tokio::test]
async fn an_unknown_or_impossible_value_is_refused_by_its_name() -> Result<()> {
    let Some(helm) = helm().await? else { return Ok(()) };
    let cases = [
        ("holdfast-agent", &["clusters.replicas=2"][..], "clusters"),
        ("holdfast-agent", &["cluster.replica=3"], "replica"),
        ("holdfast-agent", &["node.privileged=true"], "privileged"),
        ("holdfast-agent", &["cluster.resources.limit.cpu=1"], "limit"),
        ("holdfast-agent", &["node.tolerations[0].op=Exists"], "op"),
        ("holdfast-agent", &["cluster.replicas=0"], "/cluster/replicas"),
        ("holdfast-agent", &["aggregator.url=http://holdfast.example.com"], "/aggregator/url"),
        ("holdfast-agent", &["aggregator.rootFingerprint=abc"], "/aggregator/rootFingerprint"),
        ("holdfast-agent", &["joinToken.existingSecret=", "joinToken.value=secret"], "/joinToken/value"),
        ("holdfast-aggregator", &["replicas=2"], "replicas"),
        ("holdfast-aggregator", &["api.tls=true"], "tls"),
        ("holdfast-aggregator", &["networkPolicy.apiFrom[0].namespace=x"], "namespace"),
        ("holdfast-aggregator", &["store.engine=mysql"], "/store/engine"),
        ("holdfast-aggregator", &["agents.port=70000"], "/agents/port"),
        ("holdfast-aggregator", &["image.digest=latest"], "/image/digest"),
    ];
    for (chart, sets, named) in cases {
        let error = refusal(&helm, chart, sets).await?;
        ensure!(error.contains("don't meet the specifications of the schema"), "{sets:?}: {error}");
        ensure!(error.contains(&format!("'{named}'")), "{sets:?} is refused without naming {named}: {error}");
    }
    Ok(())
}

#[tokio::test]
async fn values_that_contradict_each_other_are_refused_with_a_clear_message() -> Result<()> {
    let Some(helm) = helm().await? else { return Ok(()) };
    let token = "joinToken.value=hf_join_aa.bb.5f1c0b7a5f1c0b7a5f1c0b7a5f1c0b7a5f1c0b7a5f1c0b7a5f1c0b7a5f1c0b7a";
    let cases = [
        ("holdfast-agent", &["aggregator.url="][..], "aggregator.url is not set"),
        ("holdfast-agent", &["aggregator.rootFingerprint="], "aggregator.rootFingerprint is not set"),
        ("holdfast-agent", &[token], "joinToken.existingSecret and joinToken.value are both set"),
        ("holdfast-agent", &["cluster.inDaemonSet=true", "node.enabled=false"], "node.enabled=false has none"),
        ("holdfast-agent", &["node.namespace=holdfast"], "node.namespace is the release's own namespace"),
        ("holdfast-aggregator", &["store.engine=postgres"], "store.engine=postgres is not ready"),
        ("holdfast-aggregator", &["policy.inline=a", "policy.existingConfigMap=b"], "both set: set only one"),
        ("holdfast-aggregator", &["ingress.enabled=true"], "ingress.enabled needs ingress.host and ingress.tlsSecret"),
        ("holdfast-aggregator", &["serviceMonitor.enabled=true"], "serviceMonitor.enabled needs"),
    ];
    for (chart, sets, expected) in cases {
        let error = refusal(&helm, chart, sets).await?;
        ensure!(error.contains(expected), "{sets:?}: {error}");
    }
    Ok(())
}

/// Only maps with keys of the user's choice (labels, annotations, quantities) are open, and those have typed values.
#[test]
fn no_object_of_the_schemas_takes_unknown_keys() -> Result<()> {
    for chart in CHARTS {
        let mut nodes = vec![(String::new(), schema(chart)?)];
        while let Some((path, node)) = nodes.pop() {
            let is_object = node["type"] == "object" && path != "/properties/global";
            let closed = node["additionalProperties"] == false || node["additionalProperties"]["type"] != Value::Null;
            ensure!(!is_object || closed, "{chart}: {path} accepts unknown keys");
            let children = node.as_object().into_iter().flatten();
            nodes.extend(children.map(|(key, child)| (format!("{path}/{key}"), child.clone())));
        }
    }
    Ok(())
}

#[test]
fn every_value_is_in_the_schema_and_has_a_comment() -> Result<()> {
    for chart in CHARTS {
        let text = std::fs::read_to_string(format!("{}/values.yaml", chart_path(chart)))?;
        let given: Value = serde_saphyr::from_str(&text)?;
        let explained = comments(&text);
        let schema = schema(chart)?;
        let mut sections = vec![(Vec::<String>::new(), schema["properties"].clone(), given)];
        while let Some((path, properties, given)) = sections.pop() {
            let (properties, given) = (object(&properties)?, object(&given)?);
            let extra = given.keys().find(|key| !properties.contains_key(*key));
            ensure!(extra.is_none(), "{chart}: the schema does not know {extra:?} of {path:?}");
            for (key, property) in properties.iter().filter(|(key, _)| *key != "global") {
                let path = [&path[..], std::slice::from_ref(key)].concat();
                let value = given.get(key).with_context(|| format!("{chart}: values.yaml lacks {}", path.join(".")))?;
                if property.get("properties").is_some() {
                    sections.push((path, property["properties"].clone(), value.clone()));
                } else {
                    // A shared definition, such as `image`, has comments on its own keys.
                    let inside = explained.iter().any(|(inner, comment)| inner.starts_with(&path) && *comment);
                    ensure!(inside, "{chart}: {} has no comment", path.join("."));
                }
            }
        }
    }
    Ok(())
}

async fn refusal(helm: &holdfast_tests::helm::Helm, chart: &str, sets: &[&str]) -> Result<String> {
    let (path, default) = (chart_path(chart), values(chart, "default"));
    let mut args = vec!["template", chart, &path, "--namespace", "holdfast", "--values", &default];
    sets.iter().for_each(|set| args.extend(["--set", set]));
    let output = helm.run(&args).await?;
    ensure!(!output.success, "{chart} accepts {sets:?}");
    Ok(output.err)
}

fn schema(chart: &str) -> Result<Value> {
    Ok(serde_json::from_str(&std::fs::read_to_string(format!("{}/values.schema.json", chart_path(chart)))?)?)
}

fn object(value: &Value) -> Result<Map<String, Value>> {
    value.as_object().cloned().with_context(|| format!("no object: {value}"))
}

/// Every key of a YAML file by its path, and whether the line above it is a comment.
fn comments(text: &str) -> BTreeMap<Vec<String>, bool> {
    let mut path: Vec<(usize, String)> = Vec::new();
    let mut above = false;
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim_start();
        if let Some((key, _)) = line.split_once(':').filter(|_| !line.starts_with(['#', '-'])) {
            path.retain(|(outer, _)| *outer < indent);
            path.push((indent, key.to_owned()));
            found.insert(path.iter().map(|(_, key)| key.clone()).collect(), above);
        }
        above = line.starts_with('#');
    }
    found
}
