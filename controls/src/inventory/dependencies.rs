//! What a live read must fetch to judge one control on one subject, as data: the agent fetches, this room never does.
//!
//! The list depends on what is known already: the role of a binding is known only once the binding is. So a live read starts
//! from an empty inventory and goes on until nothing new is asked:
//!
//! ```text
//! loop: the first of dependencies(subject, control) that was not asked yet -> GET or LIST -> apply -> again
//! ```
//!
//! Each kind that was read is then `Seen`; one that could not be is not, and the answer is "unknown". A GET that answers 404
//! with a Status is an answer too: the object is not there.

use holdfast_model::Resource;

use super::{Inventory, ObjectKey};
use crate::catalog::Control;
use crate::facts::{Facts, Family, Kind, Object, Workload, workload};

/// One read of the API server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dependency {
    /// GET one object, without a resource version: a quorum read.
    Object(ObjectKey),
    /// LIST a kind.
    List {
        /// The kind.
        kind: &'static Kind,
        /// In this namespace; `None` for all of the cluster.
        namespace: Option<String>,
        /// A label selector as the API takes it; `None` for every object.
        selector: Option<String>,
        /// At most so many: 1 asks only whether there is any.
        limit: Option<u32>,
    },
}

impl Dependency {
    /// The kind that is read.
    pub fn kind(&self) -> &'static Kind {
        match self {
            Self::Object(key) => key.kind,
            Self::List { kind, .. } => kind,
        }
    }

    fn list(kind: &'static Kind, namespace: Option<&str>) -> Self {
        Self::List { kind, namespace: namespace.map(str::to_owned), selector: None, limit: None }
    }
}

impl Inventory {
    /// What must be read to judge a control on a subject, as far as it can be told from what is known; in the order in
    /// which it should be asked.
    pub fn dependencies(&self, subject: &Resource, control: &Control) -> Vec<Dependency> {
        let mut needs = Vec::new();
        let key = Kind::find(&subject.group, &subject.kind).map(|kind| ObjectKey {
            kind,
            namespace: subject.namespace.clone(),
            name: subject.name.clone(),
        });
        let itself = key.as_ref().and_then(|key| self.get(key));
        needs.extend(key.map(Dependency::Object));
        if control.judge.is_of_pods() {
            pods(subject, itself, &mut needs);
        }
        for kind in control.reads {
            self.surrounding(kind, subject, itself, &mut needs);
        }
        let mut seen = std::collections::BTreeSet::new();
        needs.retain(|need| seen.insert(need.clone()));
        needs
    }

    /// What of one kind a control reads beside its subject.
    fn surrounding(
        &self,
        kind: &'static Kind,
        subject: &Resource,
        itself: Option<&Object>,
        needs: &mut Vec<Dependency>,
    ) {
        match kind.family {
            Family::Namespace => {
                needs.extend(
                    subject.namespace.as_deref().map(|name| Dependency::Object(ObjectKey::cluster_scoped(kind, name))),
                );
            }
            Family::Role => {
                let role = itself.and_then(|object| self.role_of(object)).filter(|key| key.kind == kind);
                needs.extend(role.map(Dependency::Object));
            }
            Family::RoleBinding => needs.push(Dependency::list(kind, None)),
            Family::ServiceAccount => {
                let account = itself.and_then(|object| account(kind, object));
                match account {
                    Some(account) => needs.push(Dependency::Object(account)),
                    None => needs.push(Dependency::list(kind, subject.namespace.as_deref())),
                }
            }
            Family::Workload => needs.push(Dependency::List {
                kind,
                namespace: Some(surrounded_namespace(subject).to_owned()),
                selector: None,
                limit: Some(1),
            }),
            Family::Ingress | Family::NetworkPolicy | Family::Service => {
                needs.push(Dependency::list(kind, Some(surrounded_namespace(subject))));
            }
        }
    }
}

/// The namespace around a subject: a Namespace is its own.
fn surrounded_namespace(subject: &Resource) -> &str {
    subject.namespace.as_deref().unwrap_or(&subject.name)
}

fn account(kind: &'static Kind, object: &Object) -> Option<ObjectKey> {
    match &object.facts {
        Facts::Workload(workload) => {
            Some(ObjectKey::namespaced(kind, object.meta.namespace.as_deref()?, workload.pod.service_account()))
        }
        _ => None,
    }
}

/// The Pods that a subject has now, and the objects that lead from it to them.
fn pods(subject: &Resource, itself: Option<&Object>, needs: &mut Vec<Dependency>) {
    let namespace = subject.namespace.as_deref();
    let Some(object) = itself else {
        // Nothing bears the name (yet): a run, a static Pod, the owner of a kind that isn't read. Its Pods name it.
        if Kind::find(&subject.group, &subject.kind).is_none_or(|kind| *kind == workload::POD || *kind == workload::JOB)
        {
            needs.push(Dependency::list(&workload::JOB, namespace));
            needs.push(Dependency::list(&workload::POD, namespace));
        }
        return;
    };
    // Under the name of a Pod or Job stand all runs that share it, whoever made them.
    if *object.kind == workload::POD || *object.kind == workload::JOB {
        needs.extend((*object.kind == workload::JOB).then(|| Dependency::list(&workload::JOB, namespace)));
        needs.push(Dependency::list(&workload::POD, namespace));
        return;
    }
    let selector = match &object.facts {
        Facts::Workload(Workload { selector, .. }) => selector.as_deref().map(str::to_owned),
        _ => None,
    };
    let selected = |kind: &'static Kind| Dependency::List {
        kind,
        namespace: namespace.map(str::to_owned),
        selector: selector.clone(),
        limit: None,
    };
    if *object.kind == workload::DEPLOYMENT {
        needs.push(selected(&workload::REPLICA_SET));
    } else if *object.kind == workload::CRON_JOB {
        needs.push(Dependency::list(&workload::JOB, namespace));
    }
    needs.push(selected(&workload::POD));
}
