//! A Service: which pods it leads to, how far it opens them, and under which addresses and ports it is asked.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize};

use super::labels::{Interned, Interner, Labels};
use super::metadata::{Meta, MetadataShape};
use super::port::{PortRef, protocol};
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
    /// `selector`; use [`selects`](Self::selects), which knows what an empty one means.
    pub selector: Labels,
    /// `ports`.
    pub ports: Box<[ServicePort]>,
}

/// `ServicePort`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// `name`; empty where the Service has one port.
    #[serde(deserialize_with = "null_as_default")]
    pub name: Box<str>,
    /// `protocol`; use [`protocol`](Self::protocol), which knows the default.
    pub protocol: Option<Box<str>>,
    /// `port`.
    #[serde(deserialize_with = "null_as_default")]
    pub port: i32,
    /// `targetPort`, of the pods; where absent, the port itself.
    pub target_port: Option<PortRef>,
    /// `nodePort`; 0 where it has none.
    #[serde(deserialize_with = "null_as_default")]
    pub node_port: i32,
}

impl Service {
    /// Whether it leads to a pod of its namespace with these labels. Without a selector it leads to none: somebody else writes
    /// its endpoints. One for a name outside the cluster selects nothing either.
    pub fn selects(&self, pod: &Labels) -> bool {
        *self.service_type != *"ExternalName" && !self.selector.is_empty() && self.selector.are_among(pod)
    }
}

impl ServicePort {
    /// The protocol: TCP where none is named.
    pub fn protocol(&self) -> &str {
        protocol(self.protocol.as_deref())
    }
}

impl Interned for Service {
    fn intern(&mut self, interner: &mut Interner) {
        interner.share(&mut self.selector);
    }
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
    #[serde(deserialize_with = "null_as_default")]
    selector: Labels,
    #[serde(deserialize_with = "null_as_default")]
    ports: Box<[ServicePort]>,
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
        selector: spec.selector,
        ports: spec.ports,
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(spec: Value) -> Service {
        project(&SERVICE, json!({"metadata": {"name": "s"}, "spec": spec})).unwrap().1
    }

    #[test]
    fn only_a_selector_that_asks_for_something_selects() {
        let web: Labels = serde_json::from_value(json!({"app": "web", "tier": "front"})).unwrap();
        let cases = [
            (json!({"selector": {"app": "web"}}), true),
            (json!({"selector": {"app": "web", "tier": "back"}}), false),
            (json!({"selector": {}}), false),
            (json!({"selector": null}), false),
            (json!({}), false),
            (json!({"type": "ExternalName", "selector": {"app": "web"}}), false),
        ];
        for (spec, expected) in cases {
            assert_eq!(service(spec.clone()).selects(&web), expected, "{spec}");
        }
    }

    #[test]
    fn ports_name_their_targets_by_number_or_name() {
        let ports = json!([{"port": 80, "targetPort": "web"}, {"name": "dns", "protocol": "UDP", "port": 53, "targetPort": 5353,
            "nodePort": 30053}, {"port": 443, "targetPort": null, "nodePort": null}]);
        let found = service(json!({"ports": ports})).ports;
        assert_eq!(found[0].target_port, Some(PortRef::Name("web".into())));
        assert_eq!((found[0].protocol(), found[1].protocol()), ("TCP", "UDP"));
        assert_eq!((found[1].target_port.clone(), found[1].node_port), (Some(PortRef::Number(5353)), 30053));
        assert_eq!((found[2].target_port.clone(), found[2].node_port), (None, 0));
    }
}
