//! The same from /proc, for kernels without a task iterator. A process that ends while it is read is left out; namespaces of
//! processes of other users need CAP_SYS_PTRACE, and read as 0 without it.

use std::path::{Path, PathBuf};

use holdfast_model::kernel::{Namespaces, Privileges};

use super::mounts;
use super::record::{Task, seccomp};
use crate::Unavailable;
use crate::attribution::owner_of_path;
use crate::text::escaped;

const PF_KTHREAD: u64 = 0x0020_0000;
const NANOSECONDS: u64 = 1_000_000_000;

/// When a process started, in the unit of /proc: ticks since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start(u64);

impl Start {
    /// Whether it is this moment, in nanoseconds since boot.
    pub(super) fn is_of(self, nanoseconds: u64) -> bool {
        nanoseconds / tick() == self.0
    }
}

/// When a thread started; none if there is no such thread.
pub(super) fn start_of(pid: u32, tid: u32) -> Option<Start> {
    stat(&PathBuf::from(format!("/proc/{pid}/task/{tid}"))).map(|stat| Start(stat.ticks))
}

/// Every process, each followed by those of its threads that have other privileges or another owner.
pub(super) fn tasks() -> Result<Vec<Task>, Unavailable> {
    let mut tasks = Vec::new();
    for process in numbered(Path::new("/proc"))? {
        let Ok(threads) = numbered(&process.join("task")) else { continue };
        let pid = number(&process);
        let mut threads = threads.iter().filter_map(|thread| task(pid, thread));
        let Some(leader) = threads.next() else { continue };
        let others = threads.filter(|thread| thread.privileges != leader.privileges || thread.owner != leader.owner);
        let others: Vec<Task> = others.collect();
        tasks.push(leader);
        tasks.extend(others);
    }
    Ok(tasks)
}

fn numbered(folder: &Path) -> Result<Vec<PathBuf>, Unavailable> {
    let mut paths = Vec::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        if number(&path) > 0 {
            paths.push(path);
        }
    }
    paths.sort_by_key(|path| number(path));
    Ok(paths)
}

fn number(path: &Path) -> u32 {
    path.file_name().and_then(|name| name.to_str()?.parse().ok()).unwrap_or(0)
}

fn task(pid: u32, thread: &Path) -> Option<Task> {
    let status = std::fs::read(thread.join("status")).ok()?;
    let stat = stat(thread).filter(|stat| !stat.dead)?;
    Some(Task {
        pid,
        tid: number(thread),
        started: stat.ticks.saturating_mul(tick()),
        cgroup: 0,
        name: stat.name,
        privileges: privileges(&Status(&status), thread)?,
        owner: owner_of_path(&cgroup(thread)?),
        kernel_thread: stat.flags & PF_KTHREAD != 0,
        at_root: std::fs::read_link(thread.join("root")).is_ok_and(|root| root == Path::new("/")),
    })
}

/// The path of its cgroup, seen from the reader's cgroup namespace.
fn cgroup(thread: &Path) -> Option<String> {
    let text = std::fs::read(thread.join("cgroup")).ok()?;
    unified(&String::from_utf8_lossy(&text)).map(str::to_owned)
}

/// The unified hierarchy's path; where that is the root, the memory controller's of version 1.
fn unified(cgroup: &str) -> Option<&str> {
    let path = |named: &dyn Fn(&str) -> bool| {
        cgroup.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            named(controllers).then_some(path)
        })
    };
    let unified = path(&str::is_empty)?;
    let memory = path(&|controllers| controllers.split(',').any(|name| name == "memory"));
    if unified == "/" { memory.or(Some(unified)) } else { Some(unified) }
}

struct Status<'a>(&'a [u8]);

