//! The catalog as a whole: the files, the ids and the list say the same, and no control is half described.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use holdfast_controls::catalog::{self, CONTROLS, Fix};
use holdfast_controls::pod_security::CHECKS;
use holdfast_model::Method;

/// The ids that each file of an archetype's folder declares, by `folder/file` without the ending.
fn declared() -> BTreeMap<String, Vec<String>> {
    let catalog = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/catalog");
    let files = entries(&catalog).into_iter().filter(|path| path.is_dir()).flat_map(|folder| entries(&folder));
    let named = files.map(|file| {
        let path = file.with_extension("");
        let name = path.strip_prefix(&catalog).expect("it was found below the catalog");
        (name.display().to_string(), ids_in(&file))
    });
    named.filter(|(_, ids)| !ids.is_empty()).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the sources are there");
    entries.map(|entry| entry.expect("the sources can be read").path()).collect()
}

#[allow(clippy::disallowed_methods, reason = "the test compares the list with the source files")]
fn ids_in(file: &Path) -> Vec<String> {
    let source = std::fs::read_to_string(file).expect("the sources can be read");
    let starts = ["id: \"", "const ID: &str = \""];
    let lines = source.lines().filter_map(|line| starts.iter().find_map(|start| line.trim().strip_prefix(start)));
    lines.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
}

#[test]
fn files_ids_and_list_agree() {
    let declared = declared();
    let in_files: Vec<&String> = declared.values().flatten().collect();
    let distinct: BTreeSet<&str> = in_files.iter().map(|id| id.as_str()).collect();
    assert_eq!(distinct.len(), in_files.len(), "an id is declared twice");
    assert_eq!(distinct, catalog::all().map(|control| control.id).collect(), "the files and the list differ");
    for (file, ids) in &declared {
        let (folder, name) = file.split_once('/').unwrap();
        for id in ids {
            let (archetype, kebab) = id.split_once('.').unwrap();
            assert_eq!(archetype, folder, "{id} is in {file}");
            // A family, whose members differ in data alone, has a name of its own.
            assert!(ids.len() > 1 || kebab.replace('-', "_") == name, "{id} is in {file}");
        }
    }
}

#[test]
fn each_archetype_is_listed_by_id() {
    for controls in CONTROLS {
        assert!(
            controls.is_sorted_by_key(|control| control.id),
            "{:?}",
            controls.iter().map(|c| c.id).collect::<Vec<_>>()
        );
        assert!(controls.windows(2).all(|pair| pair[0].archetype() == pair[1].archetype()));
    }
}

#[test]
fn no_control_is_half_described() {
    for control in catalog::all() {
        let id = control.id;
        let (archetype, kebab) = id.split_once('.').unwrap();
        assert_eq!(control.archetype().as_str(), archetype, "{id}");
        assert!(
            !kebab.is_empty() && kebab.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
            "{id}"
        );
        assert!(control.version >= 1, "{id}");
        assert!(control.title.len() > 10 && !control.title.ends_with('.'), "{id}: {}", control.title);
        for text in [control.description, control.remediation] {
            assert!(text.len() > 25 && text.ends_with('.') && !text.contains("  "), "{id}: {text}");
        }
        assert!(control.methods.contains(&Method::LiveRead), "{id} cannot be proved on a live cluster");
        let looks_at_processes = control.methods.contains(&Method::RuntimeRecheck);
        assert_eq!(
            control.running.is_some(),
            looks_at_processes,
            "{id} names runtime-recheck and has no process rule, or the other way round"
        );
        if let Some(fix) = &control.fix {
            assert_is_well_formed(fix, id);
        }
    }
}

fn assert_is_well_formed(fix: &Fix, id: &str) {
    match fix {
        Fix::Set { field, to } => {
            assert!(!field.is_empty() && !field.contains(['[', ']', '*']), "{id}: {field}");
            assert!(serde_json::from_str::<serde_json::Value>(to).is_ok(), "{id}: {to}");
        }
        Fix::Remove(pattern) => assert!(!pattern.is_empty() && !pattern.starts_with('['), "{id}: {pattern}"),
        Fix::FirstOf(fixes) => fixes.iter().for_each(|fix| assert_is_well_formed(fix, id)),
        Fix::Label { key, to } => assert!(key.contains('/') && !to.is_empty(), "{id}: {key}"),
        Fix::Create(template) => assert!(template.contains("namespace: {namespace}"), "{id}: {template}"),
    }
}

#[test]
fn every_check_of_the_standards_is_decided_by_controls_of_the_list() {
    for check in CHECKS {
        assert!(check.controls().next().is_some(), "{}", check.id);
        for id in check.controls() {
            assert!(catalog::Control::find(id).is_some(), "{}: {id} is not in the list", check.id);
        }
    }
}
