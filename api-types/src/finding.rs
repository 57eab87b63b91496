//! Findings as the API shows them: a row of a list, the whole record, and what an action answers.

use holdfast_model::{
    self as model, ClusterId, FindingId, PatternId, Reach, RetestId, RetiredReason, Severity, Status,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::activity::Actor;
use crate::retest::Retest;
use crate::{Time, schema};

/// One finding in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FindingRow {
    /// Its id, `f_…`, the same for ever.
    #[schema(value_type = schema::FindingId)]
    pub id: FindingId,
    /// What repeats across clusters, `p_…`.
    #[schema(value_type = schema::PatternId)]
    pub pattern_id: PatternId,
    /// The cluster, `c_…`.
    #[schema(value_type = schema::ClusterId)]
    pub cluster_id: ClusterId,
    /// The cluster's name.
    pub cluster: String,
    /// The top owner that the problem is about.
    pub resource: Resource,
    /// The control that fails.
    pub control_id: String,
    /// What should hold, in a few words.
    pub title: String,
    /// Severity in force.
    #[schema(value_type = schema::Severity)]
    pub severity: Severity,
    /// Severity by the catalog, before calibration.
    #[schema(value_type = schema::Severity)]
    pub base_severity: Severity,
    /// Where it stands.
    #[schema(value_type = schema::Status)]
    pub status: Status,
    /// How far the proof went, once verified.
    #[schema(value_type = Option<schema::Reach>)]
    pub reach: Option<Reach>,
    /// Who answers for it, as the resource's labels say.
    pub owner: Option<String>,
    /// When it was first reported.
    pub first_seen_at: Time,
    /// When its status last changed.
    pub status_at: Time,
    /// How often it came back after it was closed.
    pub reopened: u32,
}

/// What a problem is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; null for a cluster-scoped resource.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

/// The whole record of one finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// The row of the list.
    #[serde(flatten)]
    pub row: FindingRow,
    /// What the control is about and why it matters.
    pub description: String,
    /// How to make it pass, in words.
    pub remediation: String,
    /// Why it stands as it does, in one sentence.
    pub reason: String,
    /// Where it fails, and what was read for that.
    pub evidence: Evidence,
    /// Where the resource comes from: the fix belongs there.
    pub origin: Origin,
    /// When it was claimed or seen to be fixed.
    pub resolved_at: Option<Time>,
    /// When the fix was proved.
    pub verified_at: Option<Time>,
    /// Why it was retired.
    #[schema(value_type = Option<schema::RetiredReason>)]
    pub retired_reason: Option<RetiredReason>,
    /// Why a resolved finding could not be proved yet.
    pub unverified: Option<String>,
    /// Why the agent cannot judge it at present.
    pub unjudged: Option<String>,
    /// Whether the proof still describes something that exists: false once a verified subject was deleted.
    pub current: bool,
    /// How often a claim that it is fixed was refuted.
    pub refuted: u32,
    /// What moved the severity away from the catalog's.
    pub calibration: Option<Calibration>,
    /// The line that repeats the check by hand.
    pub check_again: String,
    /// The ready fix, where the control has one.
    pub fix: Option<Fix>,
    /// Every retest, newest first.
    pub retests: Vec<Retest>,
    /// Every event, newest first.
    pub history: Vec<History>,
}

/// What was read, and where it fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Evidence {
    /// Where the control fails.
    pub locations: Vec<Location>,
    /// Uid of the object that was read.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
    /// Version of the control that judged.
    pub control_version: u32,
    /// When the last report about it was recorded.
    pub observed_at: Time,
    /// What the kernel showed of it, beside what the objects say.
    #[serde(default)]
    pub runtime: Option<RuntimeEvidence>,
}

/// What the kernel showed: one record, however often it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuntimeEvidence {
    /// Where, with the kernel's fact as value: the first places.
    pub locations: Vec<Location>,
    /// How often it was seen.
    pub count: u64,
    /// When it was first seen.
    pub first_seen_at: Time,
    /// When it was last seen.
    pub last_seen_at: Time,
    /// By how many steps it raises the severity.
    pub raise: u8,
    /// The rule of the policy that does so.
    #[serde(default)]
    pub rule: Option<String>,
    /// In words: why that moves the severity.
    #[serde(default)]
    pub rationale: Option<String>,
    /// Who approved the policy.
    #[serde(default)]
    pub approver: Option<String>,
}

