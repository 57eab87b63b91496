//! Live changes, as server-sent events: the event's name says which kind its data is. A reason to read again, not a record.

use holdfast_model::{ClusterId, FindingId, RetestId, Severity, Status, Verdict};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::schema;

/// One event of the stream: `event` is the field `event:`, `data` the field `data:`, which is JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", content = "data", rename_all = "kebab-case")]
pub enum LiveEvent {
    /// A finding is new or not as it was.
    Finding(FindingChanged),
    /// An agent connected, left, or was revoked; or the cluster's coverage or scope changed.
    Cluster(ClusterChanged),
    /// A retest was answered.
    Retest(RetestAnswered),
    /// This reader was too slow and should read again.
    Missed(ChangesMissed),
}

/// A finding is new or not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FindingChanged {
    /// Which.
    #[schema(value_type = schema::FindingId)]
    pub finding_id: FindingId,
    /// Of which cluster.
    #[schema(value_type = schema::ClusterId)]
    pub cluster_id: ClusterId,
    /// Where it stands now.
    #[schema(value_type = schema::Status)]
    pub status: Status,
    /// Its severity in force.
    #[schema(value_type = schema::Severity)]
    pub severity: Severity,
}

/// A cluster's agent, coverage or scope is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterChanged {
    /// Which.
    #[schema(value_type = schema::ClusterId)]
    pub cluster_id: ClusterId,
}

/// A retest was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RetestAnswered {
    /// Which.
    #[schema(value_type = schema::RetestId)]
    pub retest_id: RetestId,
    /// Of which finding.
    #[schema(value_type = schema::FindingId)]
    pub finding_id: FindingId,
    /// The answer.
    #[schema(value_type = schema::Verdict)]
    pub verdict: Verdict,
}

/// Changes that this reader did not get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangesMissed {
    /// How many.
    pub changes: u64,
}

impl LiveEvent {
    /// The name of the event.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Finding(_) => "finding",
            Self::Cluster(_) => "cluster",
            Self::Retest(_) => "retest",
            Self::Missed(_) => "missed",
        }
    }

    /// Its data, JSON.
    pub fn data(&self) -> Result<String, serde_json::Error> {
        match self {
            Self::Finding(data) => serde_json::to_string(data),
            Self::Cluster(data) => serde_json::to_string(data),
            Self::Retest(data) => serde_json::to_string(data),
            Self::Missed(data) => serde_json::to_string(data),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The document describes the enum; the stream writes name and data apart.
    #[test]
    fn what_is_written_is_what_the_document_describes() {
        let cluster_id = ClusterId::from_bytes([1; 16]);
        let finding_id = FindingId::from_bytes([2; 16]);
        let retest_id = RetestId::from_bytes([3; 16]);
        let (status, severity) = (Status::Open, Severity::High);
        for event in [
            LiveEvent::Finding(FindingChanged { finding_id, cluster_id, status, severity }),
            LiveEvent::Cluster(ClusterChanged { cluster_id }),
            LiveEvent::Retest(RetestAnswered { retest_id, finding_id, verdict: Verdict::Fixed }),
            LiveEvent::Missed(ChangesMissed { changes: 7 }),
        ] {
            let data: serde_json::Value = serde_json::from_str(&event.data().unwrap()).unwrap();
            let written = serde_json::json!({ "event": event.name(), "data": data });
            assert_eq!(serde_json::to_value(&event).unwrap(), written);
        }
    }
}
