//! Roles and ClusterRoles: their rules. The two differ only in where they may be bound.

use serde::{Deserialize, Deserializer, Serialize};

use super::labels::Interned;
use super::metadata::{Meta, MetadataShape};
use super::{Family, Kind, null_as_default};

/// `Role`.
pub const ROLE: Kind = Kind {
    group: GROUP,
    version: "v1",
    kind: "Role",
    plural: "roles",
    namespaced: true,
    family: Family::Role,
    reason: REASON,
};

/// `ClusterRole`.
pub const CLUSTER_ROLE: Kind = Kind {
    group: GROUP,
    version: "v1",
    kind: "ClusterRole",
    plural: "clusterroles",
    namespaced: false,
    family: Family::Role,
    reason: REASON,
};

/// The API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";

const REASON: &str = "what each role allows";

/// The kinds of the family.
pub(super) const KINDS: &[&Kind] = &[&CLUSTER_ROLE, &ROLE];

/// What is kept of a Role or a ClusterRole.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Role {
    /// `rules`, in order; of an aggregated ClusterRole as its controller has filled them.
    pub rules: Box<[Rule]>,
    /// Whether there is an `aggregationRule`: the rules then come from other ClusterRoles.
    pub aggregated: bool,
    /// Whether the API server's own label for its default roles is there. Anyone can write a label: it proves nothing alone.
    pub bootstrap: bool,
}

/// `PolicyRule`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// `verbs`.
    #[serde(deserialize_with = "null_as_default")]
    pub verbs: Box<[Box<str>]>,
    /// `apiGroups`.
    #[serde(deserialize_with = "null_as_default")]
    pub api_groups: Box<[Box<str>]>,
    /// `resources`, subresources as `pods/log`.
    #[serde(deserialize_with = "null_as_default")]
    pub resources: Box<[Box<str>]>,
    /// `resourceNames`; empty for all names.
    #[serde(deserialize_with = "null_as_default")]
    pub resource_names: Box<[Box<str>]>,
    /// `nonResourceURLs`.
    #[serde(deserialize_with = "null_as_default", rename = "nonResourceURLs")]
    pub non_resource_urls: Box<[Box<str>]>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RoleShape {
    #[serde(deserialize_with = "null_as_default")]
    metadata: MetadataShape,
    #[serde(deserialize_with = "null_as_default")]
    rules: Box<[Rule]>,
    aggregation_rule: Option<serde::de::IgnoredAny>,
}

impl Interned for Role {}

pub(super) fn project<'de, D: Deserializer<'de>>(_: &Kind, from: D) -> Result<(Meta, Role), D::Error> {
    let RoleShape { metadata, rules, aggregation_rule } = RoleShape::deserialize(from)?;
    let bootstrap = metadata.is_bootstrap();
    let facts = Role { rules, aggregated: aggregation_rule.is_some(), bootstrap };
    Ok((metadata.into_meta(), facts))
}
