//! The rights that the agent needs, each with its reason: what the chart grants and `holdfast-agent rights` prints.

use holdfast_controls::facts::Family;
use holdfast_controls::{KINDS, Kind};

/// One rule of the agent's ClusterRole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Resource, in the plural.
    pub resource: &'static str,
    /// Verbs.
    pub verbs: &'static [&'static str],
    /// Why the agent needs it.
    pub reason: &'static str,
}

/// Every right that the agent needs. No wildcard, nothing that changes anything, no Secrets.
pub fn rights() -> Vec<Right> {
    KINDS.iter().map(|kind| right(kind)).collect()
}

fn right(kind: &Kind) -> Right {
    let reason = match kind.family {
        Family::Workload => "what runs, as it is configured and as it is now",
        Family::Namespace => "Pod Security labels, owners, and the cluster's fingerprint (uid of kube-system)",
        Family::Role => "what each role allows",
        Family::RoleBinding => "who has which role",
        Family::ServiceAccount => "whether tokens are mounted",
        Family::NetworkPolicy => "what traffic is allowed",
        Family::Service | Family::Ingress => "what is reachable from outside",
    };
    Right { group: kind.group, resource: kind.plural, verbs: &["get", "list", "watch"], reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_can_be_changed_and_no_secret_read() {
        for right in rights() {
            assert_eq!(right.verbs, ["get", "list", "watch"]);
            assert!(!right.resource.contains("secret") && right.resource != "*" && right.group != "*", "{right:?}");
        }
    }
}
