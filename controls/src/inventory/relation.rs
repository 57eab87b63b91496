//! What a judgement reads beside its subject: the one list from which all else about dependencies follows.
//!
//! A relation leads from a reader, an object that is judged, to an anchor, the key of what the reader refers to: from a
//! binding to its role, from a Pod to its service account, from a Namespace to itself. What stands at the anchor is the
//! [`Reading`]. The judge's [`View`](super::View) and the hash of a judgement take the same reading, so a judgement rests on
//! nothing that its hash leaves out. The way back, from a changed object to the anchors at which it is read, gives the
//! subjects that a change touches (`links.rs`); `fetch` gives what a live read asks of the API server.
//!
//! To add one: a variant, and what the compiler then asks for in this file. A control names its relations in `reads`.

use super::dependencies::{self, Dependency};
use super::{Inventory, ObjectKey};
use crate::facts::{
    Facts, Kind, Object, Workload, namespace, network_policy, role, role_binding, service_account, workload,
};

/// One way in which a judgement depends on other objects than its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Relation {
    /// The Pods that a workload has now, and the objects that lead from it to them. Every control of pods has it. Ownership
    /// makes them part of the subject itself: they are its members, and they touch it as such.
    Pods,
    /// The Namespace that the subject is in.
    Namespace,
    /// The role that a binding references.
    Role,
    /// The service account that Pods run as.
    ServiceAccount,
    /// Whether any binding grants anything to that account or to a group of accounts that it is in.
    Grants,
    /// The network policies of a Namespace.
    NetworkPolicies,
    /// Whether a Namespace has any Pod, or anything that makes Pods.
    Workloads,
    /// The minor version of the API server.
    ServerVersion,
}

