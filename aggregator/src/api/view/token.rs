//! API tokens as the API shows them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;
use crate::api::role::Role;

/// One API token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Names it, also as the actor in the activity log.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// What it may do: `admin`, `platform`, `auditor`.
    pub role: String,
    /// When it was made.
    pub created_at: Time,
    /// When it was last used, to within minutes.
    pub last_used_at: Option<Time>,
    /// When it was revoked.
    pub revoked_at: Option<Time>,
}

/// A token to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// A token that was just made. Its text is shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenSecret {
    /// The whole text.
    pub token: String,
    /// As it is listed from now on.
    pub stored: Token,
}
