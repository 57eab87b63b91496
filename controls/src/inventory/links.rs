//! What a change touches beside its own subject: the readers of every relation at whose anchor the changed object stands.
//!
//! Two small indexes serve it: readers by anchor (bindings by role, workloads by service account), and bindings by the
//! principal that they grant to, from which the authorizer answers too. Everything else is a range of the objects themselves,
//! which lie in order of kind, namespace and name.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use holdfast_model::Resource;

use super::relation::Relation;
use super::{Inventory, ObjectKey};
use crate::facts::{Facts, Family, Object, RoleBinding, namespace, role_binding, service_account};

/// The indexes across objects.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// Readers by anchor, whether or not the anchor exists: bindings by role, workloads by service account.
    readers: BTreeMap<ObjectKey, Keys>,
    /// Bindings by user name; a service account is the user that it authenticates as.
    users: BTreeMap<Box<str>, Keys>,
    /// Bindings by group name.
    groups: BTreeMap<Box<str>, Keys>,
}

type Keys = BTreeSet<Arc<ObjectKey>>;

/// A bound subject, as requests come in: a user or a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Principal {
    User(Box<str>),
    Group(Box<str>),
}

/// The group of every service account.
pub(crate) const ALL_ACCOUNTS: &str = "system:serviceaccounts";
/// The group of everyone who has shown a credential.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";

impl Inventory {
    /// Enters what an object refers to, gives it its subject and touches what depends on it.
    pub(super) fn link(&mut self, key: &Arc<ObjectKey>) {
        let Some(entry) = self.objects.get(key) else { return };
        if let Some(owner) = &entry.object.meta.owner {
            self.children.entry(owner.uid.as_str().into()).or_default().insert(key.clone());
        }
        for anchor in anchors(&entry.object) {
            self.links.readers.entry(anchor).or_default().insert(key.clone());
        }
        for principal in principals(&entry.object) {
            self.grant(key, &principal);
        }
        self.settle_with_children(key);
        self.touch_readers(key);
    }

    /// Takes back what `link` entered; the subject stays for the caller to decide.
    pub(super) fn unlink(&mut self, key: &Arc<ObjectKey>) {
        let Some(entry) = self.objects.get(key) else { return };
        if let Some(owner) = &entry.object.meta.owner {
            take(&mut self.children, owner.uid.as_str(), key);
        }
        for anchor in anchors(&entry.object) {
            take(&mut self.links.readers, &anchor, key);
        }
        for principal in principals(&entry.object) {
            self.withdraw(key, &principal);
        }
        self.touch_readers(key);
    }

    fn grant(&mut self, key: &Arc<ObjectKey>, principal: &Principal) {
        let index = self.links.index_mut(principal);
        let keys = index.entry(principal.name().into()).or_default();
        keys.insert(key.clone());
        if keys.iter().filter(|key| !is_default_grant(key)).take(2).count() == 1 {
            self.touch_accounts_of(principal);
        }
    }

    fn withdraw(&mut self, key: &Arc<ObjectKey>, principal: &Principal) {
        let index = self.links.index_mut(principal);
        take(index, principal.name(), key);
        if index.get(principal.name()).into_iter().flatten().all(|key| is_default_grant(key)) {
            self.touch_accounts_of(principal);
        }
    }

    /// Touches whoever reads this object, through any relation.
    fn touch_readers(&mut self, changed: &ObjectKey) {
        for relation in Relation::ALL {
            if let Some(anchor) = relation.anchor_of(changed) {
                self.touch_at(relation, &anchor);
            }
        }
    }

    /// Touches whoever reads this anchor through a relation.
    pub(super) fn touch_at(&mut self, relation: Relation, anchor: &ObjectKey) {
        match relation {
            Relation::Role | Relation::ServiceAccount | Relation::Grants => {
                let readers = self.links.readers.get(anchor).cloned().unwrap_or_default();
                self.touch_subjects_of(&readers);
            }
            // Its labels speak for all that is in it: the Pod Security version, and the owner.
            Relation::Namespace => self.touch_all_in(&anchor.name),
            Relation::NetworkPolicies | Relation::Workloads => self.touch_namespace(&anchor.name),
            // Members touch their subject as they come and go; the version touches everything, where it is set.
            Relation::Pods | Relation::ServerVersion => {}
        }
    }

    /// The workloads whose service account this principal is or contains: whether anything is granted to it has changed.
    fn touch_accounts_of(&mut self, principal: &Principal) {
        let name = principal.name();
        match principal {
            Principal::User(_) => {
                let Some((namespace, name)) = account_of_user(name) else { return };
                let account = ObjectKey::namespaced(&service_account::SERVICE_ACCOUNT, namespace, name);
                self.touch_at(Relation::Grants, &account);
            }
            Principal::Group(_) if name == ALL_ACCOUNTS || name == AUTHENTICATED => self.touch_accounts(None),
            Principal::Group(_) => {
                if let Some(namespace) = name.strip_prefix("system:serviceaccounts:") {
                    self.touch_accounts(Some(namespace));
                }
            }
        }
    }

    /// Touches the workloads of every service account, of a namespace or of the whole cluster.
    fn touch_accounts(&mut self, namespace: Option<&str>) {
        let kind = &service_account::SERVICE_ACCOUNT;
        let first = ObjectKey { kind, namespace: namespace.map(str::to_owned), name: String::new() };
        let range = self.links.readers.range(first..).take_while(|(account, _)| {
            account.kind == kind && (namespace.is_none() || account.namespace.as_deref() == namespace)
        });
        let workloads: Keys = range.flat_map(|(_, keys)| keys.iter().cloned()).collect();
        self.touch_subjects_of(&workloads);
    }

