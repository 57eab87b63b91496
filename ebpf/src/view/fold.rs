//! Tasks -> a [`View`]: the owner of each process, and groups of processes with the same privileges. Reads mounts through a
//! function that it is given; otherwise pure.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_model::kernel::{HostMount, Namespaces, Privileges, ProcessGroup, RunningContainer, ViewMethod};

use super::View;
use super::escaped::NamespaceIndex;
use super::record::Task;
use crate::{Owner, Unavailable};

/// The most process groups of one container that are reported. More than that are made only to fill a statement; the container then
/// counts as incomplete.
const MAX_GROUPS: usize = 128;
/// The most mount namespaces of one container that are read, and the most mounts from the node that are reported.
const MAX_MOUNT_NAMESPACES: usize = 16;
const MAX_MOUNTS: usize = 512;

/// For each mount namespace, by inode, a thread that sees all of it.
pub(super) type MountReaders = BTreeMap<u32, MountReader>;

/// A thread that sees every mount of its namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MountReader {
    pub(super) pid: u32,
    pub(super) tid: u32,
    pub(super) started: u64,
}

/// Folds one reading. `reader` is the process that read.
pub(super) fn fold(method: ViewMethod, tasks: &[Task], reader: u32) -> Result<View, Unavailable> {
    let host = host(tasks, reader).ok_or(Unavailable::NotHostPid)?;
    let index = NamespaceIndex::of(tasks, host);
    let mut containers: BTreeMap<(&str, &str), Groups> = BTreeMap::new();
    let mut mount_readers = MountReaders::new();
    let mut unattributed = 0;
    for task in tasks.iter().filter(|task| !task.kernel_thread) {
        let found_in = match &task.owner {
            Some(Owner::Pod { pod, container }) => vec![(pod.as_str(), container.as_str())],
            _ => index.escaped_from(task).into_iter().map(|pod| (pod, "")).collect(),
        };
        unattributed += usize::from(task.owner.is_none() && found_in.is_empty());
        if !found_in.is_empty() && task.at_root {
            add_reader(&mut mount_readers, task);
        }
        found_in.into_iter().for_each(|container| containers.entry(container).or_default().count(task));
    }
    Ok(View {
        method,
        host,
        process_count: number(tasks.iter().map(|task| task.pid).collect::<BTreeSet<_>>().len()),
        containers: containers.into_iter().map(container).collect(),
        unattributed: number(unattributed),
        mount_readers,
    })
}

/// The node's namespaces are those of its process 1. Where that is the reader or a Pod's, the pid namespace is not the node's.
/// Where it cannot be read, the first kernel thread serves, since no other pid namespace has kernel threads: there are guest
/// kernels whose task iterator skips process 1, and whose root may not read its namespaces in /proc either.
pub(crate) fn host(tasks: &[Task], reader: u32) -> Option<Namespaces> {
    let is_first = |task: &&Task| task.pid == 1 && reader != 1 && task.owner == Some(Owner::Host);
    let is_kernels = |task: &&Task| task.pid == 2 && task.kernel_thread;
    let of = tasks.iter().find(is_first).or_else(|| tasks.iter().find(is_kernels))?;
    Some(of.privileges.namespaces)
}

/// Adds what the containers mount from the node, read once per mount namespace. The mounts of a namespace without a reader are unknown.
pub(super) fn add_mounts(
    view: &mut View,
    mut read: impl FnMut(&MountReader, &RunningContainer) -> Option<Vec<HostMount>>,
) {
    let mut known: BTreeMap<(String, u32), Option<Vec<HostMount>>> = BTreeMap::new();
    for container in &mut view.containers {
        let namespaces: BTreeSet<u32> =
            container.process_groups.iter().map(|group| group.privileges.namespaces.mnt).collect();
        let mut mounts = (namespaces.len() <= MAX_MOUNT_NAMESPACES).then(BTreeSet::new);
        for namespace in namespaces.into_iter().take(MAX_MOUNT_NAMESPACES) {
            let found = known
                .entry((container.pod.clone(), namespace))
                .or_insert_with(|| view.mount_readers.get(&namespace).and_then(|reader| read(reader, container)));
            mounts = mounts.zip(found.clone()).map(|(all, found)| all.into_iter().chain(found).collect());
        }
        if mounts.as_ref().is_some_and(|mounts| mounts.len() > MAX_MOUNTS) {
            container.incomplete = Some(format!("it mounts more than {MAX_MOUNTS} folders of the node"));
        }
        container.host_mounts = mounts.map(|all| all.into_iter().take(MAX_MOUNTS).collect());
    }
}

/// The lowest pid, whose process is the most likely to live on.
fn add_reader(readers: &mut MountReaders, task: &Task) {
    let new = MountReader { pid: task.pid, tid: task.tid, started: task.started };
    let first = readers.entry(task.privileges.namespaces.mnt).or_insert(new);
    *first = (*first).min(new);
}

