//! A retest as the API shows it: the question, and the answer once there is one.

use holdfast_model::{FindingId, Reach, RetestId, Verdict};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Time, schema};

/// One request to prove a finding fixed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Retest {
    /// Its id, `r_…`.
    #[schema(value_type = schema::RetestId)]
    pub id: RetestId,
    /// The finding.
    #[schema(value_type = schema::FindingId)]
    pub finding_id: FindingId,
    /// When it was asked for.
    pub requested_at: Time,
    /// When the answer was recorded; null while it is awaited.
    pub answered_at: Option<Time>,
    /// How often it was sent to the agent.
    pub attempts: u32,
    /// The latest answer.
    #[schema(value_type = Option<schema::Verdict>)]
    pub verdict: Option<Verdict>,
    /// The answer in one sentence.
    pub reason: Option<String>,
    /// How far the proof went.
    #[schema(value_type = Option<schema::Reach>)]
    pub reach: Option<Reach>,
    /// Whether nothing more will come: the answer settles it, or the question was given up.
    pub settled: bool,
    /// Whether a signed receipt can be fetched under this retest's id.
    pub receipt: bool,
    /// Why it was asked.
    pub cause: String,
}
