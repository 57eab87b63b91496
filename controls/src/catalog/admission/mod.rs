//! Admission and Pod Security: what a namespace refuses, records and warns about.
//!
//! The system's own namespaces are not asked: their pods need what no tenant may have.

use super::Control;

mod psa_audit;
mod psa_enforce;
mod psa_version_pinned_old;
mod psa_warn;

/// The controls of this archetype, by id.
pub const CONTROLS: &[Control] =
    &[psa_audit::CONTROL, psa_enforce::CONTROL, psa_version_pinned_old::CONTROL, psa_warn::CONTROL];
