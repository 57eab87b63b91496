//! Admission and Pod Security: what a namespace refuses, records and warns about.
//!
//! The system's own namespaces are not asked: their pods need what no tenant may have.

use holdfast_model::Location;

use super::{Control, View};
use crate::facts::Namespace;

mod psa_audit;
mod psa_enforce;
mod psa_version_pinned_old;
mod psa_warn;

/// The controls of this archetype, by id.
pub const CONTROLS: &[Control] =
    &[psa_audit::CONTROL, psa_enforce::CONTROL, psa_version_pinned_old::CONTROL, psa_warn::CONTROL];

/// The place of a label of a namespace; of all labels where there are none, so that a patch can make them.
fn label(namespace: &View<Namespace>, key: &str, value: &str) -> Location {
    if namespace.facts.labels.is_empty() {
        Location::field("metadata.labels", "")
    } else {
        Location::field(format!("metadata.labels[{key:?}]"), value)
    }
}
