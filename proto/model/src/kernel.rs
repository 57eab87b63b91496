//! The kernel's view of running processes, and what a node attests to about them.
//!
//! A manifest states what was asked for; the kernel shows what is in force. Processes of a container with the same privileges are
//! one [`ProcessGroup`]: a thousand equal workers are one group with a count. Nothing here contains an argument, an environment
//! variable or a file of the container's own: a process is identified to people by its name (`comm`, at most 15 bytes).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::UnixMillis;
use crate::container_observation::{ContainerObservation, ListeningSocket};
use crate::control::string_enum;
use crate::id::{ClusterId, Nonce, RetestId};

string_enum!(    /// Whether system calls of a process are filtered: `task->seccomp.mode`.
    Seccomp, "seccomp mode" {
        /// No filter.
        Disabled = "disabled",
        /// read, write, exit and sigreturn only.
        Strict = "strict",
        /// A BPF filter is attached.
        Filter = "filter",
    }
);

string_enum!(    /// How the processes of a node were read.
    ViewMethod, "view method" {
        /// The BPF task iterator: every process of the node is in it, wherever it moved.
        TaskIterator = "task-iterator",
        /// /proc, where the kernel has no task iterator.
        Proc = "proc",
    }
);

/// Inode numbers of a process's namespaces. Equal numbers are the same namespace; 0 means that it could not be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Namespaces {
    /// User ids and capabilities are relative to this one.
    pub user: u32,
    /// Process ids; the one of the process itself, not the one for its children.
    pub pid: u32,
    /// Network interfaces, addresses, ports.
    pub net: u32,
    /// Mounts.
    pub mnt: u32,
    /// System V IPC and POSIX message queues.
    pub ipc: u32,
    /// Host name.
    pub uts: u32,
    /// Control groups.
    pub cgroup: u32,
}

impl Namespaces {
    /// All of them, in the order of the fields.
    pub fn each(&self) -> [u32; 7] {
        [self.user, self.pid, self.net, self.mnt, self.ipc, self.uts, self.cgroup]
    }
}

/// What the kernel lets a process do: everything that a control can judge, and nothing that differs between equal workers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Privileges {
    /// Effective user id, as the host sees it; 0 also where the real, the saved or the file system user is 0, as such a
    /// process can become root again.
    pub uid: u32,
    /// Effective group id, as the host sees it.
    pub gid: u32,
    /// Effective capabilities; bit n is capability n of `linux/capability.h`.
    pub effective: u64,
    /// Permitted capabilities.
    pub permitted: u64,
    /// Bounding set: the most that an exec could gain.
    pub bounding: u64,
    /// System call filter.
    pub seccomp: Seccomp,
    /// Whether an exec can no longer gain privileges.
    pub no_new_privs: bool,
    /// Its namespaces.
    pub namespaces: Namespaces,
    /// AppArmor profile or SELinux context; none where no such module is readable.
    pub lsm_label: Option<String>,
    /// Whether its root is mounted read-only; none where it could not be read.
    pub root_read_only: Option<bool>,
}

/// The processes of one container that have the same privileges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessGroup {
    /// Their privileges.
    pub privileges: Privileges,
    /// How many there are.
    pub processes: u32,
    /// The lowest process id among them, in the host's pid namespace.
    pub pid: u32,
    /// The name of that process.
    pub name: String,
    /// When that process started, nanoseconds since boot: with the pid, it identifies the process until the next boot.
    pub started: u64,
}

/// One container with at least one process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningContainer {
    /// uid of its Pod, from the cgroup's path.
    pub pod: String,
    /// The runtime's id of the container, from the cgroup's path; empty for processes in the Pod's own cgroup, and for those
    /// among the node's own that still live in a namespace of the Pod's.
    pub id: String,
    /// The container's name in its Pod, as the relay sent it; none for the sandbox and for Pods that the API server does not
    /// have.
    pub name: Option<String>,
    /// Its processes, by privileges.
    pub process_groups: Vec<ProcessGroup>,
    /// What the container mounts from its host; none where mounts could not be read.
    pub host_mounts: Option<Vec<HostMount>>,
    /// Sockets that listen in its network namespace; none where they could not be read, and where that namespace is the node's, in
    /// which the owner of a socket is unknown. Left out then, so that older statements keep their bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listening: Option<Vec<ListeningSocket>>,
    /// What the sensors observed of it; none without sensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observation: Option<ContainerObservation>,
    /// Why what is reported of it is not complete, in plain words; none where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<String>,
}

impl RunningContainer {
    /// How many processes it has.
    pub fn processes(&self) -> u32 {
        self.process_groups.iter().map(|alike| alike.processes).sum()
    }
}

/// A mount whose source is a folder of the node itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostMount {
    /// Where the container sees it.
    pub target: String,
    /// The folder on its file system, as the node sees it.
    pub source: String,
    /// Whether it can be written.
    pub writable: bool,
}

/// The subject of the coverage row for a node's kernel view: `node/<name>/kernel-view`.
pub fn coverage_subject(node: &str) -> String {
    format!("node/{node}/kernel-view")
}

/// The subject of the coverage row for a node's sensors: `node/<name>/sensors`.
pub fn sensors_subject(node: &str) -> String {
    format!("node/{node}/sensors")
}

/// Whether a coverage row is one of these two.
pub fn is_coverage_subject(subject: &str) -> bool {
    subject.starts_with("node/") && ["/kernel-view", "/sensors"].iter().any(|end| subject.ends_with(end))
}

/// What a node attests to: everything that runs there for the Pods of the request. Its canonical bytes are signed
/// by the node's own key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatement {
    /// `holdfast.node.v1`.
    pub form: String,
    /// The retest that it answers.
    pub retest: RetestId,
    /// The nonce of the request: the reading came after it.
    pub nonce: Nonce,
    /// The cluster, as the node's certificate names it.
    pub cluster: ClusterId,
    /// The node, as its certificate names it.
    pub node: String,
    /// `/proc/sys/kernel/random/boot_id`: process ids and start times are those of this boot.
    pub boot: String,
    /// How the kernel was read.
    pub method: ViewMethod,
    /// uids of the Pods of the request, sorted.
    pub pods: Vec<String>,
    /// Every container of those Pods with a process, by Pod and id.
    pub containers: Vec<RunningContainer>,
    /// The host's own namespaces, for comparison.
    pub host: Namespaces,
    /// The number of processes on the whole node: implausibly few show a reader outside of the host's pid namespace.
    pub process_count: u32,
    /// Why the view is not complete, in one plain sentence; none where it is.
    pub incomplete: Option<String>,
    /// The node's clock when the reading ended.
    pub read_at: UnixMillis,
    /// Version of the agent program on the node.
    pub agent_version: String,
}

impl NodeStatement {
    /// The name and version of this form.
    pub const FORM: &str = "holdfast.node.v1";
}

/// A node's statement with its signature. Byte fields are hexadecimal in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedNodeStatement {
    /// The statement's canonical bytes, as text: what the node signed is exactly this string.
    pub statement: String,
    /// ECDSA P-256 SHA-256 signature (ASN.1).
    #[serde(with = "crate::canonical::hex_bytes")]
    pub signature: Vec<u8>,
    /// The node's certificate, DER. It chains to the same root as the agent's.
    #[serde(with = "crate::canonical::hex_bytes")]
    pub certificate: Vec<u8>,
}
