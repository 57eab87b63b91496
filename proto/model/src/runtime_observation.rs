//! What a sensor of the kernel observed a container do.
//!
//! Equal events of one container are folded where they happen: one [`RuntimeObservation`] has a count, a first and a last time,
//! and the details of the first event as a sample. Every text comes from the container and is hostile: the sensor escapes and
//! bounds it, and masks the values of arguments, so that nothing here can hold a secret.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::UnixMillis;

/// What kind of behavior an observation is of: a short kebab-case word. The set is open, as a sensor declares the kinds that it
/// reports; those that other rooms name are constants here, and are matched like the variants of an enum.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignalKind([u8; SignalKind::MAX_BYTES]);

impl SignalKind {
    /// The longest word.
    pub const MAX_BYTES: usize = 32;

    /// A kind that is known at compile time.
    pub const fn known(word: &'static str) -> Self {
        match Self::read(word) {
            Some(kind) => kind,
            None => panic!("a kind of signal is 1 to 32 characters of a-z and -"),
        }
    }

    const fn read(word: &str) -> Option<Self> {
        let (from, mut bytes, mut at) = (word.as_bytes(), [0; Self::MAX_BYTES], 0);
        if from.is_empty() || from.len() > Self::MAX_BYTES {
            return None;
        }
        while at < from.len() {
            if !matches!(from[at], b'a'..=b'z' | b'-') {
                return None;
            }
            bytes[at] = from[at];
            at += 1;
        }
        Some(Self(bytes))
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(Self::MAX_BYTES);
        std::str::from_utf8(&self.0[..end]).expect("only ASCII letters and dashes are taken in")
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)+) => {
        #[allow(non_upper_case_globals, reason = "they are matched like the variants of an enum")]
        impl SignalKind {
            $($(#[$doc])* pub const $name: Self = Self::known($word);)+

            /// Every kind that has a name here.
            pub const ALL: &[Self] = &[$(Self::$name,)+];
        }
    };
}

kinds! {
    /// A program was started; folded by its file.
    ProcessStart = "process-start",
    /// A program was started with privileges over the node: CAP_SYS_ADMIN in the host's own user namespace.
    PrivilegedStart = "privileged-start",
    /// A shell was started.
    Shell = "shell",
    /// A program was started that is not from the image: its file is in the container's writable layer, on a volume, or has no
    /// name.
    ForeignBinary = "foreign-binary",
    /// A process entered or made namespaces (setns, unshare, clone); `object` says which and whose.
    NamespaceEntry = "namespace-entry",
    /// Something was mounted, moved or made the root; `object` is the system call, `path` its target.
    Mount = "mount",
    /// A process traced another one or accessed its memory; `object` is the request.
    Ptrace = "ptrace",
    /// A kernel module was loaded; `object` is its name.
    ModuleLoad = "module-load",
    /// The bpf system call was used; `object` is its command.
    Bpf = "bpf",
    /// A capability check of the kernel succeeded; `object` is the capability.
    CapabilityUsed = "capability-used",
    /// A file was opened that holds credentials, or belongs to the node; `object` says which.
    SensitiveOpen = "sensitive-open",
    /// A file under /etc was opened for writing.
    EtcWrite = "etc-write",
    /// The container's own root file system was changed: a file there was opened for writing, or created, moved, removed, or
    /// given another owner or mode. `object` is `io_uring` where one was set up, which can do all that unobserved.
    RootWrite = "root-write",
    /// A connection was begun; `address` is its peer.
    Connect = "connect",
    /// A connection to a cloud's metadata service was begun; `address` is the service's, `object` the cloud.
    MetadataRequest = "metadata-request",
    /// A socket began to listen; `address` is its own.
    Listen = "listen",
}

impl fmt::Display for SignalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for SignalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SignalKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown = || text.chars().take(40).flat_map(char::escape_default).collect::<String>();
        Self::read(text).ok_or_else(|| format!("{:?} is no kind of signal: 1 to 32 characters of a-z and -", shown()))
    }
}

impl Serialize for SignalKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for SignalKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Equal events of one container, with the first of them as a sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeObservation {
    /// The kind of behavior.
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
    /// Its arguments with values masked; only of starts of programs.
    pub arguments: Vec<String>,
    /// The file concerned, as the container sees it; empty where there is none.
    pub path: String,
    /// What distinguishes behaviors of one kind: a capability, a system call, a class of file. Empty where the kind suffices.
    pub object: String,
    /// The other end of a connection, or where a socket listens.
    pub address: Option<SocketAddr>,
    /// How often it happened since the sensor first observed it.
    pub count: u64,
    /// When it first happened.
    pub first: UnixMillis,
    /// When it last happened.
    pub last: UnixMillis,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_from_its_word_and_known_ones_match_their_constants() {
        for kind in SignalKind::ALL {
            assert_eq!(kind.as_str().parse::<SignalKind>().unwrap(), *kind);
            assert_eq!(serde_json::to_string(kind).unwrap(), format!("{:?}", kind.as_str()));
        }
        assert!(matches!("shell".parse::<SignalKind>().unwrap(), SignalKind::Shell));
        assert_eq!("of-tomorrow".parse::<SignalKind>().unwrap().as_str(), "of-tomorrow");
    }

    #[test]
    fn what_is_no_word_is_refused() {
        for text in ["", "Shell", "a b", "a\n", "ä", "a\0b", &"a".repeat(SignalKind::MAX_BYTES + 1)] {
            assert!(text.parse::<SignalKind>().is_err(), "{text:?}");
        }
    }
}
