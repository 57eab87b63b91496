//! Workload runtime configuration: what a pod asks of the node that it runs on.
//!
//! Most of these are the Pod Security Standards, at a finer grain than the standards' own checks; `pod_security.rs` has the
//! table from checks to controls.

use super::Control;

pub(crate) mod apparmor;
mod behaviors;
pub(crate) mod capabilities_added;
pub(crate) mod capabilities_not_dropped;
pub(crate) mod capabilities_restored;
pub(crate) mod hardening_not_in_force;
pub(crate) mod host_ipc;
pub(crate) mod host_network;
pub(crate) mod host_path;
pub(crate) mod host_pid;
pub(crate) mod host_port;
pub(crate) mod host_probes;
pub(crate) mod host_process;
mod image_latest;
pub(crate) mod privilege_escalation;
pub(crate) mod privileged;
pub(crate) mod proc_mount;
mod read_only_root;
mod resources;
pub(crate) mod run_as_non_root;
pub(crate) mod run_as_root_user;
pub(crate) mod seccomp_unconfined;
pub(crate) mod seccomp_unset;
pub(crate) mod selinux;
pub(crate) mod sysctls;
mod undeclared_port;
mod unused;
pub(crate) mod volume_types;

/// The controls of this archetype, by id.
pub const CONTROLS: &[Control] = &[
    apparmor::CONTROL,
    behaviors::BPF_USED,
    capabilities_added::CONTROL,
    capabilities_not_dropped::CONTROL,
    capabilities_restored::CONTROL,
    unused::CAPABILITIES_UNUSED,
    behaviors::CLOUD_METADATA_REACHED,
    resources::CPU_LIMIT,
    resources::CPU_REQUEST,
    behaviors::ETC_WRITTEN,
    behaviors::FOREIGN_BINARY,
    hardening_not_in_force::CONTROL,
    host_ipc::CONTROL,
    host_network::CONTROL,
    host_path::CONTROL,
    host_pid::CONTROL,
    host_port::CONTROL,
    host_probes::CONTROL,
    host_process::CONTROL,
    image_latest::CONTROL,
    resources::MEMORY_LIMIT,
    resources::MEMORY_REQUEST,
    behaviors::MODULE_LOADED,
    behaviors::MOUNT_MADE,
    behaviors::NAMESPACE_ENTERED,
    privilege_escalation::CONTROL,
    privileged::CONTROL,
    proc_mount::CONTROL,
    behaviors::PROCESS_TRACED,
    read_only_root::CONTROL,
    run_as_non_root::CONTROL,
    run_as_root_user::CONTROL,
    seccomp_unconfined::CONTROL,
    seccomp_unset::CONTROL,
    selinux::CONTROL,
    behaviors::SENSITIVE_FILE_OPENED,
    sysctls::CONTROL,
    unused::TOKEN_UNUSED,
    undeclared_port::CONTROL,
    behaviors::UNEXPECTED_SHELL,
    volume_types::CONTROL,
    unused::WRITABLE_ROOT_UNUSED,
];
