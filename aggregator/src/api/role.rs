//! Who may do what: the whole table, in one place.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What an API token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Everything, API tokens included.
    Admin,
    /// Runs clusters and works on findings.
    Platform,
    /// Reads.
    Auditor,
}

/// What a request wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// See it.
    Read,
    /// Move a finding: start, claim, withdraw, retest.
    Work,
    /// Add and revoke clusters, set their scope.
    Operate,
    /// Make and revoke API tokens.
    Administer,
}

impl Role {
    /// Every role, mightiest first.
    pub const ALL: &[Self] = &[Self::Admin, Self::Platform, Self::Auditor];

    /// Whether this role may do that.
    pub fn may(self, access: Access) -> bool {
        match self {
            Self::Admin => true,
            Self::Platform => access != Access::Administer,
            Self::Auditor => access == Access::Read,
        }
    }

    /// Its name in the API, the wire, the store and the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Platform => "platform",
            Self::Auditor => "auditor",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().copied().find(|role| role.as_str() == text);
        found.ok_or_else(|| format!("{:?} is no role", text.chars().take(40).collect::<String>()))
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Work => "work on findings",
            Self::Operate => "operate clusters",
            Self::Administer => "administer API tokens",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_what_its_row_says() {
        let table = Role::ALL.iter().map(|role| {
            [Access::Read, Access::Work, Access::Operate, Access::Administer].map(|access| role.may(access))
        });
        let expected = [[true, true, true, true], [true, true, true, false], [true, false, false, false]];
        assert_eq!(table.collect::<Vec<_>>(), expected);
    }
}
