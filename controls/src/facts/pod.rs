//! A pod specification: what the Pod Security Standards and the workload controls read of it.
//!
//! The same type serves a bare Pod and the template of a workload; where it stands in the object is the workload's
//! business. Environment, arguments and commands are not read at all.

use serde::{Deserialize, Serialize};

use super::null_as_default;

/// `PodSpec`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// `containers`.
    #[serde(deserialize_with = "null_as_default")]
    pub containers: Vec<Container>,
    /// `initContainers`.
    #[serde(deserialize_with = "null_as_default")]
    pub init_containers: Vec<Container>,
    /// `ephemeralContainers`, in Pods only.
    #[serde(deserialize_with = "null_as_default")]
    pub ephemeral_containers: Vec<Container>,
    /// `serviceAccountName`; use [`service_account`](Self::service_account), which knows the default.
    pub service_account_name: Option<Box<str>>,
    /// `automountServiceAccountToken`; where absent, the service account's own word counts.
    pub automount_service_account_token: Option<bool>,
}

/// `Container`, `initContainer` or `EphemeralContainer`: one type, as they differ only in fields that are not read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// `name`.
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
    /// `securityContext`; `None` where absent.
    pub security_context: Option<SecurityContext>,
}

/// A container's `SecurityContext`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecurityContext {
    /// `privileged`.
    pub privileged: Option<bool>,
}

impl PodSpec {
    /// The service account that the pod runs as: `default` where it names none.
    pub fn service_account(&self) -> &str {
        self.service_account_name.as_deref().filter(|name| !name.is_empty()).unwrap_or("default")
    }

    /// Every container with its path below the pod specification, `initContainers[0]`: init, ordinary, then ephemeral ones.
    pub fn all_containers(&self) -> impl Iterator<Item = (String, &Container)> {
        let lists = [
            ("initContainers", &self.init_containers),
            ("containers", &self.containers),
            ("ephemeralContainers", &self.ephemeral_containers),
        ];
        lists.into_iter().flat_map(|(list, containers)| {
            containers.iter().enumerate().map(move |(i, container)| (format!("{list}[{i}]"), container))
        })
    }
}
