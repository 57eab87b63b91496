//! A NetworkPolicy: which way it isolates, whom, and how much it lets through. Peers and ports are counted, not kept.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use super::metadata::{Meta, MetadataShape};
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
    /// Whether `podSelector` is empty, which selects every pod of the namespace.
    pub selects_all: bool,
    /// The number of ingress rules where the policy isolates ingress; `None` where it says nothing of ingress.
    pub ingress: Option<u32>,
    /// The number of egress rules where the policy isolates egress; `None` where it says nothing of egress.
    pub egress: Option<u32>,
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
    pod_selector: Selector,
    #[serde(deserialize_with = "null_as_default")]
    policy_types: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    ingress: Vec<IgnoredAny>,
    #[serde(deserialize_with = "null_as_default")]
    egress: Vec<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Selector {
    #[serde(deserialize_with = "null_as_default")]
    match_labels: std::collections::BTreeMap<String, IgnoredAny>,
    #[serde(deserialize_with = "null_as_default")]
    match_expressions: Vec<IgnoredAny>,
}

pub(super) fn project<'de, D: Deserializer<'de>>(_: &Kind, from: D) -> Result<(Meta, NetworkPolicy), D::Error> {
    let PolicyShape { metadata, spec } = PolicyShape::deserialize(from)?;
    let count = |rules: &[IgnoredAny]| u32::try_from(rules.len()).unwrap_or(u32::MAX);
    // Without `policyTypes` a policy isolates ingress, and egress only if it has egress rules: the API's own default.
    let names = |word: &str| spec.policy_types.iter().any(|name| name == word);
    let unnamed = spec.policy_types.is_empty();
    let facts = NetworkPolicy {
        selects_all: spec.pod_selector.match_labels.is_empty() && spec.pod_selector.match_expressions.is_empty(),
        ingress: (unnamed || names("Ingress")).then(|| count(&spec.ingress)),
        egress: (names("Egress") || (unnamed && !spec.egress.is_empty())).then(|| count(&spec.egress)),
    };
    Ok((metadata.into_meta(), facts))
}
