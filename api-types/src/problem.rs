//! A refusal, as problem+json (RFC 9457): a status, a stable machine code and a sentence that says what to do.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A refusal, as the client reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:holdfast:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code in words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What is wrong with this request, and what to do about it.
    pub detail: String,
    /// Stable, for programs: `not-found`, `forbidden`.
    pub code: String,
}
