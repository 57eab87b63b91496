//! Objects that cannot be read: each holds back passes beside it, and the first ones are named in the coverage.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_controls::Kind;
use holdfast_controls::inventory::ObjectKey;
use holdfast_model::{Coverage, CoverageState, UnixMillis};

use crate::text::line;

/// Unreadable objects that are named one by one in the coverage.
const NAMED: usize = 100;

/// An object that could not be projected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Where it is.
    pub key: ObjectKey,
    /// Its uid, where even that could be read.
    pub uid: String,
    /// What is wrong with it, by field.
    pub problem: String,
}

#[derive(Debug, Default)]
pub(super) struct UnreadableObjects {
    by_key: BTreeMap<ObjectKey, Unreadable>,
    named: BTreeSet<ObjectKey>,
}

impl UnreadableObjects {
    /// Its coverage, where it is named.
    pub(super) fn add(&mut self, unreadable: Unreadable, now: UnixMillis) -> Option<Coverage> {
        let key = unreadable.key.clone();
        let reason = format!("cannot be read: {}", unreadable.problem);
        self.by_key.insert(key.clone(), unreadable);
        if self.named.len() >= NAMED && !self.named.contains(&key) {
            return None;
        }
        self.named.insert(key.clone());
        Some(coverage(&key, CoverageState::Failing, &reason, now))
    }

    /// An object at this place is readable or deleted; of a deletion the uid must be the unreadable one's. `None` where none
    /// was unreadable there, else its coverage where it was named.
    pub(super) fn remove(&mut self, key: &ObjectKey, uid: Option<&str>, now: UnixMillis) -> Option<Option<Coverage>> {
        let known = self.by_key.get(key)?;
        if uid.is_some_and(|uid| known.uid != uid) {
            return None;
        }
        self.by_key.remove(key);
        Some(self.named.remove(key).then(|| coverage(key, CoverageState::Absent, "", now)))
    }

    pub(super) fn is_any_in(&self, namespace: Option<&str>) -> bool {
        self.by_key.keys().any(|key| key.namespace.as_deref() == namespace)
    }

    pub(super) fn of_kind(&self, kind: &'static Kind) -> impl Iterator<Item = (ObjectKey, String)> {
        let of_kind = self.by_key.values().filter(move |unreadable| unreadable.key.kind == kind);
        of_kind.map(|unreadable| (unreadable.key.clone(), unreadable.uid.clone()))
    }
}

fn coverage(key: &ObjectKey, state: CoverageState, reason: &str, now: UnixMillis) -> Coverage {
    let location = key.namespace.iter().chain([&key.name]).cloned().collect::<Vec<_>>().join("/");
    let subject = line(&format!("{} {location}", key.kind.subject()));
    Coverage { subject, state, reason: line(reason), since: now }
}
