//! Words of a control: its id, archetype, severity, and what a proof about it takes.
//!
//! The controls themselves live in the room `controls`; this file has only what every room needs to speak of one.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `<archetype>.<kebab-case>`, as `workload.host-pid`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ControlId(Cow<'static, str>);

impl ControlId {
    /// An id known at compile time, as the catalog has it.
    pub const fn known(id: &'static str) -> Self {
        Self(Cow::Borrowed(id))
    }

    /// The text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for ControlId {
    fn from(id: String) -> Self {
        Self(Cow::Owned(id))
    }
}

impl fmt::Display for ControlId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An enum with one lower-case word a variant: the same word in the API, the wire, the store and the command line.
macro_rules! string_enum {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// Every value, in order.
            pub const ALL: &[$name] = &[$($name::$variant,)+];

            /// Its name in the API, the wire, the store and the command line.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text).ok_or_else(|| {
                    let words: Vec<_> = Self::ALL.iter().map(|value| value.as_str()).collect();
                    let shown: String = text.chars().take(40).collect();
                    format!("{shown:?} is not a {}: use one of {}", $what, words.join(", "))
                })
            }
        }
    };
}
pub(crate) use string_enum;

string_enum!(
    /// How bad a failing control is, least first, so that `>=` asks "at least as bad as".
    Severity, "severity" {
        /// Worth knowing; nothing to fix in a hurry.
        Info = "info",
        /// Hardening that is missing.
        Low = "low",
        /// A weakness that needs another one to be used.
        Medium = "medium",
        /// A direct step towards the node, other workloads or secrets.
        High = "high",
        /// The node or the cluster is as good as given away.
        Critical = "critical",
    }
);

string_enum!(
    /// The part of a cluster that a control is about: the first half of its id.
    Archetype, "archetype" {
        /// Control plane and node posture.
        Node = "node",
        /// RBAC and service accounts.
        Rbac = "rbac",
        /// Admission and Pod Security.
        Admission = "admission",
        /// Network and mesh.
        Network = "network",
        /// Workload runtime configuration.
        Workload = "workload",
        /// Secrets and configuration.
        Secrets = "secrets",
    }
);

string_enum!(
    /// A way to prove a fix, as the retest uses it.
    Method, "retest method" {
        /// The objects, read fresh from the API server.
        LiveRead = "live-read",
        /// The kernel's view of every running process.
        RuntimeRecheck = "runtime-recheck",
        /// A later complete report of the tool that found it.
        FollowUpImport = "follow-up-import",
    }
);

string_enum!(
    /// How far a proof went. A later reach proves more.
    Reach, "reach" {
        /// Another tool's later run.
        Import = "import",
        /// Every object was read.
        Config = "config",
        /// Every process too.
        Running = "running",
    }
);

string_enum!(
    /// What the disappearance of the subject means for a finding.
    OnDeletion, "deletion rule" {
        /// Deleting it is the fix: bindings, roles.
        Fixes = "fixes",
        /// It says nothing about the problem: workloads, namespaces.
        Retires = "retires",
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_order_from_info_to_critical() {
        assert!(Severity::Critical > Severity::High && Severity::Low > Severity::Info);
        assert!("severe".parse::<Severity>().unwrap_err().contains("use one of info, low"));
    }
}
