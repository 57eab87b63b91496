//! An Ingress: which of its hosts are served without TLS. Backends and annotations are not read.

use serde::{Deserialize, Deserializer, Serialize};

use super::metadata::{Meta, MetadataShape};
use super::{Family, Kind, null_as_default};

/// `Ingress`.
pub const INGRESS: Kind = Kind {
    group: "networking.k8s.io",
    version: "v1",
    kind: "Ingress",
    plural: "ingresses",
    namespaced: true,
    family: Family::Ingress,
    reason: "what is reachable from outside",
};

/// The kind of the family.
pub(super) const KINDS: &[&Kind] = &[&INGRESS];

/// What is kept of an Ingress.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Ingress {
    /// `rules[].host`, in order; empty for every host.
    pub hosts: Box<[Box<str>]>,
    /// The hosts of `tls[]`, in order.
    pub tls_hosts: Box<[Box<str>]>,
    /// Whether an entry of `tls` lists no hosts: it serves whatever its controller makes of it.
    pub tls_for_all: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct IngressShape {
    #[serde(deserialize_with = "null_as_default")]
    metadata: MetadataShape,
    #[serde(deserialize_with = "null_as_default")]
    spec: IngressSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct IngressSpec {
    #[serde(deserialize_with = "null_as_default")]
    rules: Vec<IngressRule>,
    #[serde(deserialize_with = "null_as_default")]
    tls: Vec<IngressTls>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct IngressRule {
    #[serde(deserialize_with = "null_as_default")]
    host: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct IngressTls {
    #[serde(deserialize_with = "null_as_default")]
    hosts: Vec<Box<str>>,
}

pub(super) fn project<'de, D: Deserializer<'de>>(_: &Kind, from: D) -> Result<(Meta, Ingress), D::Error> {
    let IngressShape { metadata, spec } = IngressShape::deserialize(from)?;
    let facts = Ingress {
        hosts: spec.rules.into_iter().map(|rule| rule.host).collect(),
        tls_for_all: spec.tls.iter().any(|entry| entry.hosts.is_empty()),
        tls_hosts: spec.tls.into_iter().flat_map(|entry| entry.hosts).collect(),
    };
    Ok((metadata.into_meta(), facts))
}