impl Status<'_> {
    /// The nth value of a line.
    fn value(&self, name: &str, nth: usize) -> Option<&str> {
        let line = self
            .0
            .split(|byte| *byte == b'\n')
            .find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b":"))?;
        std::str::from_utf8(line).ok()?.split_ascii_whitespace().nth(nth)
    }

    fn number(&self, name: &str, nth: usize) -> Option<u32> {
        self.value(name, nth)?.parse().ok()
    }

    /// Of the real, effective, saved and file system user: root if one of them is, else the effective one.
    fn user(&self) -> Option<u32> {
        let users = [self.number("Uid", 0)?, self.number("Uid", 1)?, self.number("Uid", 2)?, self.number("Uid", 3)?];
        Some(if users.contains(&0) { 0 } else { users[1] })
    }

    fn capabilities(&self, name: &str) -> Option<u64> {
        u64::from_str_radix(self.value(name, 0)?, 16).ok()
    }
}

fn privileges(status: &Status<'_>, thread: &Path) -> Option<Privileges> {
    Some(Privileges {
        uid: status.user()?,
        gid: status.number("Gid", 1)?,
        effective: status.capabilities("CapEff")?,
        permitted: status.capabilities("CapPrm")?,
        bounding: status.capabilities("CapBnd")?,
        seccomp: seccomp(status.number("Seccomp", 0)?)?,
        no_new_privs: status.number("NoNewPrivs", 0)? == 1,
        namespaces: namespaces(thread),
        lsm_label: None,
        root_read_only: root_read_only(thread),
    })
}

fn namespaces(thread: &Path) -> Namespaces {
    let of = |name: &str| {
        let link = std::fs::read_link(thread.join("ns").join(name)).ok()?;
        link.to_str()?.split_once(":[")?.1.strip_suffix(']')?.parse().ok()
    };
    let read = |name| of(name).unwrap_or(0);
    Namespaces {
        user: read("user"),
        pid: read("pid"),
        net: read("net"),
        mnt: read("mnt"),
        ipc: read("ipc"),
        uts: read("uts"),
        cgroup: read("cgroup"),
    }
}

fn root_read_only(thread: &Path) -> Option<bool> {
    let table = mounts::parse(&std::fs::read(thread.join("mountinfo")).ok()?);
    // The last one is on top.
    table.iter().rev().find(|mount| mount.target == "/").map(|mount| !mount.writable)
}

struct Stat {
    name: String,
    dead: bool,
    flags: u64,
    ticks: u64,
}

/// `/proc/<pid>/stat`: the name stands in parentheses and may hold any byte, these included.
fn stat(thread: &Path) -> Option<Stat> {
    let bytes = std::fs::read(thread.join("stat")).ok()?;
    let open = bytes.iter().position(|byte| *byte == b'(')?;
    let close = bytes.iter().rposition(|byte| *byte == b')')?;
    let fields: Vec<&str> = std::str::from_utf8(bytes.get(close + 1..)?).ok()?.split_ascii_whitespace().collect();
    Some(Stat {
        name: escaped(bytes.get(open + 1..close)?),
        dead: matches!(*fields.first()?, "Z" | "X" | "x"),
        flags: fields.get(6)?.parse().ok()?,
        ticks: fields.get(19)?.parse().ok()?,
    })
}

fn tick() -> u64 {
    NANOSECONDS / rustix::param::clock_ticks_per_second().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_controller_stands_in_where_the_unified_hierarchy_is_unused() {
        assert_eq!(unified("4:memory:/kubepods/x\n0::/"), Some("/kubepods/x"));
        assert_eq!(unified("4:memory:/kubepods/x\n0::/y"), Some("/y"));
        assert_eq!(unified("0::/"), Some("/"));
        assert_eq!(unified(""), None);
    }

    #[test]
    fn a_process_with_root_as_any_of_its_users_is_root() {
        let user = |line: &str| Status(format!("Name:\tx\nUid:\t{line}\nGid:\t0 0 0 0\n").as_bytes()).user();
        assert_eq!(user("1000\t1000\t1000\t1000"), Some(1000));
        assert_eq!(user("1000\t1001\t1002\t1003"), Some(1001));
        for root in ["0 1000 1000 1000", "1000 0 1000 1000", "1000 1000 0 1000", "1000 1000 1000 0"] {
            assert_eq!(user(root), Some(0), "{root}");
        }
        assert_eq!(user("1000 1000"), None);
    }
}
