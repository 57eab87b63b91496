//! How controls that look around are tested: a small cluster in YAML, and what one control finds in it.

use expect_test::Expect;

use super::Control;
use crate::facts::{Kind, project};
use crate::inventory::{Answer, Inventory};

/// The control finds exactly this in these objects, a line a place: `ClusterRole reader: rules[0].verbs[0] = *`.
#[track_caller]
pub(crate) fn fires(control: &Control, objects: &str, expected: Expect) {
    let found = found(control, objects);
    assert!(!found.is_empty(), "{} finds nothing", control.id);
    expected.assert_eq(&found);
}

/// The control applies to something here and finds nothing.
#[track_caller]
pub(crate) fn silent(control: &Control, objects: &str) {
    assert_eq!(found(control, objects), "", "{} finds something", control.id);
    assert!(applies(control, objects), "{} applies to nothing here", control.id);
}

/// The control applies to nothing here.
#[track_caller]
pub(super) fn not_asked(control: &Control, objects: &str) {
    assert!(!applies(control, objects), "{} applies to something here", control.id);
}

/// A cluster with these objects and no others.
pub(super) fn cluster(objects: &str) -> Inventory {
    let mut inventory = Inventory::complete();
    for text in objects.split("\n---\n") {
        let object: serde_json::Value = serde_saphyr::from_str(text).expect("a YAML document");
        let group =
            object["apiVersion"].as_str().and_then(|version| version.split_once('/')).map_or("", |(group, _)| group);
        let kind = Kind::find(group, object["kind"].as_str().unwrap_or_default()).expect("a known kind");
        inventory.apply(project(kind, object.clone()).expect("an object of its kind"));
    }
    inventory
}

fn applies(control: &Control, objects: &str) -> bool {
    let inventory = cluster(objects);
    let judgements = inventory.subjects().filter_map(|subject| inventory.evaluate(subject));
    judgements.flat_map(|judgement| judgement.outcomes).any(|outcome| outcome.control.id == control.id)
}

fn found(control: &Control, objects: &str) -> String {
    let inventory = cluster(objects);
    let mut lines = String::new();
    for judgement in inventory.subjects().filter_map(|subject| inventory.evaluate(subject)) {
        for outcome in judgement.outcomes.iter().filter(|outcome| outcome.control.id == control.id) {
            if let Answer::Fail(locations) = &outcome.answer {
                for location in locations {
                    lines += &format!("{}: {} = {}\n", judgement.resource, location.path, location.value);
                }
            }
        }
    }
    lines
}
