//! What a sensor in the kernel saw a container do.
//!
//! Equal behaviors of one container are folded where they happen: one [`RuntimeObservation`] has a count, a first and a last time, and the
//! particulars of its first act as a sample. Every text comes from the container and is hostile: it is escaped and bounded by
//! the sensor, and the values of arguments are masked there, so that nothing here can hold a secret.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::UnixMillis;
use crate::control::string_enum;

string_enum!(
    /// The act that was seen.
    SignalKind, "signal kind" {
        /// A program was started; folded by its file.
        ProcessStart = "process-start",
        /// A program was started with capabilities that rule the node: CAP_SYS_ADMIN over the host's own user namespace.
        PrivilegedStart = "privileged-start",
        /// A shell was started.
        Shell = "shell",
        /// A program was started that the image did not bring: its file is in the container's writable layer, on a volume, or
        /// has no name.
        ForeignBinary = "foreign-binary",
        /// A process entered or made namespaces (setns, unshare, clone); `object` says which and whose.
        NamespaceEntry = "namespace-entry",
        /// Something was mounted, moved or made the root; `object` is the call, `path` its target.
        Mount = "mount",
        /// A process took hold of another one's memory or execution; `object` is the request.
        Ptrace = "ptrace",
        /// A kernel module was loaded; `object` is its name.
        ModuleLoad = "module-load",
        /// The bpf system call was used; `object` is its command.
        Bpf = "bpf",
        /// The kernel let a process pass because of a capability; `object` is its name.
        CapabilityUsed = "capability-used",
        /// A file was opened that holds credentials, or belongs to the node; `object` says which sort.
        SensitiveOpen = "sensitive-open",
        /// A file under /etc was opened for writing.
        EtcWrite = "etc-write",
        /// The container's own root file system was changed: a file there was opened for writing, or made, moved, removed, or
        /// given another owner or mode. `object` is `io_uring` where calls went past the sensors and may have done so.
        RootWrite = "root-write",
        /// A connection was begun; `address` is its peer.
        Connect = "connect",
        /// A connection to a cloud's metadata service was begun; `address` is the service's, `object` says whose it is.
        MetadataAsked = "metadata-asked",
        /// A socket began to listen; `address` is its own.
        Listen = "listen",
    }
);

/// Equal behaviors of one container, with the first of them as a sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeObservation {
    /// What was done.
    pub kind: SignalKind,
    /// cgroup v2 id of the container. Within its hierarchy no other has had it since the node started.
    pub cgroup: u64,
    /// uid of its Pod, from the cgroup's path.
    pub pod: String,
    /// The runtime's id of the container, from the cgroup's path; empty for processes in the Pod's own cgroup.
    pub container: String,
    /// The process of the sample, as the host numbers it.
    pub pid: u32,
    /// When that process started, nanoseconds since boot.
    pub started: u64,
    /// Its name (`comm`).
    pub name: String,
    /// Path of its program, as the container sees it; empty where the kernel has none.
    pub binary: String,
    /// Its arguments with values masked; only where a program was started.
    pub arguments: Vec<String>,
    /// The file that was acted on, as the container sees it; empty where the act has none.
    pub path: String,
    /// What tells behaviors of one kind apart: a capability, a call, a sort of file. Empty where the kind says it all.
    pub object: String,
    /// The other end of a connection, or where a socket listens.
    pub address: Option<SocketAddr>,
    /// How often it was done since the sensor first saw it.
    pub count: u64,
    /// When it was first done.
    pub first: UnixMillis,
    /// When it was last done.
    pub last: UnixMillis,
}
