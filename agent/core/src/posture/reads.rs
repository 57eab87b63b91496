//! Which version of an object a retest has read: a watch event that is older must not undo what the retest saw.

use std::collections::HashMap;

/// The first minor version of Kubernetes that documents decimal resource versions as ordered. On older servers nothing is
/// dropped: the watch arrives at what the retest saw by itself, only later.
const ORDERED_VERSIONS: u32 = 34;

#[derive(Debug, Default)]
pub(super) struct LiveReads {
    by_uid: HashMap<String, u64>,
    are_versions_ordered: bool,
}

impl LiveReads {
    pub(super) fn set_server_minor(&mut self, minor: u32) {
        self.are_versions_ordered = minor >= ORDERED_VERSIONS;
    }

    /// A version that is no decimal number orders nothing, and is left out.
    pub(super) fn add(&mut self, reads: Vec<(String, String)>) {
        if !self.are_versions_ordered {
            return;
        }
        for (uid, version) in reads {
            if let Ok(version) = version.parse::<u64>() {
                let held = self.by_uid.entry(uid).or_default();
                *held = version.max(*held);
            }
        }
    }

    /// Whether a retest has read a newer version of this object. An event that is not older ends the watch over it.
    pub(super) fn is_older(&mut self, uid: &str, resource_version: &str) -> bool {
        let Some(&read) = self.by_uid.get(uid) else { return false };
        let is_older = resource_version.parse::<u64>().is_ok_and(|version| version < read);
        if !is_older {
            self.by_uid.remove(uid);
        }
        is_older
    }

    pub(super) fn forget(&mut self, uid: &str) {
        self.by_uid.remove(uid);
    }
}
