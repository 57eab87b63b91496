//! The rights that the agent needs, each with its reason, and the RBAC objects that grant them.
//!
//! The chart, `holdfast up`, the suites and `holdfast-agent rights` all take them from here; a suite holds the chart to it.
//! Three lists, because not every agent needs all: one beside a kubeconfig only watches, one in the cluster also shares its
//! place with a standby, and one with nodes also serves them. Who gets the rights is the caller's business.

use holdfast_controls::{KINDS, Kind};
use serde_json::{Value, json};

/// The Secret that holds the agent's credential. The chart makes it empty, so that no right to create Secrets is needed.
pub const CREDENTIAL_SECRET: &str = "holdfast-agent-credential";
/// The Lease that says which replica leads. Made beforehand, for the same reason.
pub const LEASE: &str = "holdfast-agent";

const RBAC: &str = "rbac.authorization.k8s.io";

/// One rule of the agent's roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Resource, in the plural.
    pub resource: &'static str,
    /// The one object that the right is limited to; none where it holds for all.
    pub name: Option<&'static str>,
    /// Verbs.
    pub verbs: &'static [&'static str],
    /// Why the agent needs it.
    pub reason: &'static str,
}

/// Where rights hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// In the whole cluster.
    Cluster,
    /// In one namespace.
    Namespace(&'a str),
}

/// Who gets rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A user, by the name that authentication gives.
    User(&'a str),
    /// A service account.
    ServiceAccount {
        /// Its namespace.
        namespace: &'a str,
        /// Its name.
        name: &'a str,
    },
}

/// Every right that watching and retesting need, in the whole cluster. No wildcard, nothing that changes anything, no Secrets.
pub fn rights() -> Vec<Right> {
    KINDS.iter().map(|kind| watching(kind)).collect()
}

/// What the relay needs on top, in the whole cluster: a review of tokens changes nothing.
pub fn relay_rights() -> Vec<Right> {
    vec![Right {
        group: "authentication.k8s.io",
        resource: "tokenreviews",
        name: None,
        verbs: &["create"],
        reason: "which node a node part speaks for, by its Pod's token",
    }]
}

/// What replicas in the cluster need on top, in their own namespace only: two named objects, which are there beforehand.
pub fn own_rights() -> Vec<Right> {
    vec![
        Right {
            group: "coordination.k8s.io",
            resource: "leases",
            name: Some(LEASE),
            verbs: &["get", "update"],
            reason: "which replica leads",
        },
        Right {
            group: "",
            resource: "secrets",
            name: Some(CREDENTIAL_SECRET),
            verbs: &["get", "update"],
            reason: "the agent's own key and certificate, so that the next leader has them too",
        },
    ]
}

/// The role with these rights and the binding that gives it: a ClusterRole with its ClusterRoleBinding, or a Role with its
/// RoleBinding.
pub fn grant(name: &str, scope: Scope<'_>, to: Subject<'_>, rights: &[Right]) -> [Value; 2] {
    let (prefix, metadata) = match scope {
        Scope::Cluster => ("Cluster", json!({"name": name})),
        Scope::Namespace(namespace) => ("", json!({"name": name, "namespace": namespace})),
    };
    let (role, version) = (format!("{prefix}Role"), format!("{RBAC}/v1"));
    let subject = match to {
        Subject::User(name) => json!({"apiGroup": RBAC, "kind": "User", "name": name}),
        Subject::ServiceAccount { namespace, name } => {
            json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
        }
    };
    let rules: Vec<_> = rights.iter().map(Right::rule).collect();
    [
        json!({"apiVersion": version, "kind": role, "metadata": metadata, "rules": rules}),
        json!({
            "apiVersion": version, "kind": format!("{role}Binding"), "metadata": metadata,
            "roleRef": {"apiGroup": RBAC, "kind": role, "name": name},
            "subjects": [subject],
        }),
    ]
}

impl Right {
    /// It as a rule of a role.
    pub fn rule(&self) -> Value {
        let mut rule = json!({"apiGroups": [self.group], "resources": [self.resource], "verbs": self.verbs});
        if let Some(name) = self.name {
            rule["resourceNames"] = json!([name]);
        }
        rule
    }
}

fn watching(kind: &Kind) -> Right {
    Right {
        group: kind.group,
        resource: kind.plural,
        name: None,
        verbs: &["get", "list", "watch"],
        reason: kind.reason,
    }
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

    #[test]
    fn what_may_be_written_is_named_and_in_the_agents_own_namespace() {
        for right in own_rights() {
            assert!(right.name.is_some() && !right.verbs.contains(&"create"), "{right:?}");
        }
        for right in relay_rights() {
            assert_eq!((right.resource, right.verbs), ("tokenreviews", &["create"][..]));
        }
    }

    #[test]
    fn a_namespaces_grant_is_a_role_with_its_binding() {
        let to = Subject::ServiceAccount { namespace: "holdfast", name: "agent" };
        let [role, binding] = grant("agent", Scope::Namespace("holdfast"), to, &own_rights());
        assert_eq!((&role["kind"], &binding["kind"]), (&json!("Role"), &json!("RoleBinding")));
        assert_eq!(role["rules"][1]["resourceNames"], json!([CREDENTIAL_SECRET]));
        assert_eq!(binding["roleRef"]["kind"], "Role");
        assert_eq!(binding["subjects"][0]["namespace"], "holdfast");
    }
}
