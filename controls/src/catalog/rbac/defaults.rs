//! What the API server's own roles and bindings have in their default form, and may therefore keep.
//!
//! Its label alone proves nothing, since anyone can write it: the name must be one of its own too, and what is excused is
//! only what that role needs. Names and needs are those of `bootstrappolicy` in Kubernetes 1.34; a test in `tests/` compares
//! them with a real API server.

use crate::catalog::View;
use crate::facts::role_binding::Subject;
use crate::facts::{Role, RoleBinding};

/// Default roles with the controls that their default form fails, by name. The Roles among them live in kube-system.
const ROLES: &[(&str, &[&str])] = &[
    ("cluster-admin", &["rbac.wildcard-resources", "rbac.wildcard-verbs"]),
    (
        "system:aggregate-to-edit",
        &[
            "rbac.impersonate-verb",
            "rbac.pods-attach",
            "rbac.pods-exec",
            "rbac.secrets-readable",
            "rbac.token-creation",
        ],
    ),
    ("system:controller:bootstrap-signer", &["rbac.secrets-readable"]),
    ("system:controller:clusterrole-aggregation-controller", &["rbac.escalate-verb"]),
    ("system:controller:generic-garbage-collector", &["rbac.wildcard-resources"]),
    ("system:controller:horizontal-pod-autoscaler", &["rbac.wildcard-resources"]),
    ("system:controller:namespace-controller", &["rbac.wildcard-resources"]),
    ("system:controller:resourcequota-controller", &["rbac.wildcard-resources"]),
    ("system:controller:token-cleaner", &["rbac.secrets-readable"]),
    ("system:kube-controller-manager", &["rbac.secrets-readable", "rbac.token-creation", "rbac.wildcard-resources"]),
    ("system:kubelet-api-admin", &["rbac.wildcard-verbs"]),
    ("system:node", &["rbac.secrets-readable", "rbac.token-creation"]),
];

/// Default bindings to broad subjects: name, which is also the role's, and groups.
const BINDINGS: &[(&str, &[&str])] = &[
    ("system:basic-user", &["system:authenticated"]),
    ("system:discovery", &["system:authenticated"]),
    ("system:public-info-viewer", &["system:authenticated", "system:unauthenticated"]),
    ("system:service-account-issuer-discovery", &["system:serviceaccounts"]),
];

/// The binding by which kubeadm publishes one ConfigMap, so that new nodes find their cluster.
const CLUSTER_INFO: &str = "kubeadm:bootstrap-signer-clusterinfo";

/// Whether the default form of this role fails this control.
pub(super) fn has(control: &str, role: &View<Role>) -> bool {
    let known = || ROLES.iter().find(|(name, _)| *name == role.meta.name);
    let of_the_system = matches!(role.meta.namespace.as_deref(), None | Some("kube-system"));
    role.facts.bootstrap && of_the_system && known().is_some_and(|(_, controls)| controls.contains(&control))
}

/// Whether the default form of this binding has this subject.
pub(super) fn binds(binding: &View<RoleBinding>, subject: &Subject) -> bool {
    let (name, role) = (&*binding.meta.name, &binding.facts.role_ref);
    let shipped = || BINDINGS.iter().find(|(known, _)| *known == name && *known == &*role.name);
    let in_default_form = binding.facts.bootstrap
        && *subject.kind == *"Group"
        && shipped().is_some_and(|(_, groups)| groups.contains(&&*subject.name));
    in_default_form || publishes_cluster_info(binding, subject)
}

fn publishes_cluster_info(binding: &View<RoleBinding>, subject: &Subject) -> bool {
    let names_it = binding.meta.name == CLUSTER_INFO && binding.meta.namespace.as_deref() == Some("kube-public");
    names_it
        && *subject.kind == *"User"
        && binding.role().is_some_and(|role| {
            role.rules.iter().all(|rule| {
                rule.resource_names.iter().all(|name| **name == *"cluster-info")
                    && !rule.resource_names.is_empty()
                    && rule.resources.iter().all(|resource| **resource == *"configmaps")
                    && rule.verbs.iter().all(|verb| **verb == *"get")
            })
        })
}
