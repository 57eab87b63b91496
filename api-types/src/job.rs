//! Background work as the API shows it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Time;

/// One job and how it fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// A pass begins at most this long after the one before.
    pub period_seconds: u64,
    /// Passes since the aggregator started.
    pub passes: u64,
    /// Of them, those that failed.
    pub failures: u64,
    /// When the last pass began; null before the first.
    pub last_at: Option<Time>,
    /// How long it took, in milliseconds.
    pub last_took_ms: u64,
    /// What the last pass that did anything did; null before that.
    pub last_did: Option<String>,
    /// Why the last pass failed; null if it did not.
    pub last_error: Option<String>,
}
