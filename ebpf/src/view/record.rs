//! The record that the iterator writes for one task (`struct record` of `programs/view.bpf.c`), as a value.

use std::collections::HashMap;

use holdfast_model::kernel::{Namespaces, Privileges, Seccomp};

use crate::Owner;
use crate::attribution::owner;
use crate::bytes::{Bytes, until_zero};
use crate::text::escaped;

/// A record without its path.
pub(crate) const FIXED_BYTES: usize = 112;
const NO_NEW_PRIVS: u32 = 1;
const ROOT_KNOWN: u32 = 2;
const ROOT_READ_ONLY: u32 = 4;
const KERNEL_THREAD: u32 = 8;
const PATH_WHOLE: u32 = 16;
const PATH_SENT: u32 = 32;
const AT_ROOT: u32 = 64;

/// A process, or a thread whose privileges differ from its process's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Task {
    pub pid: u32,
    pub tid: u32,
    pub started: u64,
    /// Serial number of its cgroup; 0 where /proc was read.
    pub cgroup: u64,
    pub name: String,
    pub privileges: Privileges,
    /// None where its cgroup is nested too deep to find out.
    pub owner: Option<Owner>,
    pub kernel_thread: bool,
    /// Whether it sees every mount of its namespace: a chroot hides some.
    pub at_root: bool,
}

/// The owners of the cgroups of one reading: the path of each comes with its first task only.
#[derive(Debug, Default)]
pub(crate) struct Cgroups(HashMap<u64, Option<Owner>>);

impl Task {
    /// Takes the first record off the bytes; none if they end within it or are invalid.
    pub(crate) fn take(bytes: &mut &[u8], cgroups: &mut Cgroups) -> Option<Self> {
        let record = Bytes(bytes);
        let path_bytes = usize::try_from(record.u32(92)?).ok()?;
        let end = FIXED_BYTES.checked_add(path_bytes)?;
        let path = record.slice(FIXED_BYTES..end)?;
        let flags = record.u32(88)?;
        let cgroup = record.u64(32)?;
        let task = Self {
            started: record.u64(0)?,
            cgroup,
            pid: record.u32(40)?,
            tid: record.u32(44)?,
            name: escaped(until_zero(&record.array::<16>(96)?)),
            privileges: privileges(record, flags)?,
            owner: cgroups.owner(cgroup, flags, path)?,
            kernel_thread: flags & KERNEL_THREAD != 0,
            at_root: flags & AT_ROOT != 0,
        };
        *bytes = bytes.get(end..)?;
        Some(task)
    }
}

impl Cgroups {
    /// The owner of a task's cgroup; the outer option is none if the path should have been sent before and was not.
    fn owner(&mut self, cgroup: u64, flags: u32, path: &[u8]) -> Option<Option<Owner>> {
        if flags & PATH_SENT != 0 {
            return self.0.get(&cgroup).cloned();
        }
        let owner = (flags & PATH_WHOLE != 0).then(|| owner_of(path));
        self.0.insert(cgroup, owner.clone());
        Some(owner)
    }
}

fn privileges(record: Bytes<'_>, flags: u32) -> Option<Privileges> {
    Some(Privileges {
        effective: record.u64(8)?,
        permitted: record.u64(16)?,
        bounding: record.u64(24)?,
        uid: record.u32(48)?,
        gid: record.u32(52)?,
        namespaces: Namespaces {
            user: record.u32(56)?,
            pid: record.u32(60)?,
            net: record.u32(64)?,
            mnt: record.u32(68)?,
            ipc: record.u32(72)?,
            uts: record.u32(76)?,
            cgroup: record.u32(80)?,
        },
        seccomp: seccomp(record.u32(84)?)?,
        no_new_privs: flags & NO_NEW_PRIVS != 0,
        lsm_label: None,
        root_read_only: (flags & ROOT_KNOWN != 0).then_some(flags & ROOT_READ_ONLY != 0),
    })
}

