//! RoleBindings and ClusterRoleBindings: which subjects get which role. The two differ only in how far they reach.

use serde::{Deserialize, Deserializer, Serialize};

use super::labels::Interned;
use super::metadata::{Meta, MetadataShape};
use super::role::GROUP;
use super::{Family, Kind, null_as_default};

/// `RoleBinding`.
pub const ROLE_BINDING: Kind = Kind {
    group: GROUP,
    version: "v1",
    kind: "RoleBinding",
    plural: "rolebindings",
    namespaced: true,
    family: Family::RoleBinding,
    reason: REASON,
};

/// `ClusterRoleBinding`.
pub const CLUSTER_ROLE_BINDING: Kind = Kind {
    group: GROUP,
    version: "v1",
    kind: "ClusterRoleBinding",
    plural: "clusterrolebindings",
    namespaced: false,
    family: Family::RoleBinding,
    reason: REASON,
};

const REASON: &str = "who has which role";

/// The kinds of the family.
pub(super) const KINDS: &[&Kind] = &[&CLUSTER_ROLE_BINDING, &ROLE_BINDING];

/// What is kept of a RoleBinding or a ClusterRoleBinding.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RoleBinding {
    /// `roleRef`.
    pub role_ref: RoleRef,
    /// `subjects`, in order.
    pub subjects: Box<[Subject]>,
    /// Whether the API server's own label for its default bindings is there. Anyone can write a label: it proves nothing alone.
    pub bootstrap: bool,
}

/// `roleRef`. Its API group can only be the one of RBAC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RoleRef {
    /// `Role` or `ClusterRole`.
    #[serde(deserialize_with = "null_as_default")]
    pub kind: Box<str>,
    /// Its name.
    #[serde(deserialize_with = "null_as_default")]
    pub name: Box<str>,
}

/// One of `subjects`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Subject {
    /// `User`, `Group` or `ServiceAccount`.
    #[serde(deserialize_with = "null_as_default")]
    pub kind: Box<str>,
    /// Its name.
    #[serde(deserialize_with = "null_as_default")]
    pub name: Box<str>,
    /// Of a ServiceAccount; where absent, the binding's own.
    pub namespace: Option<Box<str>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BindingShape {
    #[serde(deserialize_with = "null_as_default")]
    metadata: MetadataShape,
    #[serde(deserialize_with = "null_as_default")]
    role_ref: RoleRef,
    #[serde(deserialize_with = "null_as_default")]
    subjects: Box<[Subject]>,
}

impl Interned for RoleBinding {}

pub(super) fn project<'de, D: Deserializer<'de>>(_: &Kind, from: D) -> Result<(Meta, RoleBinding), D::Error> {
    let BindingShape { metadata, role_ref, subjects } = BindingShape::deserialize(from)?;
    let facts = RoleBinding { role_ref, subjects, bootstrap: metadata.is_bootstrap() };
    Ok((metadata.into_meta(), facts))
}
