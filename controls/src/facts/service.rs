//! A Service: how far it opens its pods, and under which addresses it is asked.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize};

use super::metadata::{Meta, MetadataShape};
use super::{Family, Kind, null_as_default};

/// `Service`.
pub const SERVICE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Service",
    plural: "services",
    namespaced: true,
    family: Family::Service,
    reason: "what is reachable from outside",
};

/// The kind of the family.
pub(super) const KINDS: &[&Kind] = &[&SERVICE];

/// What is kept of a Service.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Service {
    /// `type`; empty in a manifest that leaves it to the default.
    pub service_type: Box<str>,
    /// `externalIPs`, in order.
    pub external_ips: Box<[Box<str>]>,
    /// `clusterIPs`, of which a headless Service has none.
    pub cluster_ips: Box<[IpAddr]>,
    /// `status.loadBalancer.ingress[].ip`.
    pub balancer_ips: Box<[IpAddr]>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ServiceShape {
    #[serde(deserialize_with = "null_as_default")]
    metadata: MetadataShape,
    #[serde(deserialize_with = "null_as_default")]
    spec: ServiceSpec,
    #[serde(deserialize_with = "null_as_default")]
    status: ServiceStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ServiceSpec {
    #[serde(deserialize_with = "null_as_default", rename = "type")]
    service_type: Box<str>,
    #[serde(deserialize_with = "null_as_default", rename = "externalIPs")]
    external_ips: Box<[Box<str>]>,
    #[serde(deserialize_with = "null_as_default", rename = "clusterIP")]
    cluster_ip: Box<str>,
    #[serde(deserialize_with = "null_as_default", rename = "clusterIPs")]
    cluster_ips: Box<[Box<str>]>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ServiceStatus {
    #[serde(deserialize_with = "null_as_default")]
    load_balancer: LoadBalancer,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    #[serde(deserialize_with = "null_as_default")]
    ingress: Vec<IngressPoint>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct IngressPoint {
    #[serde(deserialize_with = "null_as_default")]
    ip: Box<str>,
}

pub(super) fn project<'de, D: Deserializer<'de>>(_: &Kind, from: D) -> Result<(Meta, Service), D::Error> {
    let ServiceShape { metadata, spec, status } = ServiceShape::deserialize(from)?;
    let given = std::iter::once(&spec.cluster_ip).chain(&spec.cluster_ips);
    let facts = Service {
        service_type: spec.service_type,
        cluster_ips: addresses(given),
        balancer_ips: addresses(status.load_balancer.ingress.iter().map(|point| &point.ip)),
        external_ips: spec.external_ips,
    };
    Ok((metadata.into_meta(), facts))
}

/// What is an address among them, each once: `None` and the empty text are words for having none.
fn addresses<'a>(texts: impl Iterator<Item = &'a Box<str>>) -> Box<[IpAddr]> {
    let mut addresses: Vec<IpAddr> =
        texts.filter_map(|text| Some(text.parse::<IpAddr>().ok()?.to_canonical())).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.into()
}
