//! What a container mounts from its node: its mount table compared with the node's own.
//!
//! `/proc/<pid>/mountinfo` needs no right to trace. A mount is the node's if the node's own table has the same file system,
//! and its source is the folder as the node sees it. Left out is what every container gets: its root, the kernel's file
//! systems at their usual targets, and what kubelet and runtime keep for this Pod (its volumes, its hosts file, its
//! shared memory). A hostPath is none of these, also below a `subPath`.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;

use holdfast_model::kernel::HostMount;

use crate::text::escaped;

/// One line of a mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// `major:minor` of the file system.
    pub device: String,
    /// The folder of the file system that is mounted.
    pub root: String,
    /// Where.
    pub target: String,
    /// Its type.
    pub file_system: String,
    /// Whether mount and file system can be written.
    pub writable: bool,
}

/// What kubelet and runtime keep for a Pod: paths that contain its uid, or the id of one of its containers.
#[derive(Debug, Clone, Default)]
pub struct PodFiles<'a> {
    /// uid of the Pod.
    pub pod: &'a str,
    /// ids of its containers, the sandbox among them.
    pub containers: Vec<&'a str>,
}

/// The longest mount table that is read.
const MAX_BYTES: u64 = 4 << 20;

/// The mounts that every container gets from its runtime.
const DEFAULT_MOUNTS: &[(&str, &str)] = &[
    ("/proc", "proc"),
    ("/sys", "sysfs"),
    ("/sys/fs/cgroup", "cgroup"),
    ("/dev/mqueue", "mqueue"),
    ("/dev/pts", "devpts"),
];

/// Reads the mount table of a thread; none if the thread has ended, or the table is too long.
pub(crate) fn table(pid: u32, tid: u32) -> Option<Vec<Mount>> {
    let mut text = Vec::new();
    File::open(format!("/proc/{pid}/task/{tid}/mountinfo")).ok()?.take(MAX_BYTES).read_to_end(&mut text).ok()?;
    let whole = u64::try_from(text.len()).is_ok_and(|bytes| bytes < MAX_BYTES) && !text.is_empty();
    whole.then(|| parse(&text))
}

/// The lines of a table that are valid.
pub fn parse(table: &[u8]) -> Vec<Mount> {
    table.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// What the container mounts from the node, by target.
pub fn host_mounts(host: &[Mount], container: &[Mount], own: &PodFiles<'_>) -> Vec<HostMount> {
    let mut by_device: HashMap<&str, Vec<&Mount>> = HashMap::new();
    host.iter().for_each(|mount| by_device.entry(&mount.device).or_default().push(mount));
    let of_node = |mount: &Mount| host_mount(by_device.get(mount.device.as_str())?, mount, own);
    let mut mounts: Vec<_> = container.iter().filter_map(of_node).collect();
    mounts.sort();
    mounts.dedup();
    mounts
}

fn host_mount(host: &[&Mount], mount: &Mount, own: &PodFiles<'_>) -> Option<HostMount> {
    if mount.target == "/" || is_default(mount) {
        return None;
    }
    let sources: Vec<String> =
        host.iter().filter_map(|of_host| path_on_host(of_host, &mount.device, &mount.root)).collect();
    if sources.iter().any(|source| own.contains(source)) {
        return None;
    }
    let source = sources.into_iter().min_by_key(String::len)?;
    Some(HostMount { target: mount.target.clone(), source, writable: mount.writable })
}

fn is_default(mount: &Mount) -> bool {
    DEFAULT_MOUNTS.iter().any(|(target, file_system)| {
        mount.file_system.starts_with(file_system)
            && mount.target.strip_prefix(target).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            && (mount.target == *target || *file_system == "cgroup" || *file_system == "proc")
    })
}

/// The path on the node of a folder of a file system, through one of the node's mounts.
pub(crate) fn path_on_host(of_host: &Mount, device: &str, folder: &str) -> Option<String> {
    if of_host.device != device {
        return None;
    }
    let below = folder.strip_prefix(of_host.root.trim_end_matches('/'))?;
    (below.is_empty() || below.starts_with('/')).then(|| {
        let source = format!("{}{}", of_host.target.trim_end_matches('/'), below.trim_end_matches('/'));
        if source.is_empty() { "/".to_owned() } else { source }
    })
}

impl PodFiles<'_> {
    pub(crate) fn contains(&self, source: &str) -> bool {
        let names: Vec<&str> = source.split('/').collect();
        let by_kubelet = names
            .windows(3)
            .any(|three| three[0] == "pods" && three[1] == self.pod && !three[2].starts_with("volume-subpath"));
        by_kubelet || self.containers.iter().any(|id| !id.is_empty() && names.contains(id))
    }
}

