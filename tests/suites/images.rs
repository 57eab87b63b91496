//! The images: equal programs give equal bytes, nothing runs as root, and each has labels and a bill of materials.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use holdfast_lab::real_nodes_possible;
use holdfast_tests::{images, tier};
use serde_json::Value;

#[tokio::test]
async fn equal_programs_give_equal_images_with_labels_and_a_bill_of_materials() -> Result<()> {
    let Some(()) = tier::available("node", real_nodes_possible())? else { return Ok(()) };
    let (once, again) = (tempfile::tempdir()?, tempfile::tempdir()?);
    for folder in [&once, &again] {
        images::build(folder.path(), "test").await?;
    }
    for name in images::IMAGES {
        for file in [format!("{name}.id"), format!("{name}.tar"), format!("{name}.cdx.json")] {
            let [first, second] = [&once, &again].map(|folder| std::fs::read(folder.path().join(&file)));
            ensure!(first? == second?, "{file} differs from one build to the next");
        }
        has_user_entrypoint_and_labels(once.path(), name)?;
        has_a_complete_bill_of_materials(once.path(), name)?;
    }
    Ok(())
}

fn has_user_entrypoint_and_labels(folder: &Path, name: &str) -> Result<()> {
    let manifest: Value = serde_json::from_str(&from_archive(folder, name, "manifest.json")?)?;
    assert_eq!(manifest[0]["RepoTags"][0], format!("localhost/{name}:test"));
    let config = manifest[0]["Config"].as_str().context("no configuration")?;
    let config: Value = serde_json::from_str(&from_archive(folder, name, config)?)?;
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Entrypoint"][0], format!("/{name}"));
    let labels = &config["config"]["Labels"];
    for label in ["title", "description", "version", "revision", "licenses"] {
        let present = labels[format!("org.opencontainers.image.{label}")].as_str().is_some_and(|text| !text.is_empty());
        ensure!(present, "{name} has no label {label}: {labels}");
    }
    Ok(())
}

fn has_a_complete_bill_of_materials(folder: &Path, name: &str) -> Result<()> {
    let bill: Value = serde_json::from_slice(&std::fs::read(folder.join(format!("{name}.cdx.json")))?)?;
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    assert_eq!(bill["metadata"]["component"]["name"], name);
    let components = bill["components"].as_array().context("no components")?;
    let references = components.iter().map(|component| component["bom-ref"].as_str().context("without a reference"));
    let references = references.collect::<Result<BTreeSet<_>>>()?;
    assert_eq!(references.len(), components.len(), "a component is listed twice");
    ensure!(references.contains(format!("file:/{name}").as_str()), "the program itself is not listed");
    ensure!(
        references.contains("file:/lib/x86_64-linux-gnu/libc.so.6") || cfg!(not(target_arch = "x86_64")),
        "no libc"
    );
    for one in ["rustls", "tokio", "kube-client", "aws-lc-rs"] {
        let listed = references.iter().any(|reference| reference.starts_with(&format!("pkg:cargo/{one}@")));
        ensure!(listed || (one == "kube-client" && name == "holdfast-aggregator"), "{one} is not listed for {name}");
    }
    let root = bill["metadata"]["component"]["bom-ref"].as_str().context("no root")?;
    for dependency in bill["dependencies"].as_array().context("no dependencies")? {
        let named = dependency["dependsOn"].as_array().into_iter().flatten().chain([&dependency["ref"]]);
        for reference in named.filter_map(Value::as_str) {
            ensure!(reference == root || references.contains(reference), "{reference} is used but not listed");
        }
    }
    Ok(())
}

/// A file of an image's archive.
fn from_archive(folder: &Path, name: &str, file: &str) -> Result<String> {
    let archive = folder.join(format!("{name}.tar"));
    let output =
        Command::new("tar").arg("--extract").arg("--to-stdout").arg("--file").arg(&archive).arg(file).output()?;
    ensure!(output.status.success(), "{}: {}", archive.display(), String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
