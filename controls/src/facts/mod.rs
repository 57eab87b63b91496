//! Objects of the API server, each projected to the few facts that controls read.
//!
//! One file per kind, or per family whose members differ only in data. A projection reads the fields that it needs, in the
//! types that the API gives them, and nothing else: what is not read here never leaves the API server's answer. An object
//! that does not have the API's form is an error that names the field; the caller reports it and goes on.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use holdfast_model::{Origin, Resource};
use serde::{Deserialize, Deserializer, Serialize};

mod container;
pub mod ingress;
pub mod metadata;
pub mod namespace;
pub mod network_policy;
pub mod pod;
pub mod pod_security;
mod resources;
pub mod role;
pub mod role_binding;
mod security_context;
pub mod service;
pub mod service_account;
mod volume;
pub mod workload;

pub use ingress::Ingress;
pub use metadata::{Meta, Owner};
pub use namespace::Namespace;
pub use network_policy::NetworkPolicy;
pub use role::Role;
pub use role_binding::RoleBinding;
pub use service::Service;
pub use service_account::ServiceAccount;
pub use workload::Workload;

/// A kind that Holdfast reads, as the API server names it. Group and kind are its identity, as there is one version of each.
#[derive(Debug)]
pub struct Kind {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// API version that is read.
    pub version: &'static str,
    /// Kind, `Deployment`.
    pub kind: &'static str,
    /// Resource in the plural, `deployments`: what RBAC and paths use.
    pub plural: &'static str,
    /// Whether it lives in namespaces.
    pub namespaced: bool,
    /// Which projection reads it.
    pub family: Family,
}

/// The projections.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Clone, Copy)]
pub enum Family {
    /// `ingress.rs`.
    Ingress,
    /// `namespace.rs`.
    Namespace,
    /// `network_policy.rs`.
    NetworkPolicy,
    /// A Role or a ClusterRole: `role.rs`.
    Role,
    /// A RoleBinding or a ClusterRoleBinding: `role_binding.rs`.
    RoleBinding,
    /// `service.rs`.
    Service,
    /// `service_account.rs`.
    ServiceAccount,
    /// A Pod or a workload that makes Pods: `workload.rs`.
    Workload,
}

/// Every kind, in the order in which a cluster is listed: owners before what they own, so that nothing is judged under a
/// wrong owner first, and what judgements depend on before what is judged.
pub const KINDS: &[&Kind] = &[
    &namespace::NAMESPACE,
    &role::CLUSTER_ROLE,
    &role::ROLE,
    &role_binding::CLUSTER_ROLE_BINDING,
    &role_binding::ROLE_BINDING,
    &service_account::SERVICE_ACCOUNT,
    &network_policy::NETWORK_POLICY,
    &service::SERVICE,
    &ingress::INGRESS,
    &workload::CRON_JOB,
    &workload::DEPLOYMENT,
    &workload::DAEMON_SET,
    &workload::STATEFUL_SET,
    &workload::JOB,
    &workload::REPLICA_SET,
    &workload::REPLICATION_CONTROLLER,
    &workload::POD,
];

/// By identity; the same constant in one place is not compared letter by letter, as every look into an inventory compares.
impl Ord for Kind {
    fn cmp(&self, other: &Self) -> Ordering {
        if std::ptr::eq(self, other) {
            return Ordering::Equal;
        }
        self.group.cmp(other.group).then_with(|| self.kind.cmp(other.kind))
    }
}

impl PartialOrd for Kind {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || (self.kind == other.kind && self.group == other.group)
    }
}

impl Eq for Kind {}

impl Hash for Kind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.group, self.kind).hash(state);
    }
}

impl Kind {
    /// The kind with this group and kind, in any served version.
    pub fn find(group: &str, kind: &str) -> Option<&'static Kind> {
        KINDS.iter().copied().find(|known| known.group == group && known.kind == kind)
    }

    /// `deployments.apps`, `pods`: how coverage and RBAC messages name it.
    pub fn subject(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)
    }
}

/// One object: whose it is, and its facts.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Its kind.
    pub kind: &'static Kind,
    /// Its metadata, as far as it is needed.
    pub meta: Meta,
    /// Its facts.
    pub facts: Facts,
}

/// The facts of one object.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Facts {
    /// Of an Ingress.
    Ingress(Ingress),
    /// Of a Namespace.
    Namespace(Namespace),
    /// Of a NetworkPolicy.
    NetworkPolicy(NetworkPolicy),
    /// Of a Role or a ClusterRole.
    Role(Role),
    /// Of a RoleBinding or a ClusterRoleBinding.
    RoleBinding(RoleBinding),
    /// Of a Service.
    Service(Service),
    /// Of a ServiceAccount.
    ServiceAccount(ServiceAccount),
    /// Of a Pod or of a workload that makes Pods.
    Workload(Workload),
}

impl Object {
    /// The object's own resource, before any thought about owners.
    pub fn resource(&self) -> Resource {
        Resource {
            group: self.kind.group.to_owned(),
            kind: self.kind.kind.to_owned(),
            namespace: self.meta.namespace.clone(),
            name: self.meta.name.clone(),
        }
    }

    /// Whether it is the object that a resource names.
    pub fn bears_name_of(&self, resource: &Resource) -> bool {
        self.kind.kind == resource.kind
            && self.kind.group == resource.group
            && self.meta.name == resource.name
            && self.meta.namespace == resource.namespace
    }

    /// Where it comes from.
    pub fn origin(&self) -> &Origin {
        &self.meta.origin
    }
}

/// Projects one object of a known kind from JSON, YAML or any other form that serde reads.
///
/// The error is the deserializer's, with the field's place where the format has one.
pub fn project<'de, D: Deserializer<'de>>(kind: &'static Kind, from: D) -> Result<Object, D::Error> {
    let (meta, facts) = match kind.family {
        Family::Ingress => ingress::project(from)?,
        Family::Namespace => namespace::project(from)?,
        Family::NetworkPolicy => network_policy::project(from)?,
        Family::Role => role::project(from)?,
        Family::RoleBinding => role_binding::project(from)?,
        Family::Service => service::project(from)?,
        Family::ServiceAccount => service_account::project(from)?,
        Family::Workload => workload::project(kind, from)?,
    };
    Ok(Object { kind, meta, facts })
}

/// Reads `null` as the type's default, as the API server does for every optional field.
pub(crate) fn null_as_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
