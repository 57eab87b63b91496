//! The crates that a package is linked with: the closure of its normal dependencies, with features as locked.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// A package and its closure, by cargo's package id.
pub struct Crates {
    root: String,
    packages: BTreeMap<String, Value>,
    edges: BTreeMap<String, BTreeSet<String>>,
}

impl Crates {
    /// Reads `cargo metadata`.
    pub fn linked_with(package: &str) -> Result<Self> {
        Self::from_metadata(package, &metadata()?)
    }

    fn from_metadata(package: &str, metadata: &Value) -> Result<Self> {
        let packages = by_id(&metadata["packages"])?;
        let nodes = by_id(&metadata["resolve"]["nodes"])?;
        let named = packages.iter().find(|(_, found)| found["name"] == package);
        let root = named.with_context(|| format!("no package {package} in this workspace"))?.0.clone();
        let mut edges = BTreeMap::new();
        let mut waiting = vec![root.clone()];
        while let Some(id) = waiting.pop() {
            if edges.contains_key(&id) {
                continue;
            }
            let linked = linked(nodes.get(&id).with_context(|| format!("cargo did not resolve {id}"))?);
            waiting.extend(linked.iter().cloned());
            edges.insert(id, linked);
        }
        let packages = packages.into_iter().filter(|(id, _)| edges.contains_key(id)).collect();
        Ok(Self { root, packages, edges })
    }

    /// The package itself.
    pub fn root(&self) -> Value {
        let mut component = component(&self.packages[&self.root]);
        component["type"] = json!("application");
        component
    }

    /// Everything that it is linked with, by reference.
    pub fn components(&self) -> Vec<Value> {
        let others = self.packages.iter().filter(|(id, _)| **id != self.root);
        let mut components: Vec<_> = others.map(|(_, package)| component(package)).collect();
        components.sort_by_key(|component| component["bom-ref"].to_string());
        components
    }

    /// Which depends on which.
    pub fn dependencies(&self) -> Vec<Value> {
        let named = |id: &String| reference(&self.packages[id]);
        let mut all: Vec<_> = self
            .edges
            .iter()
            .map(|(id, linked)| {
                let mut on: Vec<_> = linked.iter().map(named).collect();
                on.sort();
                (named(id), on)
            })
            .collect();
        all.sort();
        all.into_iter().map(|(of, on)| json!({"ref": of, "dependsOn": on})).collect()
    }
}

fn metadata() -> Result<Value> {
    let host = Command::new("rustc").arg("-vV").output().context("starting rustc")?;
    let host = String::from_utf8(host.stdout)?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let args = ["metadata", "--locked", "--format-version", "1", "--filter-platform", host];
    let output = Command::new("cargo").args(args).output().context("starting cargo")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn by_id(list: &Value) -> Result<BTreeMap<String, Value>> {
    let list = list.as_array().context("cargo metadata has no such list")?;
    list.iter().map(|one| Ok((one["id"].as_str().context("an entry without id")?.to_owned(), one.clone()))).collect()
}

/// What a crate is linked with: neither what builds it nor what tests it.
fn linked(node: &Value) -> BTreeSet<String> {
    let normal = |dependency: &&Value| {
        dependency["dep_kinds"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
    };
    let dependencies = node["deps"].as_array().into_iter().flatten().filter(normal);
    dependencies.filter_map(|dependency| dependency["pkg"].as_str().map(str::to_owned)).collect()
}

fn component(package: &Value) -> Value {
    let mut component = json!({
        "type": "library", "bom-ref": reference(package), "name": package["name"], "version": package["version"],
        "purl": reference(package),
    });
    if let Some(licence) = package["license"].as_str() {
        // The old way of writing "or" is no SPDX expression.
        component["licenses"] = json!([{"expression": licence.replace('/', " OR ")}]);
    }
    component
}

fn reference(package: &Value) -> String {
    let text = |key: &str| package[key].as_str().unwrap_or_default().replace('+', "%2B");
    format!("pkg:cargo/{}@{}", text("name"), text("version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str) -> Value {
        json!({"id": name, "name": name, "version": "1.0.0+x", "license": "MIT/Apache-2.0"})
    }

    fn dependency(name: &str, kind: Value) -> Value {
        json!({"pkg": name, "dep_kinds": [{"kind": kind}]})
    }

    #[test]
    fn what_builds_or_tests_a_crate_is_not_in_its_image() -> Result<()> {
        let deps = [
            dependency("linked", json!(null)),
            dependency("builds", json!("build")),
            dependency("tests", json!("dev")),
        ];
        let packages = ["app", "linked", "deep", "builds", "tests"].map(package);
        let metadata = json!({
            "packages": packages,
            "resolve": {"nodes": [
                {"id": "app", "deps": deps},
                {"id": "linked", "deps": [dependency("deep", json!(null))]},
                {"id": "deep", "deps": []}, {"id": "builds", "deps": []}, {"id": "tests", "deps": []},
            ]},
        });
        let crates = Crates::from_metadata("app", &metadata)?;
        let names: Vec<_> = crates.components().into_iter().map(|component| component["name"].clone()).collect();
        assert_eq!(names, ["deep", "linked"]);
        assert_eq!(crates.root()["purl"], "pkg:cargo/app@1.0.0%2Bx");
        assert_eq!(crates.root()["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(crates.dependencies().len(), 3);
        Ok(())
    }
}
