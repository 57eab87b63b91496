//! A Namespace: its Pod Security labels and what its labels propose to Holdfast.
//!
//! A proposal is handed on, never obeyed: the platform owner decides the scope.

use serde::{Deserialize, Deserializer, Serialize};

use super::labels::{Interned, Interner, Labels};
use super::metadata::{Meta, MetadataShape};
use super::{Family, Kind, null_as_default};

/// `Namespace`.
pub const NAMESPACE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Namespace",
    plural: "namespaces",
    namespaced: false,
    family: Family::Namespace,
    reason: "Pod Security labels, owners, and the cluster's fingerprint (uid of kube-system)",
};

/// The label by which a namespace proposes its scope.
pub const SCOPE_LABEL: &str = "holdfast.dev/scope";

/// The namespaces that a cluster is made of. They need rights that no tenant may have and are the platform's own business,
/// so what is asked of tenants' namespaces is not asked of them.
pub const SYSTEM_NAMESPACES: [&str; 3] = ["kube-node-lease", "kube-public", "kube-system"];

/// The kind of the family.
pub(super) const KINDS: &[&Kind] = &[&NAMESPACE];

/// What is kept of a Namespace.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Namespace {
    /// `pod-security.kubernetes.io/enforce` and its version.
    pub enforce: PodSecurity,
    /// `pod-security.kubernetes.io/audit` and its version.
    pub audit: PodSecurity,
    /// `pod-security.kubernetes.io/warn` and its version.
    pub warn: PodSecurity,
    /// Its labels: what namespace selectors of network policies ask for.
    pub labels: Labels,
    /// `holdfast.dev/scope`, as written.
    pub scope: Option<Box<str>>,
}

/// One mode of Pod Security admission, as the labels have it: not validated, since admission itself ignores what it cannot read.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PodSecurity {
    /// `privileged`, `baseline`, `restricted`, or whatever stands there.
    pub level: Option<Box<str>>,
    /// `latest`, `v1.34`, or whatever stands there.
    pub version: Option<Box<str>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NamespaceShape {
    #[serde(deserialize_with = "null_as_default")]
    metadata: MetadataShape,
}

impl Interned for Namespace {
    fn intern(&mut self, interner: &mut Interner) {
        interner.share(&mut self.labels);
    }
}

pub(super) fn project<'de, D: Deserializer<'de>>(_: &Kind, from: D) -> Result<(Meta, Namespace), D::Error> {
    let metadata = NamespaceShape::deserialize(from)?.metadata;
    let label = |key: &str| metadata.labels.get(key).map(|value| value.as_str().into());
    let mode = |mode: &str| PodSecurity {
        level: label(&format!("pod-security.kubernetes.io/{mode}")),
        version: label(&format!("pod-security.kubernetes.io/{mode}-version")),
    };
    let facts = Namespace {
        enforce: mode("enforce"),
        audit: mode("audit"),
        warn: mode("warn"),
        labels: Labels::from(&metadata.labels),
        scope: label(SCOPE_LABEL),
    };
    Ok((metadata.into_meta(), facts))
}
