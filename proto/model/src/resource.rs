//! What a problem is about: the top owner, named as Kubernetes names it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A resource by API group, kind, namespace and name. The API version and the uid are evidence, never part of the identity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: String,
    /// Kind in upper camel case, `Deployment`.
    pub kind: String,
    /// Namespace; `None` for a cluster-scoped resource.
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
}

impl Resource {
    /// A resource inside a namespace.
    pub fn namespaced(group: &str, kind: &str, namespace: &str, name: &str) -> Self {
        Self { group: group.into(), kind: kind.into(), namespace: Some(namespace.into()), name: name.into() }
    }

    /// A resource of the whole cluster.
    pub fn cluster_scoped(group: &str, kind: &str, name: &str) -> Self {
        Self { group: group.into(), kind: kind.into(), namespace: None, name: name.into() }
    }
}

/// `Deployment shop/web` or `ClusterRole admin`: for people. Machines use the fields.
impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// Where a resource comes from and who answers for it, as far as its metadata says: the fix is made there, not in the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// Owner as the resource's or its namespace's labels name it.
    pub owner: Option<String>,
    /// The tool that would revert a live change: `Helm`, `Argo CD`, `Flux`, `Kustomize`.
    pub manager: Option<String>,
    /// The tool's own name for what it installed: a Helm release, an Argo CD application.
    pub release: Option<String>,
    /// Helm chart with version.
    pub chart: Option<String>,
}
