//! Rules that the compiler does not check: which room may depend on what, which modules may use each other, which words the
//! sources use, and what documents must be.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use holdfast_controls::pod_security::{self, Check};
use holdfast_controls::{Control, catalog};

#[path = "house/circles.rs"]
mod circles;
#[path = "house/dependencies.rs"]
mod dependencies;
#[path = "house/words.rs"]
mod words;

/// Modules that still depend on each other. The list only shrinks: one that no longer exists has to be removed here.
const CIRCLES: &[(&str, &str)] = &[];

const PURE: &[&str] =
    &["holdfast-model", "holdfast-proof", "holdfast-controls", "holdfast-agent-core", "holdfast-record"];
const IMPURE: &[&str] =
    &["tokio", "kube", "kube-client", "tonic", "sqlx", "sqlx-core", "axum", "aya", "reqwest", "rustls"];

#[test]
fn a_pure_room_depends_on_no_crate_that_does_io() -> Result<()> {
    for room in PURE {
        let tree = cargo(&["tree", "-p", room, "-e", "normal", "--prefix", "none", "--format", "{p}"])?;
        let found: Vec<_> =
            tree.lines().filter_map(|line| line.split(' ').next()).filter(|name| IMPURE.contains(name)).collect();
        ensure!(found.is_empty(), "{room} is a pure room, but depends on {found:?}");
    }
    Ok(())
}

#[test]
fn one_tls_stack_and_no_second_crypto_library() -> Result<()> {
    let tree = cargo(&["tree", "--workspace", "-e", "normal,build", "--prefix", "none", "--format", "{p}"])?;
    let unwanted = ["ring", "openssl-sys", "native-tls", "backoff", "chrono-tz"];
    let found: Vec<_> =
        tree.lines().filter_map(|line| line.split(' ').next()).filter(|name| unwanted.contains(name)).collect();
    ensure!(found.is_empty(), "these crates may not be in the build: {found:?}");
    Ok(())
}

#[test]
fn every_room_has_a_short_readme() -> Result<()> {
    for room in [
        "proto",
        "proof",
        "api-types",
        "proto/model",
        "controls",
        "ebpf",
        "agent",
        "agent/core",
        "aggregator",
        "aggregator/record",
        "aggregator/store",
        "cli",
        "tests",
        "tests/lab",
        "charts",
        "charts/holdfast-agent",
        "charts/holdfast-aggregator",
    ] {
        let readme = root().join(room).join("README.md");
        let text = std::fs::read_to_string(&readme).with_context(|| format!("{room} has no README.md"))?;
        ensure!(text.lines().count() <= 40, "{room}/README.md is longer than 40 lines");
    }
    let readme = std::fs::read_to_string(root().join("README.md"))?;
    ensure!(readme.lines().count() <= 120, "README.md is longer than 120 lines");
    Ok(())
}

/// How many lines a new one costs is shown by the rooms themselves, which compile a fake one in; here the places are held.
#[test]
fn the_table_of_adding_things_names_folders_and_files_that_exist() -> Result<()> {
    let readme = std::fs::read_to_string(root().join("README.md"))?;
    let (_, table) = readme.split_once("## Adding things").context("README.md has no table of adding things")?;
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ")).skip(1);
    let mut checked = 0;
    for row in rows {
        let cells: Vec<_> = row.split('|').collect();
        let [thing, added, changed, ..] = cells[..] else { anyhow::bail!("a row without three cells: {row}") };
        let folders: Vec<_> =
            quoted(added).filter_map(|path| path.split_once('<')).map(|(path, _)| root().join(path)).collect();
        ensure!(!folders.is_empty(), "{thing} names no folder");
        for folder in &folders {
            ensure!(folder.is_dir(), "{thing}: {} is no folder", folder.display());
        }
        for file in quoted(changed) {
            let exists =
                |folder: &PathBuf| folder.join(file).is_file() || folder.with_file_name("").join(file).is_file();
            ensure!(folders.iter().any(exists), "{thing}: there is no {file}");
        }
        checked += 1;
    }
    ensure!(checked >= 7, "only {checked} rows");
    Ok(())
}

/// The parts of a text in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn no_two_modules_of_a_crate_need_each_other() -> Result<()> {
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    for (room, source) in crates()? {
        for (circle, evidence) in circles::circles(&source) {
            if !CIRCLES.contains(&(room.as_str(), circle.as_str())) {
                unknown.push(format!("{room}: {circle}: {evidence}"));
            }
            found.push((room.clone(), circle));
        }
    }
    ensure!(unknown.is_empty(), "modules need each other:\n{}", unknown.join("\n"));
    let known = CIRCLES.iter().map(|(room, circle)| ((*room).to_owned(), (*circle).to_owned()));
    let mended: Vec<_> = known.filter(|circle| !found.contains(circle)).collect();
    ensure!(mended.is_empty(), "no longer circles, so take them from the list: {mended:?}");
    Ok(())
}

/// Every crate of the workspace: its folder, and its sources.
fn crates() -> Result<Vec<(String, PathBuf)>> {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"])?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let manifests = metadata["packages"].as_array().context("cargo lists no packages")?;
    let mut crates = Vec::new();
    for manifest in manifests.iter().filter_map(|package| package["manifest_path"].as_str()) {
        let folder = Path::new(manifest).parent().context("a manifest is in a folder")?;
        let name = folder.strip_prefix(root())?.display().to_string();
        crates.push((name, folder.join("src")));
    }
    ensure!(crates.len() > 8, "only {} crates", crates.len());
    Ok(crates.into_iter().filter(|(_, source)| source.is_dir()).collect())
}

/// The page of controls is generated from the catalog: `UPDATE_EXPECT=1` rewrites it.
#[test]
fn the_page_of_controls_equals_the_catalog() {
    let mut page = String::from(
        "# Controls\n\nGenerated from the catalog in `controls/src/catalog`; `holdfast controls` lists them as well.\n",
    );
    for archetype in catalog::CONTROLS {
        for control in *archetype {
            page.push_str(&section(control));
        }
    }
    expect_test::expect_file!["../../docs/controls.md"].assert_eq(&page);
}

fn section(control: &Control) -> String {
    let methods: Vec<_> = control.methods.iter().map(|method| method.as_str()).collect();
    let check = |check: &Check| format!("`{}` ({})", check.id, check.level.as_str());
    let mut checks: Vec<_> = pod_security::decided_by(control).map(check).collect();
    checks.sort();
    checks.dedup();
    let decides = match checks.is_empty() {
        true => String::new(),
        false => format!(" Decides Pod Security's {}.", checks.join(", ")),
    };
    format!(
        "\n## {}\n\n{}. Severity **{}**, version {}; proved by {}; deletion {}{}.{decides}\n\n{}\n\n**Fix.** {}\n",
        control.id,
        control.title,
        control.severity,
        control.version,
        methods.join(", "),
        control.on_deletion,
        if control.fix.is_some() { "; with a ready fix" } else { "" },
        control.description,
        control.remediation,
    )
}

fn cargo(args: &[&str]) -> Result<String> {
    let output = Command::new(env!("CARGO")).args(args).args(["--offline", "--locked"]).current_dir(root()).output()?;
    ensure!(output.status.success(), "cargo {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}
