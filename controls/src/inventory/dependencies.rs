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
//! with a Status is an answer too: the object is not there. What each relation fetches is in `relation.rs`; here is the one
//! that takes thought, a workload's Pods.

use holdfast_model::Resource;

use super::ObjectKey;
use crate::facts::{Facts, Kind, Object, Workload, workload};

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
    /// GET the version of the API server.
    ServerVersion,
}

impl Dependency {
    /// The kind that is read; the server's version is of none.
    pub fn kind(&self) -> Option<&'static Kind> {
        match self {
            Self::Object(key) => Some(key.kind),
            Self::List { kind, .. } => Some(kind),
            Self::ServerVersion => None,
        }
    }

    pub(super) fn list(kind: &'static Kind, namespace: Option<&str>) -> Self {
        Self::List { kind, namespace: namespace.map(str::to_owned), selector: None, limit: None }
    }

    /// Whether there is any in a namespace.
    pub(super) fn first(kind: &'static Kind, namespace: &str) -> Self {
        Self::List { kind, namespace: Some(namespace.to_owned()), selector: None, limit: Some(1) }
    }
}

/// The Pods that a subject has now, and the objects that lead from it to them.
pub(super) fn pods(subject: &Resource, itself: Option<&Object>, needs: &mut Vec<Dependency>) {
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