fn line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let (device, root, target, options) = (fields.nth(2)?, fields.next()?, fields.next()?, fields.next()?);
    let mut after = fields.skip_while(|field| *field != b"-").skip(1);
    let (file_system, _, of_file_system) = (after.next()?, after.next()?, after.next()?);
    Some(Mount {
        device: escaped(device),
        root: path(root),
        target: path(target),
        file_system: escaped(file_system),
        writable: writable(options) && writable(of_file_system),
    })
}

fn writable(options: &[u8]) -> bool {
    !options.split(|byte| *byte == b',').any(|option| option == b"ro")
}

/// A path of a mount table, where space, tab, newline and backslash are escaped as three octal digits.
fn path(field: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        match octal(rest) {
            Some(byte) => {
                bytes.push(byte);
                rest = rest.get(4..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    escaped(&bytes)
}

fn octal(field: &[u8]) -> Option<u8> {
    let digits = field.strip_prefix(b"\\")?.get(..3)?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "1f2e3d4c-0000-4111-8222-0123456789ab";
    const HOST: &str = "\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:21 / /proc rw - proc proc rw
24 22 0:22 / /sys rw - sysfs sysfs rw
25 24 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup rw
26 22 0:50 / /run rw - tmpfs tmpfs rw
27 26 0:60 / /run/containerd/tasks/CCC/rootfs rw - overlay overlay rw
28 22 0:61 / /var/lib/kubelet/pods/UID/volumes/kubernetes.io~projected/token rw - tmpfs tmpfs rw
29 22 8:16 / /mnt/disk\\040one rw - ext4 /dev/sdb rw
30 22 254:1 /var/log/app /var/lib/kubelet/pods/UID/volume-subpaths/logs/app/0 rw - ext4 /dev/vda rw
31 26 0:62 / /run/containerd/sandboxes/SSS/shm rw - tmpfs shm rw
";

    fn read(container: &str) -> Vec<String> {
        let fill = |table: &str| parse(table.replace("UID", UID).as_bytes());
        let own = PodFiles { pod: UID, containers: vec!["CCC", "SSS"] };
        host_mounts(&fill(HOST), &fill(container), &own)
            .into_iter()
            .map(|m| format!("{} <- {}{}", m.target, m.source, if m.writable { "" } else { " (ro)" }))
            .collect()
    }

    #[test]
    fn what_every_container_gets_is_not_a_host_mount() {
        let nothing: [&str; 0] = [];
        assert_eq!(
            read(
                "\
1 0 0:60 / / rw - overlay overlay rw
2 1 0:70 / /proc rw - proc proc rw
3 2 0:70 /sys /proc/sys ro - proc proc rw
4 1 0:22 / /sys ro - sysfs sysfs ro
5 4 0:23 /kubepods/podUID/CCC /sys/fs/cgroup ro - cgroup2 cgroup rw
6 1 0:61 / /var/run/secrets/kubernetes.io/serviceaccount ro - tmpfs tmpfs rw
7 1 254:1 /var/lib/kubelet/pods/UID/etc-hosts /etc/hosts rw - ext4 /dev/vda rw
8 1 254:1 /var/lib/kubelet/pods/UID/volumes/kubernetes.io~empty-dir/cache /cache rw - ext4 /dev/vda rw
9 1 0:62 / /dev/shm rw - tmpfs shm rw
10 1 254:1 /var/lib/containerd/sandboxes/SSS/resolv.conf /etc/resolv.conf rw - ext4 /dev/vda rw
"
            ),
            nothing
        );
    }

    #[test]
    fn a_folder_of_the_node_is_named_as_the_node_sees_it() {
        assert_eq!(
            read(
                "\
1 0 0:60 / / rw - overlay overlay rw
2 1 254:1 / /host ro - ext4 /dev/vda rw
3 1 0:50 /containerd/containerd.sock /sock rw - tmpfs tmpfs rw
4 1 8:16 /data\\011x /data rw - ext4 /dev/sdb rw
5 1 254:1 /var/log/app /logs rw - ext4 /dev/vda rw
6 1 0:21 / /host/proc rw - proc proc rw
7 1 254:1 /var/lib/kubelet/pods/other/volumes/x /stolen rw - ext4 /dev/vda rw
"
            ),
            [
                "/data <- /mnt/disk one/data\\tx",
                "/host <- / (ro)",
                "/host/proc <- /proc",
                "/logs <- /var/log/app",
                "/sock <- /run/containerd/containerd.sock",
                "/stolen <- /var/lib/kubelet/pods/other/volumes/x",
            ]
        );
    }

    #[test]
    fn an_invalid_line_is_left_out_and_nothing_panics() {
        for table in ["", "\n\n", "1 2 3", "1 2 0:1 / /", "1 2 0:1 / / rw - x", "1 2 0:1 \\9 \\04 rw - x y rw"] {
            assert!(parse(table.as_bytes()).len() <= 1, "{table}");
        }
    }
}
