//! Patterns as the API shows them: what repeats across the fleet, how far it has spread, and what that changed.

use holdfast_model::{Band, PatternId, Severity};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::finding::{FindingRow, Resource};
use crate::{Time, schema};

/// One pattern in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PatternRow {
    /// Its id, `p_…`.
    #[schema(value_type = schema::PatternId)]
    pub id: PatternId,
    /// The resource, the same in every cluster.
    pub resource: Resource,
    /// The control that fails.
    pub control_id: String,
    /// What should hold.
    pub title: String,
    /// Severity by the catalog.
    #[schema(value_type = schema::Severity)]
    pub base_severity: Severity,
    /// Severity in force for its findings.
    #[schema(value_type = schema::Severity)]
    pub severity: Severity,
    /// Clusters that have it: open, in progress, or resolved and not yet proved.
    pub clusters_affected: u32,
    /// Clusters whose coverage can judge the control.
    pub clusters_judging: u32,
    /// The first over the second, in whole per cent.
    pub share_percent: u32,
    /// How far it has spread.
    #[schema(value_type = schema::Band)]
    pub band: Band,
}

/// One pattern with its reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pattern {
    /// The row of the list.
    #[serde(flatten)]
    pub row: PatternRow,
    /// Since when it is in this band.
    pub band_since: Option<Time>,
    /// The rule of the policy that moved the severity; null where it is the catalog's.
    pub rule: Option<String>,
    /// Who approved that policy.
    pub approver: Option<String>,
    /// How to make it pass, in words.
    pub remediation: String,
    /// Its findings, one a cluster; at most 500.
    pub findings: Vec<FindingRow>,
}
