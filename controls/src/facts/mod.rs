//! Objects of the API server, each projected to the few facts that controls read.
//!
//! One file per kind, or per family whose members differ only in data. A projection reads the fields that it needs, in the
//! types that the API gives them, and nothing else: what is not read here never leaves the API server's answer. An object
//! that does not have the API's form is an error that names the field; the caller reports it and goes on.
//!
//! To add one: write `<family>.rs` with its `KINDS`, its facts and their `project`, then add `mod x;` and its line in
//! `families!`. The agent watches it, the inventory keeps it and a control may judge it; what reads it beside another subject
//! is a [`Relation`](crate::inventory::Relation).

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use holdfast_model::{Origin, Resource};
use serde::{Deserialize, Deserializer, Serialize};

mod container;
pub mod ingress;
pub mod labels;
pub mod metadata;
pub mod namespace;
pub mod network_policy;
pub mod pod;
pub mod pod_security;
pub mod port;
mod resources;
pub mod role;
pub mod role_binding;
mod security_context;
pub mod service;
pub mod service_account;
#[cfg(test)]
mod sprocket;
mod volume;
pub mod workload;

pub use ingress::Ingress;
pub use labels::{LabelSelector, Labels};
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
    /// What the agent reads it for, in plain words: the reason of the right to do so.
    pub reason: &'static str,
}

/// From the list of families: what names one, what holds the facts of one, and how they are projected.
macro_rules! families {
    ($($(#[$attribute:meta])* $family:ident in $file:ident;)+) => {
        /// The projections, by the file that has each.
        #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Clone, Copy)]
        pub enum Family {
            $($(#[$attribute])* #[doc = concat!("`", stringify!($file), ".rs`.")] $family,)+
        }

        /// The facts of one object.
        #[derive(Debug, Clone, PartialEq, Serialize)]
        pub enum Facts {
            $($(#[$attribute])* #[doc = concat!("Of the family in `", stringify!($file), ".rs`.")] $family($file::$family),)+
        }

        $(
            $(#[$attribute])*
            impl Projected for $file::$family {
                fn of(facts: &Facts) -> Option<&Self> {
                    match facts {
                        Facts::$family(facts) => Some(facts),
                        _ => None,
                    }
                }
            }
        )+

        impl Facts {
            /// Shares labels that an interner has already.
            pub(crate) fn intern(&mut self, interner: &mut labels::Interner) {
                match self {
                    $($(#[$attribute])* Self::$family(facts) => labels::Interned::intern(facts, interner),)+
                }
            }
        }

        /// The kinds of each family.
        const BY_FAMILY: &[&[&Kind]] = &[$($(#[$attribute])* $file::KINDS,)+];

        /// Projects one object of a known kind from JSON, YAML or any other form that serde reads.
        ///
        /// The error is the deserializer's, with the field's place where the format has one.
        pub fn project<'de, D: Deserializer<'de>>(kind: &'static Kind, from: D) -> Result<Object, D::Error> {
            let (meta, facts) = match kind.family {
                $($(#[$attribute])* Family::$family => {
                    let (meta, facts) = $file::project(kind, from)?;
                    (meta, Facts::$family(facts))
                })+
            };
            Ok(Object { kind, meta, facts })
        }
    };
}

// In the order in which a cluster is listed: owners before what they own, so that nothing is judged under a wrong owner
// first, and what judgements depend on before what is judged.
families! {
    Namespace in namespace;
    Role in role;
    RoleBinding in role_binding;
    ServiceAccount in service_account;
    NetworkPolicy in network_policy;
    Service in service;
    Ingress in ingress;
    Workload in workload;
    #[cfg(test)]
    Sprocket in sprocket;
}

/// Every kind, in the order in which a cluster is listed.
pub const KINDS: &[&Kind] = &joined::<{ count(BY_FAMILY) }>(BY_FAMILY);

const fn count(lists: &[&[&Kind]]) -> usize {
    let (mut at, mut count) = (0, 0);
    while at < lists.len() {
        count += lists[at].len();
        at += 1;
    }
    count
}

const fn joined<const N: usize>(lists: &[&[&'static Kind]]) -> [&'static Kind; N] {
    let mut all = [&namespace::NAMESPACE; N];
    let (mut list, mut at, mut next) = (0, 0, 0);
    while next < N {
        if at == lists[list].len() {
            (list, at) = (list + 1, 0);
        } else {
            all[next] = lists[list][at];
            (at, next) = (at + 1, next + 1);
        }
    }
    all
}

/// The facts of one family.
pub trait Projected: 'static {
    /// Themselves, where these are of the family.
    fn of(facts: &Facts) -> Option<&Self>;
}

impl Facts {
    /// The facts, where they are of this family.
    pub fn get<F: Projected>(&self) -> Option<&F> {
        F::of(self)
    }
}

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

/// Reads `null` as the type's default, as the API server does for every optional field.
pub(crate) fn null_as_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
