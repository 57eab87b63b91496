//! A kind that no cluster has: what a new one costs is this file and its two lines in `facts/mod.rs`.

use holdfast_model::{CoverageState, Location, Resource};
use serde::{Deserialize, Deserializer, Serialize};

use super::labels::Interned;
use super::metadata::{Meta, MetadataShape};
use super::{Family, Kind, null_as_default, project as project_any};
use crate::catalog::{JudgeObject, Of, View};
use crate::inventory::{Inventory, ObjectKey};

pub(super) const SPROCKET: Kind = Kind {
    group: "example.com",
    version: "v1",
    kind: "Sprocket",
    plural: "sprockets",
    namespaced: true,
    family: Family::Sprocket,
    reason: "how many teeth it has",
};

pub(super) const KINDS: &[&Kind] = &[&SPROCKET];

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Sprocket {
    pub teeth: u32,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SprocketShape {
    #[serde(deserialize_with = "null_as_default")]
    metadata: MetadataShape,
    #[serde(deserialize_with = "null_as_default")]
    teeth: u32,
}

impl Interned for Sprocket {}

pub(super) fn project<'de, D: Deserializer<'de>>(_: &Kind, from: D) -> Result<(Meta, Sprocket), D::Error> {
    let SprocketShape { metadata, teeth } = SprocketShape::deserialize(from)?;
    Ok((metadata.into_meta(), Sprocket { teeth }))
}

fn judge(sprocket: &View<Sprocket>, fails: &mut Vec<Location>) {
    if sprocket.facts.teeth == 0 {
        fails.push(Location::field("teeth", "0"));
    }
}

#[test]
fn one_file_and_its_lines_make_a_kind_that_is_listed_kept_covered_hashed_and_judged() {
    let kind = Kind::find("example.com", "Sprocket").expect("its line lists it");
    let with = |teeth: u32| {
        let metadata = serde_json::json!({"name": "s", "namespace": "shop", "uid": format!("u{teeth}")});
        project_any(kind, serde_json::json!({"metadata": metadata, "teeth": teeth})).unwrap()
    };
    let mut inventory = Inventory::complete();
    assert_eq!(inventory.coverage(kind), Some(CoverageState::Seen));
    inventory.apply(with(0));
    let subject = Resource::namespaced("example.com", "Sprocket", "shop", "s");
    let blunt = inventory.evaluate(&subject).expect("it is a subject").read.hash;
    let fails = |inventory: &Inventory| {
        let object = inventory.get(&ObjectKey::namespaced(kind, "shop", "s")).unwrap();
        Of(judge).judge(inventory, object, &[]).expect("its judge is of its facts").len()
    };
    assert_eq!(fails(&inventory), 1);
    inventory.apply(with(12));
    assert_eq!(fails(&inventory), 0);
    assert_eq!(inventory.take_touched().iter().map(|subject| &**subject).collect::<Vec<_>>(), [&subject]);
    assert_ne!(inventory.evaluate(&subject).unwrap().read.hash, blunt);
}
