//! Controls as the API shows them: the catalog, in the words that it has.

#[cfg(feature = "catalog")]
use holdfast_controls::catalog;
use holdfast_model::{Archetype, Method, OnDeletion, Severity};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::schema;

/// One control in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ControlRow {
    /// `<archetype>.<kebab-case>`.
    pub id: String,
    /// The part of a cluster that it is about.
    #[schema(value_type = schema::Archetype)]
    pub archetype: Archetype,
    /// What should hold, in a few words.
    pub title: String,
    /// Severity before calibration.
    #[schema(value_type = schema::Severity)]
    pub severity: Severity,
    /// Its version: an answer of another one proves nothing.
    pub version: u32,
    /// Whether it comes with a ready fix.
    pub has_fix: bool,
}

/// One control, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Control {
    /// The row of the list.
    #[serde(flatten)]
    pub row: ControlRow,
    /// What it is and why it matters.
    pub description: String,
    /// How to make it pass.
    pub remediation: String,
    /// What the subject's deletion means.
    #[schema(value_type = schema::OnDeletion)]
    pub on_deletion: OnDeletion,
    /// The retest methods that its proof needs.
    #[schema(value_type = Vec<schema::Method>)]
    pub methods: Vec<Method>,
}

#[cfg(feature = "catalog")]
impl From<&catalog::Control> for ControlRow {
    fn from(control: &catalog::Control) -> Self {
        Self {
            id: control.id.to_owned(),
            archetype: control.archetype(),
            title: control.title.to_owned(),
            severity: control.severity,
            version: control.version,
            has_fix: control.fix.is_some(),
        }
    }
}

#[cfg(feature = "catalog")]
impl From<&catalog::Control> for Control {
    fn from(control: &catalog::Control) -> Self {
        Self {
            row: control.into(),
            description: control.description.to_owned(),
            remediation: control.remediation.to_owned(),
            on_deletion: control.on_deletion,
            methods: control.methods.to_vec(),
        }
    }
}
