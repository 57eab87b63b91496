//! What the charts render, compared with goldens, one file an object, and with the rights that the agent lists.
//!
//! `UPDATE_EXPECT=1` rewrites the goldens. Each values file in a chart's `ci/` folder has a golden of its own, which holds only
//! the differences from the default.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use expect_test::expect_file;
use holdfast_agent::rights::{self, Right, Scope, Subject};
use holdfast_tests::difference::difference;
use holdfast_tests::helm::{Helm, Rendered, chart_path, root, values, values_files};
use serde_json::Value;

use super::{CHARTS, helm};

/// The golden of the notes printed after an installation.
pub const NOTES: &str = "notes.txt";

#[tokio::test]
async fn lint_finds_nothing_with_any_values_file() -> Result<()> {
    let Some(helm) = helm().await? else { return Ok(()) };
    for chart in CHARTS {
        for file in values_files(chart)? {
            let (first, second) = (values(chart, "default"), values(chart, &file));
            helm.print(&["lint", "--strict", &chart_path(chart), "--values", &first, "--values", &second]).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_object_equals_its_golden() -> Result<()> {
    let Some(helm) = helm().await? else { return Ok(()) };
    for chart in CHARTS {
        let mut files = BTreeSet::new();
        for Rendered { name, text, .. } in helm.render(chart, &[]).await? {
            ensure!(files.insert(format!("{name}.yaml")), "{chart} renders {name} twice");
            expect_file![golden(chart, &format!("{name}.yaml"))].assert_eq(&text);
        }
        for file in values_files(chart)?.into_iter().filter(|file| file != "default") {
            expect_file![golden(chart, &format!("{file}.diff"))].assert_eq(&changes(&helm, chart, &file).await?);
            files.insert(format!("{file}.diff"));
        }
        // Helm prints these only with a cluster: `installed` checks them.
        files.insert(NOTES.to_owned());
        no_golden_is_left_over(chart, &files)?;
    }
    Ok(())
}

#[tokio::test]
async fn every_object_carries_the_recommended_labels() -> Result<()> {
    let Some(helm) = helm().await? else { return Ok(()) };
    for chart in CHARTS {
        for Rendered { name, object, .. } in helm.render(chart, &[]).await? {
            for label in ["name", "instance", "version", "part-of", "managed-by"] {
                let value = object["metadata"]["labels"][format!("app.kubernetes.io/{label}")].as_str();
                ensure!(value.is_some_and(|value| !value.is_empty()), "{name} of {chart} has no label {label}");
            }
        }
    }
    Ok(())
}

/// The chart reads its rules from files that are generated from the agent's own lists.
#[test]
fn the_charts_rules_are_the_agents_rights_with_their_reasons() {
    let lists = [("watch", rights::rights()), ("relay", rights::relay_rights()), ("own", rights::own_rights())];
    for (name, list) in lists {
        let path = root().join(format!("charts/holdfast-agent/files/{name}-rights.yaml"));
        expect_file![path].assert_eq(&list.iter().map(rule).collect::<String>());
    }
}

#[tokio::test]
async fn the_charts_roles_and_bindings_are_those_that_the_agent_grants_itself() -> Result<()> {
    let Some(helm) = helm().await? else { return Ok(()) };
    let name = "holdfast-agent";
    let to = Subject::ServiceAccount { namespace: "holdfast", name };
    let own = rights::grant(name, Scope::Namespace("holdfast"), to, &rights::own_rights());
    let watching = rights::grant(name, Scope::Cluster, to, &rights::rights());
    let all = rights::grant(name, Scope::Cluster, to, &[rights::rights(), rights::relay_rights()].concat());
    for (file, cluster) in [("default", all.clone()), ("folded", all), ("no-nodes", watching)] {
        let objects = helm.render(name, &["--values", &values(name, file)]).await?;
        let rbac = |object: &&Value| object["apiVersion"] == "rbac.authorization.k8s.io/v1";
        let rendered: Vec<_> = objects.iter().map(|rendered| &rendered.object).filter(rbac).collect();
        assert_eq!(rendered.len(), 4, "{file}: one role in the cluster, one in the namespace, a binding each");
        for expected in cluster.iter().chain(&own) {
            let found = rendered.iter().find(|object| object["kind"] == expected["kind"]).unwrap();
            for part in ["rules", "roleRef", "subjects"] {
                assert_eq!(found[part], expected[part], "{part} of {} with {file}", expected["kind"]);
            }
            for part in ["name", "namespace"] {
                assert_eq!(found["metadata"][part], expected["metadata"][part], "{} with {file}", expected["kind"]);
            }
        }
    }
    Ok(())
}

/// What a values file changes, object by object.
async fn changes(helm: &Helm, chart: &str, file: &str) -> Result<String> {
    let (before, after) =
        (helm.render(chart, &[]).await?, helm.render(chart, &["--values", &values(chart, file)]).await?);
    let names: BTreeSet<_> = before.iter().chain(&after).map(|rendered| &rendered.name).collect();
    let text = |objects: &[Rendered], name: &str| {
        objects.iter().find(|rendered| rendered.name == name).map(|rendered| rendered.text.clone())
    };
    let mut changes = String::new();
    for name in names {
        let (old, new) = (text(&before, name), text(&after, name));
        match (&old, &new) {
            (Some(_), None) => changes.push_str(&format!("== {name}: gone\n")),
            _ => {
                let lines = difference(&old.unwrap_or_default(), &new.unwrap_or_default());
                if !lines.is_empty() {
                    changes.push_str(&format!("== {name}\n{lines}"));
                }
            }
        }
    }
    Ok(changes)
}

fn rule(right: &Right) -> String {
    let group = if right.group.is_empty() { "\"\"" } else { right.group };
    let name = right.name.map_or(String::new(), |name| format!("  resourceNames: [{name}]\n"));
    format!(
        "# {}: {}\n- apiGroups: [{group}]\n  resources: [{}]\n{name}  verbs: [{}]\n",
        right.resource,
        right.reason,
        right.resource,
        right.verbs.join(", "),
    )
}

pub fn golden(chart: &str, file: &str) -> PathBuf {
    root().join("tests/suites/charts").join(chart).join(file)
}

fn no_golden_is_left_over(chart: &str, files: &BTreeSet<String>) -> Result<()> {
    let folder = golden(chart, "");
    for entry in std::fs::read_dir(Path::new(&folder))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !files.contains(&name) && std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::remove_file(folder.join(&name))?;
        } else {
            ensure!(files.contains(&name), "{chart} renders nothing for the golden {name}");
        }
    }
    Ok(())
}
