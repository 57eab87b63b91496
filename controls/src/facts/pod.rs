//! A pod specification: what the Pod Security Standards and the workload controls read of it.
//!
//! The same type serves a bare Pod and the template of a workload; where it stands in the object is the workload's
//! business. Environment, arguments and commands are not read at all. `None` is a field that is absent or null: a control
//! needs the difference between an absent object and an empty one to say where a field is missing.

use holdfast_model::Location;
use serde::{Deserialize, Serialize};

pub use super::container::{Container, Image, Port, VolumeMount};
use super::null_as_default;
pub use super::resources::{Amount, Amounts, Resources};
pub use super::security_context::{
    Capabilities, PodSecurityContext, Profile, SeLinux, SecurityContext, Sysctl, Windows,
};
pub use super::volume::{Source, Volume};

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
    /// `volumes`.
    #[serde(deserialize_with = "null_as_default")]
    pub volumes: Vec<Volume>,
    /// `securityContext`.
    pub security_context: Option<Box<PodSecurityContext>>,
    /// `resources`: what all containers share.
    pub resources: Option<Box<Resources>>,
    /// `os`.
    pub os: Option<Os>,
    /// `hostNetwork`.
    #[serde(deserialize_with = "null_as_default")]
    pub host_network: bool,
    /// `hostPID`.
    #[serde(rename = "hostPID", deserialize_with = "null_as_default")]
    pub host_pid: bool,
    /// `hostIPC`.
    #[serde(rename = "hostIPC", deserialize_with = "null_as_default")]
    pub host_ipc: bool,
    /// The annotations of the pod's metadata that name a forbidden security profile; not part of `spec`.
    #[serde(skip_deserializing)]
    pub profile_annotations: Vec<ProfileAnnotation>,
}

/// An annotation that sets a container's security profile to something forbidden, from before profiles were fields.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ProfileAnnotation {
    /// The whole key.
    pub key: Box<str>,
    /// The value, where it is the well-known `unconfined`; anything else stays in the cluster.
    pub unconfined: bool,
}

/// `PodOS`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Os {
    /// `name`: `linux` or `windows`.
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
}

/// A container and where it stands below the pod specification.
#[derive(Debug, Clone, Copy)]
pub struct Placed<'a> {
    /// `containers`, `initContainers` or `ephemeralContainers`.
    pub list: &'static str,
    /// Its place in that list.
    pub index: usize,
    /// The container.
    pub container: &'a Container,
}

/// Key prefix of the annotations that set a container's AppArmor profile; the container's name follows.
pub const APP_ARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
/// Key prefix of the annotations that set a container's seccomp profile; the container's name follows.
pub const SECCOMP_ANNOTATION: &str = "container.seccomp.security.alpha.kubernetes.io/";
/// Key of the annotation that sets a pod's seccomp profile.
pub const POD_SECCOMP_ANNOTATION: &str = "seccomp.security.alpha.kubernetes.io/pod";

impl ProfileAnnotation {
    /// What of an annotation is worth keeping: nothing, unless it sets a profile that no standard allows.
    pub(super) fn forbidden(key: &str, value: &str) -> Option<Self> {
        let runtime_default = value == "runtime/default" || value.starts_with("localhost/");
        let allowed = if key.starts_with(APP_ARMOR_ANNOTATION) {
            runtime_default || value.is_empty()
        } else if key.starts_with(SECCOMP_ANNOTATION) || key == POD_SECCOMP_ANNOTATION {
            runtime_default || value == "docker/default"
        } else {
            true
        };
        (!allowed).then(|| Self { key: key.into(), unconfined: value == "unconfined" })
    }

    /// The annotation as a place where a control fails.
    pub fn location(&self) -> Location {
        let key = serde_json::Value::from(&*self.key);
        let value = if self.unconfined { "unconfined" } else { "(a profile that is not shown)" };
        Location::field(format!("metadata.annotations[{key}]"), value)
    }
}

impl<'a> Placed<'a> {
    /// A field below this container as a place where a control fails, with its value.
    pub fn at(&self, field: &str, value: &str) -> Location {
        Location::field(format!("{}[{}].{field}", self.list, self.index), short(value))
            .in_container(&self.container.name)
    }

    /// A field of the security context that is not there: the place of the context itself, where even that is absent.
    pub fn missing(&self, field: &str) -> Location {
        let absent = self.container.security_context.is_none();
        self.at(if absent { "securityContext" } else { field }, "")
    }

    /// The security context, where there is one.
    pub fn security_context(&self) -> Option<&'a SecurityContext> {
        self.container.security_context.as_deref()
    }
}

/// A text from the cluster, short enough to be shown.
pub(crate) fn short(text: &str) -> String {
    const SHOWN: usize = 200;
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

impl PodSpec {
    /// The service account that the pod runs as: `default` where it names none.
    pub fn service_account(&self) -> &str {
        self.service_account_name.as_deref().filter(|name| !name.is_empty()).unwrap_or("default")
    }

    /// Whether the pod says that it is for Windows nodes.
    pub fn is_windows(&self) -> bool {
        self.os.as_ref().is_some_and(|os| os.name == "windows")
    }

    /// Every container: init, ordinary, then ephemeral ones.
    pub fn all_containers(&self) -> impl Iterator<Item = Placed<'_>> {
        self.lasting_containers().chain(placed("ephemeralContainers", &self.ephemeral_containers))
    }

    /// Every container that the author of the pod wrote: all but the ephemeral ones.
    pub fn lasting_containers(&self) -> impl Iterator<Item = Placed<'_>> {
        placed("initContainers", &self.init_containers).chain(placed("containers", &self.containers))
    }
}

fn placed<'a>(list: &'static str, containers: &'a [Container]) -> impl Iterator<Item = Placed<'a>> {
    containers.iter().enumerate().map(move |(index, container)| Placed { list, index, container })
}
