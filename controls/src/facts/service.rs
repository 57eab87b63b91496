//! A Service: how far it opens its pods.

use serde::{Deserialize, Deserializer, Serialize};

use super::metadata::{Meta, MetadataShape};
use super::{Facts, Family, Kind, null_as_default};

/// `Service`.
pub const SERVICE: Kind =
    Kind { group: "", version: "v1", kind: "Service", plural: "services", namespaced: true, family: Family::Service };

/// What is kept of a Service.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Service {
    /// `type`; empty in a manifest that leaves it to the default.
    pub service_type: Box<str>,
    /// `externalIPs`, in order.
    pub external_ips: Box<[Box<str>]>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ServiceShape {
    #[serde(deserialize_with = "null_as_default")]
    metadata: MetadataShape,
    #[serde(deserialize_with = "null_as_default")]
    spec: ServiceSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ServiceSpec {
    #[serde(deserialize_with = "null_as_default", rename = "type")]
    service_type: Box<str>,
    #[serde(deserialize_with = "null_as_default", rename = "externalIPs")]
    external_ips: Box<[Box<str>]>,
}

pub(super) fn project<'de, D: Deserializer<'de>>(from: D) -> Result<(Meta, Facts), D::Error> {
    let ServiceShape { metadata, spec } = ServiceShape::deserialize(from)?;
    let facts = Service { service_type: spec.service_type, external_ips: spec.external_ips };
    Ok((metadata.into_meta(), Facts::Service(facts)))
}
