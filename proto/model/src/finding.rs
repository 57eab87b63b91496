//! The finding: one record per (cluster, resource, control), whoever reports it and how often.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use crate::control::{ControlId, string_enum};
use crate::id::{ClusterId, FindingId, PatternId, derive};
use crate::resource::Resource;

/// The full identity of a finding. Its ids are derived from it and from nothing else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FindingKey {
    /// The cluster whose certificate the report came under.
    pub cluster: ClusterId,
    /// The top owner.
    pub resource: Resource,
    /// The control that fails.
    pub control: ControlId,
}

impl FindingKey {
    /// The finding's id.
    pub fn finding_id(&self) -> FindingId {
        let parts = self.shared_parts();
        FindingId::from_bytes(derive(
            "holdfast/finding/1",
            &[&[self.cluster.as_bytes().as_slice()], &parts[..]].concat(),
        ))
    }

    /// The id of what repeats across clusters.
    pub fn pattern_id(&self) -> PatternId {
        PatternId::from_bytes(derive("holdfast/pattern/1", &self.shared_parts()))
    }

    fn shared_parts(&self) -> [&[u8]; 5] {
        let Resource { group, kind, namespace, name } = &self.resource;
        [group, kind, namespace.as_deref().unwrap_or(""), name, self.control.as_str()].map(str::as_bytes)
    }
}

string_enum!(
    /// Where a finding stands. What may follow what is decided in the room `record`.
    Status, "status" {
        /// Reported, and nobody says otherwise.
        Open = "open",
        /// Its owner works on it.
        InProgress = "in-progress",
        /// Claimed or seen to be fixed, not yet proved: a retest is under way.
        Resolved = "resolved",
        /// Proved fixed by a retest, with a receipt.
        Verified = "verified",
        /// Ended without a fix: deleted, out of scope, control withdrawn. Never counted as fixed.
        Retired = "retired",
    }
);

impl Status {
    /// Whether the problem still counts against the fleet: a fix that is not proved does.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Open | Self::InProgress | Self::Resolved)
    }
}

string_enum!(
    /// Why a finding was retired.
    RetiredReason, "reason for retiring" {
        /// The resource was proved absent, and its deletion is no fix.
        Deleted = "deleted",
        /// The platform owner took its namespace out of scope.
        OutOfScope = "out-of-scope",
        /// The control no longer exists.
        ControlWithdrawn = "control-withdrawn",
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    fn key(cluster: u8, namespace: Option<&str>, name: &str) -> FindingKey {
        FindingKey {
            cluster: ClusterId::from_bytes([cluster; 16]),
            resource: Resource {
                group: "apps".into(),
                kind: "Deployment".into(),
                namespace: namespace.map(Into::into),
                name: name.into(),
            },
            control: ControlId::known("workload.privileged"),
        }
    }

    #[test]
    fn the_pattern_is_the_finding_without_its_cluster() {
        assert_eq!(key(1, Some("shop"), "web").pattern_id(), key(2, Some("shop"), "web").pattern_id());
        assert_ne!(key(1, Some("shop"), "web").finding_id(), key(2, Some("shop"), "web").finding_id());
        assert_ne!(key(1, Some("shop"), "web").pattern_id(), key(1, Some("shopw"), "eb").pattern_id());
    }

    /// Stored ids outlive every release: these two lines may never change.
    #[test]
    fn ids_are_the_same_for_ever() {
        assert_eq!(key(1, Some("shop"), "web").finding_id().to_string(), "f_35mw3p4zrcwtdj2ksuxvj4pu6q");
        assert_eq!(key(1, Some("shop"), "web").pattern_id().to_string(), "p_5dgqlbw3p3rzqieaso5w63lcie");
    }
}