    fn touch_subjects_of(&mut self, keys: &Keys) {
        let subjects = keys.iter().filter_map(|key| self.objects.get(key)?.subject.clone());
        self.touched.extend(subjects);
    }

    fn touch_namespace(&mut self, name: &str) {
        let subject = Resource::cluster_scoped(namespace::NAMESPACE.group, namespace::NAMESPACE.kind, name);
        if let Some((subject, _)) = self.members.get_key_value(&subject) {
            self.touched.insert(subject.clone());
        }
    }

    fn touch_all_in(&mut self, namespace: &str) {
        let kinds = crate::facts::KINDS.iter().copied().filter(|kind| kind.namespaced);
        let subjects: Vec<_> = kinds
            .flat_map(|kind| self.range_in(kind, namespace).filter_map(|(_, entry)| entry.subject.clone()))
            .collect();
        self.touched.extend(subjects);
    }

    /// Whether this workload's place is the only one of its namespace: asked before it comes and after it went.
    pub(super) fn is_first_workload(&self, key: &ObjectKey) -> bool {
        key.kind.family == Family::Workload && key.namespace.as_deref().is_some_and(|name| !self.has_workloads(name))
    }

    /// The bindings of this principal that count in a namespace, or in the whole cluster for `None`.
    pub(crate) fn bindings_of<'a>(
        &'a self,
        principal: &Principal,
        namespace: Option<&str>,
    ) -> impl Iterator<Item = (&'a Object, &'a RoleBinding)> {
        let first = match namespace {
            Some(namespace) => ObjectKey::namespaced(&role_binding::ROLE_BINDING, namespace, ""),
            None => ObjectKey::cluster_scoped(&role_binding::CLUSTER_ROLE_BINDING, ""),
        };
        let (kind, namespace) = (first.kind, first.namespace.clone());
        let keys = self.links.index(principal).get(principal.name());
        let range = keys.into_iter().flat_map(move |keys| keys.range(first.clone()..));
        range
            .take_while(move |key| key.kind == kind && key.namespace == namespace)
            .filter_map(|key| binding(&self.objects.get(key)?.object))
    }

    /// Whether anything is granted to a service account, by its own name or by a group that it is in. What the API server
    /// itself grants to all of them is not counted.
    pub(crate) fn is_granted_anything(&self, namespace: &str, name: &str) -> bool {
        let principals = [
            Principal::account(namespace, name),
            Principal::Group(format!("{ALL_ACCOUNTS}:{namespace}").into()),
            Principal::Group(ALL_ACCOUNTS.into()),
            Principal::Group(AUTHENTICATED.into()),
        ];
        principals.iter().any(|principal| {
            let keys = self.links.index(principal).get(principal.name());
            keys.into_iter().flatten().any(|key| !is_default_grant(key))
        })
    }
}

impl Links {
    fn index(&self, principal: &Principal) -> &BTreeMap<Box<str>, Keys> {
        match principal {
            Principal::User(_) => &self.users,
            Principal::Group(_) => &self.groups,
        }
    }

    fn index_mut(&mut self, principal: &Principal) -> &mut BTreeMap<Box<str>, Keys> {
        match principal {
            Principal::User(_) => &mut self.users,
            Principal::Group(_) => &mut self.groups,
        }
    }
}

impl Principal {
    fn name(&self) -> &str {
        match self {
            Self::User(name) | Self::Group(name) => name,
        }
    }

    /// The user that a service account authenticates as.
    pub(crate) fn account(namespace: &str, name: &str) -> Self {
        Self::User(format!("system:serviceaccount:{namespace}:{name}").into())
    }

    /// The principal that a binding's subject names; `None` for one that no request can be.
    pub(crate) fn of(subject: &role_binding::Subject, binding_namespace: Option<&str>) -> Option<Self> {
        match &*subject.kind {
            "User" => Some(Self::User(subject.name.clone())),
            "Group" => Some(Self::Group(subject.name.clone())),
            "ServiceAccount" => {
                let own = subject.namespace.as_deref().filter(|namespace| !namespace.is_empty());
                let namespace = own.or(binding_namespace)?;
                Some(Self::account(namespace, &subject.name))
            }
            _ => None,
        }
    }
}

fn take<K: Ord + Borrow<Q>, Q: Ord + ?Sized>(index: &mut BTreeMap<K, Keys>, at: &Q, key: &ObjectKey) {
    if let Some(keys) = index.get_mut(at) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(at);
        }
    }
}

/// The ClusterRoleBindings by which the API server lets every account find out what it serves.
const DEFAULT_GRANTS: [&str; 4] =
    ["system:basic-user", "system:discovery", "system:public-info-viewer", "system:service-account-issuer-discovery"];

fn is_default_grant(key: &ObjectKey) -> bool {
    *key.kind == role_binding::CLUSTER_ROLE_BINDING && DEFAULT_GRANTS.contains(&key.name.as_str())
}

fn binding(object: &Object) -> Option<(&Object, &RoleBinding)> {
    match &object.facts {
        Facts::RoleBinding(binding) => Some((object, binding)),
        _ => None,
    }
}

/// The anchors under which an object is found again as their reader.
fn anchors(object: &Object) -> impl Iterator<Item = ObjectKey> {
    Relation::INDEXED.into_iter().filter_map(|relation| relation.anchor(object))
}

/// To whom a binding grants its role; nobody for any other object.
fn principals(object: &Object) -> Vec<Principal> {
    let namespace = object.meta.namespace.as_deref();
    let subjects = binding(object).into_iter().flat_map(|(_, binding)| &binding.subjects);
    subjects.filter_map(|subject| Principal::of(subject, namespace)).collect()
}

fn account_of_user(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix("system:serviceaccount:")?.split_once(':')
}
