//! A NetworkPolicy: whom it isolates, which way, and what its rules let through, as `networking.k8s.io/v1` defines them.
//!
//! Whether a network plugin enforces it is not known here. Addresses are kept as they are written; one that is none is in no
//! block.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize};

use super::labels::{Interned, Interner, LabelSelector, Labels};
use super::metadata::{Meta, MetadataShape};
use super::port::{PortRef, protocol};
use super::{Family, Kind, null_as_default};

/// `NetworkPolicy`.
pub const NETWORK_POLICY: Kind = Kind {
    group: "networking.k8s.io",
    version: "v1",
    kind: "NetworkPolicy",
    plural: "networkpolicies",
    namespaced: true,
    family: Family::NetworkPolicy,
    reason: "what traffic is allowed",
};

/// The kind of the family.
pub(super) const KINDS: &[&Kind] = &[&NETWORK_POLICY];

/// What is kept of a NetworkPolicy.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct NetworkPolicy {
    /// `podSelector`; empty, it selects every pod of the namespace.
    pub pods: LabelSelector,
    /// The rules, where the policy isolates ingress: without any, it lets nothing in. `None` where it says nothing of ingress.
    pub ingress: Option<Box<[Rule]>>,
    /// The rules, where the policy isolates egress: without any, it lets nothing out. `None` where it says nothing of egress.
    pub egress: Option<Box<[Rule]>>,
}

/// One of `ingress` or `egress`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Rule {
    /// `from` or `to`; without any, everybody.
    pub peers: Box<[Peer]>,
    /// `ports`; without any, every port.
    pub ports: Box<[PolicyPort]>,
}

/// `NetworkPolicyPeer`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Peer {
    /// Pods, by their namespaces and their own labels.
    Pods {
        /// `namespaceSelector`; where absent, the policy's own namespace is meant, where empty, every one.
        namespaces: Option<LabelSelector>,
        /// `podSelector`; where absent, every pod of those namespaces.
        pods: Option<LabelSelector>,
    },
    /// `ipBlock`.
    Block(IpBlock),
}

/// `IPBlock`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpBlock {
    /// `cidr`.
    #[serde(deserialize_with = "null_as_default")]
    pub cidr: Box<str>,
    /// `except`.
    #[serde(deserialize_with = "null_as_default")]
    pub except: Box<[Box<str>]>,
}

/// `NetworkPolicyPort`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyPort {
    /// `protocol`; TCP where absent.
    pub protocol: Option<Box<str>>,
    /// `port`; where absent, every port of the protocol.
    pub port: Option<PortRef>,
    /// `endPort`, the last of a range that begins at `port`.
    pub end_port: Option<i32>,
}

impl NetworkPolicy {
    /// Whether it selects every pod of its namespace.
    pub fn selects_all(&self) -> bool {
        self.pods.is_empty()
    }
}

impl Peer {
    /// Whether a pod is meant, by a policy of this namespace.
    pub fn selects(&self, own: &str, namespace: &str, namespace_labels: &Labels, pod_labels: &Labels) -> bool {
        let Self::Pods { namespaces, pods } = self else { return false };
        let in_namespace = namespaces.as_ref().map_or(own == namespace, |selector| selector.matches(namespace_labels));
        in_namespace && pods.as_ref().is_none_or(|selector| selector.matches(pod_labels))
    }
}

impl IpBlock {
    /// Whether an address is in the block and in none of its exceptions.
    pub fn contains(&self, address: IpAddr) -> bool {
        is_in(&self.cidr, address) && !self.except.iter().any(|cidr| is_in(cidr, address))
    }
}

impl PolicyPort {
    /// Whether a port is meant, by its protocol, its number and the name that its container gives it.
    pub fn covers(&self, of: &str, number: i32, name: Option<&str>) -> bool {
        let is_meant = match (&self.port, self.end_port) {
            (None, _) => true,
            (Some(PortRef::Name(meant)), _) => name == Some(meant),
            (Some(PortRef::Number(first)), Some(last)) => (*first..=last).contains(&number),
            (Some(PortRef::Number(only)), None) => number == *only,
        };
        is_meant && protocol(self.protocol.as_deref()) == of
    }
}

