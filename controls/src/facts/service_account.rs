//! A ServiceAccount: whether its token is mounted by default. Which secrets it names is not read.

use serde::{Deserialize, Deserializer, Serialize};

use super::labels::Interned;
use super::metadata::{Meta, MetadataShape};
use super::{Family, Kind, null_as_default};

/// `ServiceAccount`.
pub const SERVICE_ACCOUNT: Kind = Kind {
    group: "",
    version: "v1",
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    namespaced: true,
    family: Family::ServiceAccount,
    reason: "whether tokens are mounted",
};

/// The kind of the family.
pub(super) const KINDS: &[&Kind] = &[&SERVICE_ACCOUNT];

/// What is kept of a ServiceAccount.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ServiceAccount {
    /// `automountServiceAccountToken`; a Pod's own word goes before it.
    pub automount: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceAccountShape {
    #[serde(deserialize_with = "null_as_default")]
    metadata: MetadataShape,
    automount_service_account_token: Option<bool>,
}

impl Interned for ServiceAccount {}

pub(super) fn project<'de, D: Deserializer<'de>>(_: &Kind, from: D) -> Result<(Meta, ServiceAccount), D::Error> {
    let shape = ServiceAccountShape::deserialize(from)?;
    let facts = ServiceAccount { automount: shape.automount_service_account_token };
    Ok((shape.metadata.into_meta(), facts))
}
