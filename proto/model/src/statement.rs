//! What an agent reports: one report per read of a resource, one statement per control about it.
//!
//! There is no "removed". An agent that no longer finds a problem reports what it read instead: `pass` with the object it read,
//! `gone` with the uid that was deleted, `unknown` with the reason, or `withdrawn` when the control itself went away.

use serde::{Deserialize, Serialize};

use crate::control::{ControlId, Severity};
use crate::resource::{Origin, Resource};

/// One read of one resource, and what the controls made of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The top owner that the statements are about.
    pub resource: Resource,
    /// What was read; for a resource that is gone, the uid that was deleted.
    pub read: Read,
    /// Where the resource comes from.
    pub origin: Origin,
    /// One per control.
    pub statements: Vec<Statement>,
}

/// Which version of an object was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Read {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`; opaque, compared for equality only.
    pub resource_version: String,
    /// SHA-256 over the facts of everything that the controls read, the object and what it depends on; empty when unknown.
    #[serde(with = "crate::canonical::hex_bytes")]
    pub hash: Vec<u8>,
}

/// One control's answer about one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// The control.
    pub control: ControlId,
    /// Its version: versions of a control are judged apart.
    pub control_version: u32,
    /// The answer.
    pub observation: Observation,
}

/// What was observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "saw", rename_all = "kebab-case")]
pub enum Observation {
    /// The control fails at these locations, sorted.
    Fail {
        /// Severity by the catalog, before any calibration.
        severity: Severity,
        /// Where; never empty.
        locations: Vec<Location>,
    },
    /// The control holds for the object that was read.
    Pass,
    /// The object with this uid was deleted.
    Gone,
    /// It could not be judged.
    Unknown {
        /// Why, for people.
        reason: String,
    },
    /// The control no longer exists in this agent.
    Withdrawn,
}

/// Where in a resource a control fails. Evidence, never identity.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Location {
    /// Field path from the object's root: `spec.template.spec.containers[0].securityContext.privileged`.
    pub path: String,
    /// The value there as a short text, redacted where it could hold a secret; empty where the field is absent.
    pub value: String,
    /// Container name, where the field belongs to one.
    pub container: Option<String>,
    /// The object that holds the field, where it is not the resource itself: `Pod web-7d4b9`, `ClusterRole admin`.
    pub object: Option<String>,
}

impl Location {
    /// A field of the resource itself.
    pub fn field(path: impl Into<String>, value: impl Into<String>) -> Self {
        Self { path: path.into(), value: value.into(), container: None, object: None }
    }

    /// The same location, in the container of this name.
    pub fn in_container(mut self, name: &str) -> Self {
        self.container = Some(name.to_owned());
        self
    }

    /// The same location, in another object than the resource.
    pub fn in_object(mut self, object: impl Into<String>) -> Self {
        self.object = Some(object.into());
        self
    }
}