fn is_in(cidr: &str, address: IpAddr) -> bool {
    let Some((network, prefix)) = cidr.split_once('/') else { return false };
    let Ok(prefix) = prefix.parse::<u32>() else { return false };
    match (network.parse(), address.to_canonical()) {
        (Ok(IpAddr::V4(network)), IpAddr::V4(address)) if prefix <= 32 => {
            let differs = network.to_bits() ^ address.to_bits();
            differs.checked_shr(32 - prefix).unwrap_or(0) == 0
        }
        (Ok(IpAddr::V6(network)), IpAddr::V6(address)) if prefix <= 128 => {
            let differs = network.to_bits() ^ address.to_bits();
            differs.checked_shr(128 - prefix).unwrap_or(0) == 0
        }
        _ => false,
    }
}

impl Interned for NetworkPolicy {
    fn intern(&mut self, interner: &mut Interner) {
        interner.share(&mut self.pods.match_labels);
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PolicyShape {
    #[serde(deserialize_with = "null_as_default")]
    metadata: MetadataShape,
    #[serde(deserialize_with = "null_as_default")]
    spec: PolicySpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PolicySpec {
    #[serde(deserialize_with = "null_as_default")]
    pod_selector: LabelSelector,
    #[serde(deserialize_with = "null_as_default")]
    policy_types: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    ingress: Vec<RuleShape>,
    #[serde(deserialize_with = "null_as_default")]
    egress: Vec<RuleShape>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RuleShape {
    #[serde(deserialize_with = "null_as_default")]
    from: Vec<PeerShape>,
    #[serde(deserialize_with = "null_as_default")]
    to: Vec<PeerShape>,
    #[serde(deserialize_with = "null_as_default")]
    ports: Box<[PolicyPort]>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PeerShape {
    pod_selector: Option<LabelSelector>,
    namespace_selector: Option<LabelSelector>,
    ip_block: Option<IpBlock>,
}

impl PeerShape {
    /// The API server refuses a block beside a selector.
    fn into_peer(self) -> Peer {
        match self.ip_block {
            Some(block) => Peer::Block(block),
            None => Peer::Pods { namespaces: self.namespace_selector, pods: self.pod_selector },
        }
    }
}

fn rules(shapes: Vec<RuleShape>, peers: impl Fn(&mut RuleShape) -> Vec<PeerShape>) -> Box<[Rule]> {
    let rule = |mut shape: RuleShape| Rule {
        peers: peers(&mut shape).into_iter().map(PeerShape::into_peer).collect(),
        ports: shape.ports,
    };
    shapes.into_iter().map(rule).collect()
}

pub(super) fn project<'de, D: Deserializer<'de>>(_: &Kind, from: D) -> Result<(Meta, NetworkPolicy), D::Error> {
    let PolicyShape { metadata, spec } = PolicyShape::deserialize(from)?;
    // Without `policyTypes` a policy isolates ingress, and egress only if it has egress rules: the API's own default.
    let names = |direction: &str| spec.policy_types.iter().any(|name| name == direction);
    let unnamed = spec.policy_types.is_empty();
    let (ingress, egress) = (unnamed || names("Ingress"), names("Egress") || (unnamed && !spec.egress.is_empty()));
    let facts = NetworkPolicy {
        pods: spec.pod_selector,
        ingress: ingress.then(|| rules(spec.ingress, |rule| std::mem::take(&mut rule.from))),
        egress: egress.then(|| rules(spec.egress, |rule| std::mem::take(&mut rule.to))),
    };
    Ok((metadata.into_meta(), facts))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn policy(spec: Value) -> NetworkPolicy {
        project(&NETWORK_POLICY, json!({"metadata": {"name": "p"}, "spec": spec})).unwrap().1
    }

    fn labels(of: Value) -> Labels {
        serde_json::from_value(of).unwrap()
    }

    #[test]
    fn policy_types_default_to_ingress_and_to_egress_where_it_has_rules() {
        let ways = |spec: Value| {
            let policy = policy(spec);
            (policy.ingress.map(|rules| rules.len()), policy.egress.map(|rules| rules.len()))
        };
        assert_eq!(ways(json!({})), (Some(0), None));
        assert_eq!(ways(json!({"policyTypes": null, "egress": null})), (Some(0), None));
        assert_eq!(ways(json!({"policyTypes": [], "egress": []})), (Some(0), None));
        assert_eq!(ways(json!({"egress": [{}]})), (Some(0), Some(1)));
        assert_eq!(ways(json!({"policyTypes": ["Ingress"], "egress": [{}]})), (Some(0), None));
        assert_eq!(ways(json!({"policyTypes": ["Egress"], "ingress": [{}]})), (None, Some(0)));
        assert_eq!(ways(json!({"policyTypes": ["Ingress", "Egress"], "ingress": [{}, {}]})), (Some(2), Some(0)));
    }

    #[test]
    fn an_empty_pod_selector_selects_all_and_so_does_a_null_one() {
        for all in [
            json!({}),
            json!({"podSelector": {}}),
            json!({"podSelector": null}),
            json!({"podSelector": {"matchLabels": {}}}),
        ] {
            assert!(policy(all.clone()).selects_all(), "{all}");
        }
        assert!(!policy(json!({"podSelector": {"matchLabels": {"app": "web"}}})).selects_all());
    }

    #[test]
    fn a_peer_means_its_own_namespace_unless_it_selects_others() {
        let peer = |peer: Value| {
            let policy = policy(json!({"ingress": [{"from": [peer]}]}));
            policy.ingress.unwrap()[0].peers[0].clone()
        };
        let (front, web) = (labels(json!({"team": "front"})), labels(json!({"app": "web"})));
        let is = |of: Value, namespace: &str, expected: bool| {
            assert_eq!(peer(of.clone()).selects("shop", namespace, &front, &web), expected, "{of} {namespace}");
        };
        is(json!({"podSelector": {}}), "shop", true);
        is(json!({"podSelector": {}}), "bank", false);
        is(json!({"podSelector": {}, "namespaceSelector": null}), "bank", false);
        is(json!({"podSelector": {"matchLabels": {"app": "api"}}}), "shop", false);
        is(json!({"namespaceSelector": {}}), "bank", true);
        is(json!({"namespaceSelector": {"matchLabels": {"team": "front"}}}), "bank", true);
        is(json!({"namespaceSelector": {"matchLabels": {"team": "back"}}}), "shop", false);
        is(json!({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "web"}}}), "bank", true);
        is(json!({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "api"}}}), "bank", false);
        is(json!({"ipBlock": {"cidr": "0.0.0.0/0"}}), "shop", false);
    }

    #[test]
    fn rules_without_peers_or_ports_mean_all_of_them_and_directions_keep_apart() {
        let policy = policy(
            json!({"ingress": [{"from": null, "ports": null}], "egress": [{"from": [{"podSelector": {}}], "to": []}]}),
        );
        let (ingress, egress) = (policy.ingress.unwrap(), policy.egress.unwrap());
        assert_eq!((&*ingress, &*egress), (&[Rule::default()][..], &[Rule::default()][..]));
    }

    #[test]
    fn a_block_holds_what_its_exceptions_leave() {
        let holds = |cidr: &str, except: &[&str], address: &str| {
            let except = except.iter().map(|text| (*text).into()).collect();
            IpBlock { cidr: cidr.into(), except }.contains(address.parse().unwrap())
        };
        assert!(holds("10.0.0.0/8", &[], "10.255.0.1") && !holds("10.0.0.0/8", &[], "11.0.0.1"));
        assert!(!holds("0.0.0.0/0", &["169.254.169.254/32"], "169.254.169.254"));
        assert!(holds("0.0.0.0/0", &["169.254.169.254/32"], "::ffff:169.254.169.253"));
        assert!(holds("::/0", &["fd00::/8"], "2001:db8::1") && !holds("::/0", &["fd00::/8"], "fd00::1"));
        assert!(!holds("::/0", &[], "10.0.0.1") && !holds("0.0.0.0/0", &[], "::1"), "families keep apart");
        for none in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/x", "x/8", "::/129"] {
            assert!(!holds(none, &[], "10.0.0.1"), "{none}");
        }
    }

    #[test]
    fn ports_are_meant_by_number_range_or_name_in_one_protocol() {
        let port = |port: Value| serde_json::from_value::<PolicyPort>(port).unwrap();
        assert!(port(json!({})).covers("TCP", 80, None) && !port(json!({})).covers("UDP", 80, None));
        assert!(port(json!({"protocol": "UDP"})).covers("UDP", 53, None));
        let web = port(json!({"port": 80, "protocol": null, "endPort": null}));
        assert!(web.covers("TCP", 80, None) && !web.covers("TCP", 81, None) && !web.covers("SCTP", 80, None));
        let range = port(json!({"port": 32000, "endPort": 32768}));
        assert!(range.covers("TCP", 32000, None) && range.covers("TCP", 32768, None));
        assert!(!range.covers("TCP", 31999, None) && !range.covers("TCP", 32769, None));
        let named = port(json!({"port": "metrics"}));
        assert!(named.covers("TCP", 9090, Some("metrics")) && !named.covers("TCP", 9090, Some("web")));
        assert!(!named.covers("TCP", 9090, None));
    }
}