#[derive(Default)]
struct Groups {
    by_privileges: BTreeMap<Privileges, Counted>,
    /// Whether there are more than are reported.
    has_more: bool,
}

struct Counted {
    group: ProcessGroup,
    last_pid: u32,
}

impl Groups {
    fn count(&mut self, task: &Task) {
        if self.by_privileges.len() >= MAX_GROUPS && !self.by_privileges.contains_key(&task.privileges) {
            self.has_more = true;
            return;
        }
        let counted = self.by_privileges.entry(task.privileges.clone());
        let counted = counted.or_insert_with(|| Counted { group: group_of(task), last_pid: 0 });
        if counted.last_pid == task.pid {
            return;
        }
        counted.last_pid = task.pid;
        counted.group.processes += 1;
        if task.pid < counted.group.pid {
            counted.group = ProcessGroup { processes: counted.group.processes, ..group_of(task) };
        }
    }
}

fn group_of(task: &Task) -> ProcessGroup {
    ProcessGroup {
        privileges: task.privileges.clone(),
        processes: 0,
        pid: task.pid,
        name: task.name.clone(),
        started: task.started,
    }
}

fn container(((pod, id), groups): ((&str, &str), Groups)) -> RunningContainer {
    let incomplete = groups.has_more.then(|| format!("it has more than {MAX_GROUPS} kinds of processes"));
    let process_groups = groups.by_privileges.into_values().map(|counted| counted.group).collect();
    RunningContainer {
        pod: pod.to_owned(),
        id: id.to_owned(),
        process_groups,
        incomplete,
        ..RunningContainer::default()
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use holdfast_model::kernel::Seccomp;

    pub(crate) fn task(pid: u32, owner: Option<Owner>, uid: u32) -> Task {
        let privileges = Privileges {
            uid,
            gid: 0,
            effective: 0,
            permitted: 0,
            bounding: 0,
            seccomp: Seccomp::Disabled,
            no_new_privs: false,
            namespaces: Namespaces { mnt: 5, ..Namespaces::default() },
            lsm_label: None,
            root_read_only: Some(false),
        };
        Task {
            pid,
            tid: pid,
            started: u64::from(pid),
            cgroup: 0,
            name: format!("p{pid}"),
            privileges,
            owner,
            kernel_thread: false,
            at_root: true,
        }
    }

    fn pod(uid: &str, container: &str) -> Option<Owner> {
        Some(Owner::Pod { pod: uid.to_owned(), container: container.to_owned() })
    }

    #[test]
    fn equal_workers_are_one_group_and_a_thread_with_other_privileges_is_another() {
        let thread = |tid: u32| Task { tid, ..task(8, pod("a", "c"), 1000) };
        let tasks = [
            task(1, Some(Owner::Host), 0),
            task(7, pod("a", "c"), 0),
            task(8, pod("a", "c"), 0),
            thread(9),
            thread(10),
            task(11, None, 0),
        ];
        let view = fold(ViewMethod::TaskIterator, &tasks, 99).unwrap();
        assert_eq!((view.process_count, view.unattributed, view.containers.len()), (4, 1, 1));
        let container = &view.containers[0];
        let counts: Vec<_> = container.process_groups.iter().map(|a| (a.privileges.uid, a.pid, a.processes)).collect();
        assert_eq!(counts, [(0, 7, 2), (1000, 8, 1)]);
    }

    #[test]
    fn a_reader_outside_of_the_nodes_pid_namespace_gets_no_view() {
        let pods = [task(1, pod("a", "pause"), 0)];
        assert!(matches!(fold(ViewMethod::TaskIterator, &pods, 9), Err(Unavailable::NotHostPid)));
        let own = [task(1, Some(Owner::Host), 0)];
        assert!(matches!(fold(ViewMethod::TaskIterator, &own, 1), Err(Unavailable::NotHostPid)));
        assert!(matches!(fold(ViewMethod::TaskIterator, &[], 9), Err(Unavailable::NotHostPid)));
        let kernel = [Task { kernel_thread: true, ..task(2, Some(Owner::Host), 0) }];
        assert!(fold(ViewMethod::TaskIterator, &kernel, 9).is_ok());
    }

    #[test]
    fn mounts_that_could_not_be_read_everywhere_are_none() {
        let tasks = [task(1, Some(Owner::Host), 0), task(7, pod("a", "c"), 0), task(8, pod("b", "d"), 0)];
        let mut view = fold(ViewMethod::TaskIterator, &tasks, 99).unwrap();
        add_mounts(&mut view, |_, container| (container.pod == "a").then(Vec::new));
        assert_eq!(view.containers[0].host_mounts, Some(Vec::new()));
        assert_eq!(view.containers[1].host_mounts, None);
    }

    fn in_mount_namespace(mnt: u32, task: Task) -> Task {
        let namespaces = Namespaces { mnt, ..task.privileges.namespaces };
        Task { privileges: Privileges { namespaces, ..task.privileges }, ..task }
    }

    #[test]
    fn a_container_with_too_many_process_groups_is_incomplete_and_its_neighbour_is_not() {
        let crowd = (1..=100_000).map(|user| Task { tid: 10 + user, ..task(7, pod("a", "c"), user) });
        let tasks: Vec<Task> =
            [task(1, Some(Owner::Host), 0), task(6, pod("b", "d"), 0)].into_iter().chain(crowd).collect();
        let view = fold(ViewMethod::TaskIterator, &tasks, 99).unwrap();
        let [crowded, neighbour] = &view.containers[..] else { panic!("{view:?}") };
        assert_eq!(crowded.process_groups.len(), MAX_GROUPS);
        assert_eq!(crowded.incomplete.as_deref(), Some("it has more than 128 kinds of processes"));
        assert_eq!((neighbour.incomplete.as_deref(), neighbour.process_groups.len(), view.unattributed), (None, 1, 0));
    }

    #[test]
    fn mounts_of_many_namespaces_are_not_read_and_those_of_the_neighbour_are() {
        let many = (1..=50).map(|mnt| in_mount_namespace(100 + mnt, task(10 + mnt, pod("a", "c"), 0)));
        let tasks: Vec<Task> =
            [task(1, Some(Owner::Host), 0), task(6, pod("b", "d"), 0)].into_iter().chain(many).collect();
        let mut view = fold(ViewMethod::TaskIterator, &tasks, 99).unwrap();
        let mut reads = 0;
        add_mounts(&mut view, |_, _| {
            reads += 1;
            Some(Vec::new())
        });
        let mounts: Vec<_> = view.containers.iter().map(|container| container.host_mounts.is_some()).collect();
        assert_eq!((mounts, reads), (vec![false, true], MAX_MOUNT_NAMESPACES + 1));
    }

    #[test]
    fn more_mounts_than_a_statement_holds_are_cut_and_reported_as_incomplete() {
        let tasks = [task(1, Some(Owner::Host), 0), task(7, pod("a", "c"), 0)];
        let mut view = fold(ViewMethod::TaskIterator, &tasks, 99).unwrap();
        let mount = |at: usize| HostMount { target: format!("/{at}"), source: "/".into(), writable: true };
        add_mounts(&mut view, |_, _| Some((0..50_000).map(mount).collect()));
        let container = &view.containers[0];
        assert_eq!(container.host_mounts.as_ref().map(Vec::len), Some(MAX_MOUNTS));
        assert_eq!(container.incomplete.as_deref(), Some("it mounts more than 512 folders of the node"));
    }

    #[test]
    fn mounts_are_read_from_a_thread_that_sees_them_all() {
        let in_chroot = |task: Task| Task { at_root: false, ..task };
        let thread = |tid: u32, started: u64, task: Task| Task { tid, started, ..task };
        let tasks = [
            task(1, Some(Owner::Host), 0),
            in_chroot(in_mount_namespace(70, task(7, pod("a", "c"), 0))),
            in_mount_namespace(70, task(8, pod("a", "c"), 1000)),
            thread(9, 90, in_mount_namespace(71, task(8, pod("a", "c"), 1000))),
            in_chroot(in_mount_namespace(72, task(6, pod("b", "d"), 0))),
        ];
        let mut view = fold(ViewMethod::TaskIterator, &tasks, 99).unwrap();
        let mut read = Vec::new();
        add_mounts(&mut view, |reader, _| {
            read.push((reader.pid, reader.tid, reader.started));
            Some(Vec::new())
        });
        assert_eq!(read, [(8, 8, 8), (8, 9, 90)]);
        assert!(view.containers[0].host_mounts.is_some());
        assert_eq!(view.containers[1].host_mounts, None, "all its processes are in a chroot");
    }

    #[test]
    fn a_process_of_an_unknown_cgroup_is_a_pods_by_its_namespaces_and_leaves_others_complete() {
        let lost = |mnt| in_mount_namespace(mnt, task(8, None, 0));
        let tasks =
            [in_mount_namespace(4, task(1, Some(Owner::Host), 0)), task(7, pod("a", "c"), 0), lost(5), lost(99)];
        let view = fold(ViewMethod::TaskIterator, &tasks, 99).unwrap();
        let escaped = view.pod("a").find(|container| container.id.is_empty()).unwrap();
        assert_eq!((escaped.processes(), view.unattributed), (1, 1));
    }
}
