//! The security contexts of a pod and of a container, field by field as the API has them.

use serde::{Deserialize, Serialize};

use super::null_as_default;

/// A container's `SecurityContext`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecurityContext {
    /// `privileged`.
    pub privileged: Option<bool>,
    /// `allowPrivilegeEscalation`.
    pub allow_privilege_escalation: Option<bool>,
    /// `readOnlyRootFilesystem`.
    pub read_only_root_filesystem: Option<bool>,
    /// `runAsNonRoot`.
    pub run_as_non_root: Option<bool>,
    /// `runAsUser`.
    pub run_as_user: Option<i64>,
    /// `procMount`.
    pub proc_mount: Option<Box<str>>,
    /// `capabilities`.
    pub capabilities: Option<Box<Capabilities>>,
    /// `seLinuxOptions`.
    pub se_linux_options: Option<Box<SeLinux>>,
    /// `seccompProfile`.
    pub seccomp_profile: Option<Profile>,
    /// `appArmorProfile`.
    pub app_armor_profile: Option<Profile>,
    /// `windowsOptions`.
    pub windows_options: Option<Windows>,
}

/// A pod's `PodSecurityContext`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSecurityContext {
    /// `runAsNonRoot`.
    pub run_as_non_root: Option<bool>,
    /// `runAsUser`.
    pub run_as_user: Option<i64>,
    /// `seLinuxOptions`.
    pub se_linux_options: Option<Box<SeLinux>>,
    /// `seccompProfile`.
    pub seccomp_profile: Option<Profile>,
    /// `appArmorProfile`.
    pub app_armor_profile: Option<Profile>,
    /// `windowsOptions`.
    pub windows_options: Option<Windows>,
    /// `sysctls`.
    #[serde(deserialize_with = "null_as_default")]
    pub sysctls: Vec<Sysctl>,
}

/// `Capabilities`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// `add`.
    #[serde(deserialize_with = "null_as_default")]
    pub add: Vec<Box<str>>,
    /// `drop`.
    pub drop: Option<Vec<Box<str>>>,
}

/// `SELinuxOptions`; the level is free and not read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SeLinux {
    /// `type`.
    #[serde(rename = "type", deserialize_with = "null_as_default")]
    pub kind: Box<str>,
    /// `user`.
    #[serde(deserialize_with = "null_as_default")]
    pub user: Box<str>,
    /// `role`.
    #[serde(deserialize_with = "null_as_default")]
    pub role: Box<str>,
}

/// `SeccompProfile` or `AppArmorProfile`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// `type`: `RuntimeDefault`, `Localhost`, `Unconfined`.
    #[serde(rename = "type", deserialize_with = "null_as_default")]
    pub kind: Box<str>,
}

/// `WindowsSecurityContextOptions`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Windows {
    /// `hostProcess`.
    pub host_process: Option<bool>,
}

/// `Sysctl`; the value is not read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sysctl {
    /// `name`.
    #[serde(deserialize_with = "null_as_default")]
    pub name: Box<str>,
}

impl Profile {
    /// Whether this profile confines: the runtime's own, or one that the node has.
    pub fn confines(&self) -> bool {
        matches!(&*self.kind, "RuntimeDefault" | "Localhost")
    }
}
