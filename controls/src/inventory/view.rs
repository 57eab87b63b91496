//! One object as its judge sees it: its facts, and of the cluster around it what its control says that it reads.
//!
//! The accessors are the relations, typed. One that the control does not declare shows nothing, and stops a debug build: what
//! is not declared is neither fetched by a live read nor hashed, and its changes touch nobody.

use super::Inventory;
use super::relation::{Reading, Relation};
use crate::facts::{Meta, Namespace, NetworkPolicy, Object, Role, ServiceAccount};

/// One object as a judge sees it.
#[derive(Debug, Clone, Copy)]
pub struct View<'a, F> {
    /// The metadata of the object that holds the facts.
    pub meta: &'a Meta,
    /// The facts that are judged: the object's own, or the pod specification in them.
    pub facts: &'a F,
    object: &'a Object,
    around: &'a Inventory,
    declared: &'static [Relation],
}

impl<'a, F> View<'a, F> {
    /// Of facts of an object, for a control that declares these relations.
    pub(crate) fn new(around: &'a Inventory, object: &'a Object, facts: &'a F, declared: &'static [Relation]) -> Self {
        Self { meta: &object.meta, facts, object, around, declared }
    }

    /// The role that the binding references, where it exists.
    pub fn role(&self) -> Option<&'a Role> {
        self.one(Relation::Role)?.facts.get()
    }

    /// The service account that the pod runs as, where it exists.
    pub fn service_account(&self) -> Option<&'a ServiceAccount> {
        self.one(Relation::ServiceAccount)?.facts.get()
    }

    /// The Namespace that the object is in, where it is known.
    pub fn namespace(&self) -> Option<&'a Namespace> {
        self.one(Relation::Namespace)?.facts.get()
    }

    /// Whether anything is granted to the service account that the pod runs as. What the API server itself grants to every
    /// account is not counted.
    pub fn is_granted_anything(&self) -> bool {
        self.read(Relation::Grants) == Some(Reading::Any(true))
    }

    /// Whether the Namespace has any Pod, or anything that makes Pods.
    pub fn has_workloads(&self) -> bool {
        self.read(Relation::Workloads) == Some(Reading::Any(true))
    }

    /// The policies of the Namespace, by name.
    pub fn network_policies(&self) -> impl Iterator<Item = &'a NetworkPolicy> {
        let policies = match self.read(Relation::NetworkPolicies) {
            Some(Reading::Many(policies)) => policies,
            _ => Vec::new(),
        };
        policies.into_iter().filter_map(|object| object.facts.get())
    }

    /// The minor version of the API server.
    pub fn server_minor(&self) -> u32 {
        match self.read(Relation::ServerVersion) {
            Some(Reading::Minor(minor)) => minor,
            _ => super::NEWEST_MINOR,
        }
    }

    fn one(&self, relation: Relation) -> Option<&'a Object> {
        match self.read(relation) {
            Some(Reading::One(object)) => object,
            _ => None,
        }
    }

    fn read(&self, relation: Relation) -> Option<Reading<'a>> {
        let is_declared = self.declared.contains(&relation);
        debug_assert!(is_declared, "a judge reads {relation:?}, which its control does not declare");
        is_declared.then(|| relation.read(self.around, self.object))
    }
}