/// `SECCOMP_MODE_*` of `linux/seccomp.h`; the kernel's own `SECCOMP_MODE_DEAD` is a filter that has killed.
pub(crate) fn seccomp(mode: u32) -> Option<Seccomp> {
    match mode {
        0 => Some(Seccomp::Disabled),
        1 => Some(Seccomp::Strict),
        2 | 3 => Some(Seccomp::Filter),
        _ => None,
    }
}

fn owner_of(path: &[u8]) -> Owner {
    // A name that is no UTF-8 is no Pod's, but still counts as a level.
    let names: Vec<&str> = path
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| std::str::from_utf8(name).unwrap_or("?"))
        .collect();
    owner(&names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(path: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; FIXED_BYTES];
        bytes[40..44].copy_from_slice(&7_u32.to_ne_bytes());
        bytes[88..92].copy_from_slice(&(NO_NEW_PRIVS | PATH_WHOLE).to_ne_bytes());
        bytes[92..96].copy_from_slice(&u32::try_from(path.len()).unwrap().to_ne_bytes());
        bytes[96..98].copy_from_slice(b"sh");
        bytes.extend_from_slice(path);
        bytes
    }

    #[test]
    fn records_follow_each_other() {
        let id = "a".repeat(64);
        let path = format!("kubepods\0pod{}\0{id}\0", "0".repeat(32));
        let bytes = [record(path.as_bytes()), record(b"")].concat();
        let mut rest = bytes.as_slice();
        let mut cgroups = Cgroups::default();
        let first = Task::take(&mut rest, &mut cgroups).unwrap();
        assert_eq!((first.pid, first.name.as_str()), (7, "sh"));
        assert_eq!(first.owner, Some(Owner::Pod { pod: "0".repeat(32), container: id }));
        assert!(first.privileges.no_new_privs && first.privileges.root_read_only.is_none());
        assert_eq!(Task::take(&mut rest, &mut cgroups).unwrap().owner, Some(Owner::Host));
        assert!(rest.is_empty());
    }

    #[test]
    fn a_path_that_was_sent_is_the_cgroups_of_every_later_task() {
        let of_cgroup = |cgroup: u64, flags: u32, path: &[u8]| {
            let mut bytes = record(path);
            bytes[32..40].copy_from_slice(&cgroup.to_ne_bytes());
            bytes[88..92].copy_from_slice(&flags.to_ne_bytes());
            bytes
        };
        let path = format!("kubepods\0pod{}\0", "0".repeat(32));
        let mut cgroups = Cgroups::default();
        let mut owner = |bytes: &[u8]| Task::take(&mut &*bytes, &mut cgroups).map(|task| task.owner);
        let pod = Some(Some(Owner::Pod { pod: "0".repeat(32), container: String::new() }));
        assert_eq!(owner(&of_cgroup(7, PATH_WHOLE, path.as_bytes())), pod);
        assert_eq!(owner(&of_cgroup(8, 0, b"kubepods\0")), Some(None));
        assert_eq!(owner(&of_cgroup(7, PATH_SENT, b"")), pod);
        assert_eq!(owner(&of_cgroup(8, PATH_SENT, b"")), Some(None));
        assert_eq!(owner(&of_cgroup(9, PATH_SENT, b"")), None, "never sent");
    }

    #[test]
    fn no_byte_that_the_kernel_could_send_panics() {
        let whole = record(b"kubepods\0");
        for end in 0..whole.len() {
            assert_eq!(Task::take(&mut &whole[..end], &mut Cgroups::default()), None);
        }
        let mut wild = whole.clone();
        wild[92..96].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(Task::take(&mut wild.as_slice(), &mut Cgroups::default()), None);
        wild = whole;
        wild[84..88].copy_from_slice(&9_u32.to_ne_bytes());
        assert_eq!(Task::take(&mut wild.as_slice(), &mut Cgroups::default()), None);
    }
}
