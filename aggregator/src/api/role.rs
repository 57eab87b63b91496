//! Who may do what: the whole table, in one place.

use std::fmt;

use holdfast_api_types::Role;

/// What a request wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read it.
    Read,
    /// Move a finding: start, claim, withdraw, retest.
    Work,
    /// Add and revoke clusters, set their scope.
    Operate,
    /// Make and revoke API tokens.
    Administer,
}

impl Access {
    /// Whether this role has it.
    pub fn is_granted_to(self, role: Role) -> bool {
        match role {
            Role::Admin => true,
            Role::Platform => self != Self::Administer,
            Role::Auditor => self == Self::Read,
        }
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
            [Access::Read, Access::Work, Access::Operate, Access::Administer].map(|access| access.is_granted_to(*role))
        });
        let expected = [[true, true, true, true], [true, true, true, false], [true, false, false, false]];
        assert_eq!(table.collect::<Vec<_>>(), expected);
    }
}
