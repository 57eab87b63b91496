//! How controls that look around are tested: a small cluster in YAML, and what one control finds in it.

use expect_test::Expect;
use holdfast_model::Location;

use super::Control;
use crate::evaluate::Answer;
use crate::facts::{Kind, project};
use crate::fix;
use crate::inventory::Inventory;

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

/// The control finds something in the first of these objects, and nothing more once its own patch is applied.
#[track_caller]
pub(super) fn is_fixed(control: &Control, objects: &str) {
    let (first, rest) = objects.split_once("\n---\n").unwrap_or((objects, ""));
    let places = places(control, objects);
    let patch = fix::patch(control, &places).expect("a patch for these places");
    let mut object: serde_json::Value = serde_saphyr::from_str(first).expect("a YAML document");
    fix::apply(&patch, &mut object).expect("a patch that applies");
    let separator = if rest.is_empty() { "" } else { "\n---\n" };
    silent(control, &format!("{object}{separator}{rest}"));
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

fn places(control: &Control, objects: &str) -> Vec<Location> {
    let inventory = cluster(objects);
    let judgements = inventory.subjects().filter_map(|subject| inventory.evaluate(subject));
    let outcomes =
        judgements.flat_map(|judgement| judgement.outcomes).filter(|outcome| outcome.control.id == control.id);
    let failing =
        outcomes.filter_map(|outcome| if let Answer::Fail(places) = outcome.answer { Some(places) } else { None });
    failing.flatten().collect()
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