/// One place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Location {
    /// Field path from the object's root.
    pub path: String,
    /// The value there, redacted where it could hold a secret; empty where the field is absent.
    pub value: String,
    /// The container, where the field belongs to one.
    pub container: Option<String>,
    /// The object that holds the field, where it is not the resource itself.
    pub object: Option<String>,
}

/// Where a resource comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Origin {
    /// Who answers for it.
    pub owner: Option<String>,
    /// The tool that would revert a live change.
    pub manager: Option<String>,
    /// The tool's own name for it.
    pub release: Option<String>,
    /// Helm chart with version.
    pub chart: Option<String>,
}

/// Why the severity in force is not the catalog's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Calibration {
    /// By the catalog.
    #[schema(value_type = schema::Severity)]
    pub from: Severity,
    /// In force.
    #[schema(value_type = schema::Severity)]
    pub to: Severity,
    /// In words: what was read and why that moves the severity.
    pub rationale: String,
    /// The rule of the policy.
    pub rule: Option<String>,
    /// Who approved the policy.
    pub approver: Option<String>,
    /// Everything that was read for it.
    #[schema(value_type = Object)]
    pub reading: Value,
    /// Since when.
    pub at: Time,
}

/// A ready fix: a patch of what exists, or a manifest of what is missing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Fix {
    /// JSON patch (RFC 6902) of the resource; null where an object has to be created.
    #[schema(value_type = Option<Object>)]
    pub json_patch: Option<Value>,
    /// The manifest to create, YAML; null where a patch does it.
    pub manifest: Option<String>,
    /// The line that applies it.
    pub kubectl: String,
    /// What to know before applying it: that a tool would revert a live change, for example.
    pub warning: Option<String>,
}

/// One event of a finding's life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// When.
    pub at: Time,
    /// What: `finding-opened`, `finding-verified`.
    pub event: String,
    /// Who or what.
    pub actor: Actor,
    /// Why, in one sentence.
    pub cause: String,
    /// Its place in the activity log, once appended there.
    pub log_index: Option<u64>,
}

/// A remark that goes into the activity log with an action.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// In plain words; at most 1,000 characters.
    #[serde(default)]
    pub note: Option<String>,
}

/// What an action did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActionResult {
    /// The finding as it is now.
    pub finding: FindingRow,
    /// The retest that the action asked for.
    #[schema(value_type = Option<schema::RetestId>)]
    pub retest_id: Option<RetestId>,
}

/// How many findings have this severity, status and reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Count {
    /// Severity in force.
    #[schema(value_type = schema::Severity)]
    pub severity: Severity,
    /// Status.
    #[schema(value_type = schema::Status)]
    pub status: Status,
    /// How far the proofs went; null where nothing is proved.
    #[serde(default)]
    #[schema(value_type = Option<schema::Reach>)]
    pub reach: Option<Reach>,
    /// How many.
    pub findings: u64,
}

/// The fleet at one glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Summary {
    /// Findings by severity, status and reach, worst first; what has no findings is left out.
    pub counts: Vec<Count>,
    /// The same, cluster by cluster.
    pub clusters: Vec<ClusterCounts>,
}

/// One cluster's findings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterCounts {
    /// The cluster.
    #[schema(value_type = schema::ClusterId)]
    pub cluster_id: ClusterId,
    /// Its name.
    pub cluster: String,
    /// Whether its agent is connected.
    pub connected: bool,
    /// Findings by severity and status.
    pub counts: Vec<Count>,
}

impl From<model::Resource> for Resource {
    fn from(resource: model::Resource) -> Self {
        let model::Resource { group, kind, namespace, name } = resource;
        Self { group, kind, namespace, name }
    }
}

impl From<model::Location> for Location {
    fn from(location: model::Location) -> Self {
        let model::Location { path, value, container, object } = location;
        Self { path, value, container, object }
    }
}

impl From<model::Origin> for Origin {
    fn from(origin: model::Origin) -> Self {
        let model::Origin { owner, manager, release, chart } = origin;
        Self { owner, manager, release, chart }
    }
}
