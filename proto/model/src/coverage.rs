//! What could and could not be observed. A subject that was not observed is never reported as compliant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::UnixMillis;
use crate::control::string_enum;

/// The state of one thing that an agent should observe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// What should be observed: a resource with its API group, `deployments.apps`, or a node's kernel view or sensors.
    pub subject: String,
    /// Whether it is.
    pub state: CoverageState,
    /// Why not, for people: the API server's message, without object contents. Empty where it is observed.
    pub reason: String,
    /// Since when this state holds.
    pub since: UnixMillis,
}

string_enum!(
    /// Whether something is observed.
    CoverageState, "coverage state" {
        /// Listed and watched.
        Seen = "seen",
        /// The first list is under way.
        Starting = "starting",
        /// The API server refuses it: 403.
        Forbidden = "forbidden",
        /// The API group or resource is not served.
        Absent = "absent",
        /// The API server does not answer, or answers with errors.
        Failing = "failing",
    }
);