/// What a relation shows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reading<'a> {
    /// At most one object.
    One(Option<&'a Object>),
    /// Any number, in order.
    Many(Vec<&'a Object>),
    /// Whether there is any.
    Any(bool),
    /// A minor version.
    Minor(u32),
}

impl Relation {
    /// Every relation.
    pub const ALL: [Self; 8] = [
        Self::Pods,
        Self::Namespace,
        Self::Role,
        Self::ServiceAccount,
        Self::Grants,
        Self::NetworkPolicies,
        Self::Workloads,
        Self::ServerVersion,
    ];

    /// Those that lead to single objects of any name, for which `links.rs` keeps the readers by anchor.
    pub(super) const INDEXED: [Self; 2] = [Self::Role, Self::ServiceAccount];

    /// The kinds that it may read. While one that it needs for a subject can't be seen, the answer is "unknown".
    pub fn kinds(self) -> &'static [&'static Kind] {
        match self {
            Self::Pods => &[&workload::REPLICA_SET, &workload::JOB, &workload::POD],
            Self::Namespace => &[&namespace::NAMESPACE],
            Self::Role => &[&role::CLUSTER_ROLE, &role::ROLE],
            Self::ServiceAccount => &[&service_account::SERVICE_ACCOUNT],
            Self::Grants => &[&role_binding::ROLE_BINDING, &role_binding::CLUSTER_ROLE_BINDING],
            Self::NetworkPolicies => &[&network_policy::NETWORK_POLICY],
            Self::Workloads => WORKLOADS,
            Self::ServerVersion => &[],
        }
    }

    /// The kinds that it does read for this subject: of the kinds of roles only the referenced one, of those that lead to Pods
    /// only the subject's own.
    pub(crate) fn kinds_for(self, itself: Option<&Object>) -> &'static [&'static Kind] {
        match self {
            Self::Role => match itself.and_then(|object| self.anchor(object)) {
                Some(key) if *key.kind == role::ROLE => &[&role::ROLE],
                Some(_) => &[&role::CLUSTER_ROLE],
                None => &[],
            },
            Self::Pods => match itself.map(|object| object.kind) {
                Some(kind) if *kind == workload::DEPLOYMENT => &[&workload::REPLICA_SET, &workload::POD],
                Some(kind) if *kind == workload::CRON_JOB => &[&workload::JOB, &workload::POD],
                _ => &[&workload::POD],
            },
            _ => self.kinds(),
        }
    }

    /// The key of what a reader refers to; `None` where it refers to nothing.
    pub(crate) fn anchor(self, reader: &Object) -> Option<ObjectKey> {
        let own = reader.meta.namespace.as_deref();
        match (self, &reader.facts) {
            (Self::Namespace, _) => Some(ObjectKey::cluster_scoped(&namespace::NAMESPACE, own?)),
            (Self::Role, Facts::RoleBinding(binding)) => {
                // A RoleBinding may reference a Role of its namespace or a ClusterRole, a ClusterRoleBinding only a ClusterRole.
                let name = &binding.role_ref.name;
                match (&*binding.role_ref.kind, own) {
                    ("ClusterRole", _) => Some(ObjectKey::cluster_scoped(&role::CLUSTER_ROLE, name)),
                    ("Role", Some(namespace)) => Some(ObjectKey::namespaced(&role::ROLE, namespace, name)),
                    _ => None,
                }
            }
            (Self::ServiceAccount | Self::Grants, Facts::Workload(Workload { pod, .. })) => {
                Some(ObjectKey::namespaced(&service_account::SERVICE_ACCOUNT, own?, pod.service_account()))
            }
            (Self::NetworkPolicies | Self::Workloads, Facts::Namespace(_)) => Some(ObjectKey::of(reader)),
            _ => None,
        }
    }

    /// The anchor at which a changed object is read, whoever reads it there. What is read as a yes or no is not among them: of
    /// grants and workloads only the first and the last change an answer, which `links.rs` counts.
    pub(super) fn anchor_of(self, changed: &ObjectKey) -> Option<ObjectKey> {
        if !self.kinds().contains(&changed.kind) {
            return None;
        }
        match self {
            Self::Namespace | Self::Role | Self::ServiceAccount => Some(changed.clone()),
            Self::NetworkPolicies => {
                Some(ObjectKey::cluster_scoped(&namespace::NAMESPACE, changed.namespace.as_deref()?))
            }
            Self::Pods | Self::Grants | Self::Workloads | Self::ServerVersion => None,
        }
    }

    /// What it shows to a reader.
    pub(crate) fn read<'a>(self, inventory: &'a Inventory, reader: &Object) -> Reading<'a> {
        let anchor = self.anchor(reader);
        let named = || anchor.as_ref().map(|key| (key.namespace.as_deref().unwrap_or_default(), key.name.as_str()));
        match self {
            Self::Namespace | Self::Role | Self::ServiceAccount => {
                Reading::One(anchor.as_ref().and_then(|key| inventory.get(key)))
            }
            Self::Grants => {
                Reading::Any(named().is_some_and(|(namespace, name)| inventory.is_granted_anything(namespace, name)))
            }
            Self::NetworkPolicies => Reading::Many(named().map_or_else(Vec::new, |(_, namespace)| {
                inventory.in_namespace(&network_policy::NETWORK_POLICY, namespace).collect()
            })),
            Self::Workloads => Reading::Any(named().is_some_and(|(_, namespace)| inventory.has_workloads(namespace))),
            Self::ServerVersion => Reading::Minor(inventory.server_minor()),
            // Members of the subject: they are judged and hashed with it.
            Self::Pods => Reading::One(None),
        }
    }

    /// What a live read must fetch, for an anchor that is known.
    pub(super) fn fetch(self, anchor: &ObjectKey, needs: &mut Vec<Dependency>) {
        match self {
            Self::Namespace | Self::Role | Self::ServiceAccount => needs.push(Dependency::Object(anchor.clone())),
            Self::Grants => needs.extend(self.kinds().iter().map(|kind| Dependency::list(kind, None))),
            Self::NetworkPolicies => {
                needs.extend(self.kinds().iter().map(|kind| Dependency::list(kind, Some(&anchor.name))));
            }
            Self::Workloads => {
                needs.extend(self.kinds().iter().map(|kind| Dependency::first(kind, &anchor.name)));
            }
            Self::Pods | Self::ServerVersion => {}
        }
    }
}

/// Pods and what makes them.
const WORKLOADS: &[&Kind] = &[
    &workload::CRON_JOB,
    &workload::DAEMON_SET,
    &workload::DEPLOYMENT,
    &workload::JOB,
    &workload::POD,
    &workload::REPLICATION_CONTROLLER,
    &workload::REPLICA_SET,
    &workload::STATEFUL_SET,
];

impl Inventory {
    /// What must be read to judge a subject by these relations, as far as it follows from what is known; in the order in which
    /// it should be asked.
    pub(crate) fn fetches(
        &self,
        subject: &holdfast_model::Resource,
        relations: impl Iterator<Item = Relation>,
    ) -> Vec<Dependency> {
        let mut needs = Vec::new();
        let key = ObjectKey::of_resource(subject);
        let itself = key.as_ref().and_then(|key| self.get(key));
        needs.extend(key.map(Dependency::Object));
        for relation in relations {
            match relation {
                Relation::Pods => dependencies::pods(subject, itself, &mut needs),
                Relation::ServerVersion => needs.push(Dependency::ServerVersion),
                _ => {
                    let anchors = self.readers_of(subject).filter_map(|reader| relation.anchor(reader));
                    anchors.for_each(|anchor| relation.fetch(&anchor, &mut needs));
                }
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        needs.retain(|need| seen.insert(need.clone()));
        needs
    }
}
