//! What could and could not be looked at. A subject that was not looked at is never reported as compliant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::UnixMillis;
use crate::control::string_enum;

/// The state of one thing that an agent should be able to see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// What should be seen: a resource with its API group, `deployments.apps`; later a sensor or a node.
    pub subject: String,
    /// Whether it can be.
    pub state: CoverageState,
    /// Why not, for people: the API server's message, without object contents. Empty when seen.
    pub reason: String,
    /// Since when it stands so.
    pub since: UnixMillis,
}

string_enum!(
    /// Whether something can be seen.
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
