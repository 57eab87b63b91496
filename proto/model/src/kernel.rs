//! What the kernel says about running processes, and what a node attests to about them.
//!
//! A manifest says what was asked for; the kernel says what is so. Processes with the same standing are folded: a container
//! with a thousand equal workers is one [`Privileges`] with a count. Nothing here names an argument, an environment variable
//! or a file of the container's own: a process's name (`comm`, at most 15 bytes) is all that identifies it to people.

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

/// Inode numbers of a process's namespaces. Equal numbers are the same namespace; 0 is "could not be read".
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

/// What a process may do: everything that a control can judge, and nothing that differs between equal workers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Privileges {
    /// Effective user id, as the host sees it; 0 also where the real, the saved or the file system's one is 0, as such a
    /// process is root again whenever it likes.
    pub uid: u32,
    /// Effective group id, as the host sees it.
    pub gid: u32,
    /// Effective capabilities; bit n is capability n of `linux/capability.h`.
    pub effective: u64,
    /// Permitted capabilities.
    pub permitted: u64,
    /// Bounding set: what an exec could still gain.
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

/// Processes of one container that stand alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessGroup {
    /// What they may do.
    pub privileges: Privileges,
    /// How many there are.
    pub processes: u32,
    /// The first of them by process id, as the host numbers it.
    pub pid: u32,
    /// That one's name.
    pub name: String,
    /// When that one started, nanoseconds since boot: with the pid, it names the process for as long as the node runs.
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
    /// The container's name in its Pod, where the relay told it; none for the sandbox and for Pods that the API server
    /// does not know.
    pub name: Option<String>,
    /// Its processes by standing.
    pub process_groups: Vec<ProcessGroup>,
    /// What the container mounts from its host; none where mounts could not be read.
    pub host_mounts: Option<Vec<HostMount>>,
    /// Sockets that listen in its network namespace; none where they could not be read, and where that namespace is the
    /// node's: whose a socket is cannot be told there. Left out then, so that older statements keep their bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listening: Option<Vec<ListeningSocket>>,
    /// What the sensors can say of it; none where none watches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observation: Option<ContainerObservation>,
    /// Why it was not seen whole, in plain words; none where it was.
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

/// The subject of the coverage row that says whether this node's kernel can be looked at: `node/<name>/kernel-view`.
pub fn coverage_subject(node: &str) -> String {
    format!("node/{node}/kernel-view")
}

/// The subject of the coverage row that says whether this node's sensors see what containers do: `node/<name>/sensors`.
pub fn sensors_subject(node: &str) -> String {
    format!("node/{node}/sensors")
}

/// Whether a coverage row is of a node: of one of these two sorts.
pub fn is_coverage_subject(subject: &str) -> bool {
    subject.starts_with("node/") && ["/kernel-view", "/sensors"].iter().any(|end| subject.ends_with(end))
}

/// What a node attests to: everything that runs there for the Pods that it was asked about. Its canonical bytes are signed
/// by the node's own key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatement {
    /// `holdfast.node.v1`.
    pub form: String,
    /// The retest that asked.
    pub retest: RetestId,
    /// Its nonce: the reading came after it.
    pub nonce: Nonce,
    /// The cluster, as the node's certificate names it.
    pub cluster: ClusterId,
    /// The node, as its certificate names it.
    pub node: String,
    /// `/proc/sys/kernel/random/boot_id`: process ids and start times are those of this boot.
    pub boot: String,
    /// How it looked.
    pub method: ViewMethod,
    /// uids of the Pods that it was asked about, sorted.
    pub pods: Vec<String>,
    /// Every container of those Pods with a process, by Pod and id.
    pub containers: Vec<RunningContainer>,
    /// The host's own namespaces, to compare with.
    pub host: Namespaces,
    /// Number of processes seen on the whole node: a reader in a smaller world than the host's sees few.
    pub process_count: u32,
    /// Why the view is not whole, in one plain sentence; none where it is.
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
