//! Tasks -> a [`View`]: the owner of each process, and groups of processes with the same privileges. Reads mounts through a
//! function that it is given; otherwise pure.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_model::kernel::{HostMount, Namespaces, Privileges, ProcessGroup, RunningContainer, ViewMethod};

use super::View;
use super::record::Task;
use super::stray::Rooms;
use crate::{Blind, Owner};

/// So many kinds of processes of one container are told: whoever has more, as nobody has but to fill the statement of his node,
/// is not seen whole.
const MOST_STANDINGS: usize = 128;
/// So many mount namespaces of one container are read, and so many mounts from the node are told.
const MOST_SPACES: usize = 16;
const MOST_MOUNTS: usize = 512;

/// Whose view of a mount namespace is the whole: by the inode of the namespace.
pub(super) type Witnesses = BTreeMap<u32, Witness>;

/// A thread that sees every mount of its namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Witness {
    pub(super) pid: u32,
    pub(super) tid: u32,
    pub(super) started: u64,
}

/// Folds one reading. `reader` is the process that read.
pub(super) fn fold(method: ViewMethod, tasks: &[Task], reader: u32) -> Result<View, Blind> {
    let host = host(tasks, reader).ok_or(Blind::NotTheNode)?;
    let rooms = Rooms::of(tasks, host);
    let mut containers: BTreeMap<(&str, &str), Standings> = BTreeMap::new();
    let mut witnesses = Witnesses::new();
    let mut unattributed = 0;
    for task in tasks.iter().filter(|task| !task.kernel_thread) {
        let places = match &task.owner {
            Some(Owner::Pod { pod, container }) => vec![(pod.as_str(), container.as_str())],
            _ => rooms.strayed_from(task).into_iter().map(|pod| (pod, "")).collect(),
        };
        unattributed += usize::from(task.owner.is_none() && places.is_empty());
        if !places.is_empty() && task.at_root {
            witness(&mut witnesses, task);
        }
        places.into_iter().for_each(|place| containers.entry(place).or_default().count(task));
    }
    Ok(View {
        method,
        host,
        seen: number(tasks.iter().map(|task| task.pid).collect::<BTreeSet<_>>().len()),
        containers: containers.into_iter().map(container).collect(),
        unattributed: number(unattributed),
        witnesses,
    })
}

/// The node's namespaces are those of its first process. Where that is the reader or a Pod's, this is no node, and where it
/// can't be seen, the kernel's first thread shows that it is one: no smaller pid namespace has kernel threads. A machine's
/// maker may shield its first process: a guest's kernel was met whose iterator does not come by it, and whose root may not
/// read its namespaces in /proc either.
pub(crate) fn host(tasks: &[Task], reader: u32) -> Option<Namespaces> {
    let first = |task: &&Task| task.pid == 1 && reader != 1 && task.owner == Some(Owner::Host);
    let kernels = |task: &&Task| task.pid == 2 && task.kernel_thread;
    let of = tasks.iter().find(first).or_else(|| tasks.iter().find(kernels))?;
    Some(of.privileges.namespaces)
}

/// Adds what the containers mount from the node, read once a mount namespace. A namespace that nobody sees whole is not known.
pub(super) fn add_mounts(view: &mut View, mut read: impl FnMut(&Witness, &RunningContainer) -> Option<Vec<HostMount>>) {
    let mut known: BTreeMap<(String, u32), Option<Vec<HostMount>>> = BTreeMap::new();
    for container in &mut view.containers {
        let spaces: BTreeSet<u32> =
            container.process_groups.iter().map(|group| group.privileges.namespaces.mnt).collect();
        let mut mounts = (spaces.len() <= MOST_SPACES).then(BTreeSet::new);
        for space in spaces.into_iter().take(MOST_SPACES) {
            let found = known
                .entry((container.pod.clone(), space))
                .or_insert_with(|| view.witnesses.get(&space).and_then(|witness| read(witness, container)));
            mounts = mounts.zip(found.clone()).map(|(all, found)| all.into_iter().chain(found).collect());
        }
        if mounts.as_ref().is_some_and(|mounts| mounts.len() > MOST_MOUNTS) {
            container.incomplete = Some(format!("it mounts more than {MOST_MOUNTS} folders of the node"));
        }
        container.host_mounts = mounts.map(|all| all.into_iter().take(MOST_MOUNTS).collect());
    }
}

/// The first one by number, which is the likeliest to live on.
fn witness(witnesses: &mut Witnesses, task: &Task) {
    let new = Witness { pid: task.pid, tid: task.tid, started: task.started };
    let first = witnesses.entry(task.privileges.namespaces.mnt).or_insert(new);
    *first = (*first).min(new);
}

#[derive(Default)]
struct Standings {
    kinds: BTreeMap<Privileges, Counted>,
    /// Whether there are more than are told.
    more: bool,
}

struct Counted {
    group: ProcessGroup,
    last: u32,
}

impl Standings {
    fn count(&mut self, task: &Task) {
        if self.kinds.len() >= MOST_STANDINGS && !self.kinds.contains_key(&task.privileges) {
            self.more = true;
            return;
        }
        let counted = self.kinds.entry(task.privileges.clone());
        let counted = counted.or_insert_with(|| Counted { group: group_of(task), last: 0 });
        if counted.last == task.pid {
            return;
        }
        counted.last = task.pid;
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

fn container(((pod, id), standings): ((&str, &str), Standings)) -> RunningContainer {
    let incomplete = standings.more.then(|| format!("it has more than {MOST_STANDINGS} kinds of processes"));
    let process_groups = standings.kinds.into_values().map(|counted| counted.group).collect();
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
    fn equal_workers_are_one_standing_and_a_thread_that_stands_otherwise_is_another() {
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
        assert_eq!((view.seen, view.unattributed, view.containers.len()), (4, 1, 1));
        let container = &view.containers[0];
        let counts: Vec<_> = container.process_groups.iter().map(|a| (a.privileges.uid, a.pid, a.processes)).collect();
        assert_eq!(counts, [(0, 7, 2), (1000, 8, 1)]);
    }

    #[test]
    fn a_reader_in_a_smaller_world_than_the_nodes_is_blind() {
        let pods = [task(1, pod("a", "pause"), 0)];
        assert!(matches!(fold(ViewMethod::TaskIterator, &pods, 9), Err(Blind::NotTheNode)));
        let own = [task(1, Some(Owner::Host), 0)];
        assert!(matches!(fold(ViewMethod::TaskIterator, &own, 1), Err(Blind::NotTheNode)));
        assert!(matches!(fold(ViewMethod::TaskIterator, &[], 9), Err(Blind::NotTheNode)));
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

    fn in_space(mnt: u32, task: Task) -> Task {
        let namespaces = Namespaces { mnt, ..task.privileges.namespaces };
        Task { privileges: Privileges { namespaces, ..task.privileges }, ..task }
    }

    #[test]
    fn a_container_with_more_kinds_of_processes_than_anybody_needs_is_unread_and_its_neighbour_is_not() {
        let crowd = (1..=100_000).map(|user| Task { tid: 10 + user, ..task(7, pod("a", "c"), user) });
        let tasks: Vec<Task> =
            [task(1, Some(Owner::Host), 0), task(6, pod("b", "d"), 0)].into_iter().chain(crowd).collect();
        let view = fold(ViewMethod::TaskIterator, &tasks, 99).unwrap();
        let [crowded, neighbour] = &view.containers[..] else { panic!("{view:?}") };
        assert_eq!(crowded.process_groups.len(), MOST_STANDINGS);
        assert_eq!(crowded.incomplete.as_deref(), Some("it has more than 128 kinds of processes"));
        assert_eq!((neighbour.incomplete.as_deref(), neighbour.process_groups.len(), view.unattributed), (None, 1, 0));
    }

    #[test]
    fn mounts_of_many_namespaces_are_not_read_and_those_of_the_neighbour_are() {
        let many = (1..=50).map(|mnt| in_space(100 + mnt, task(10 + mnt, pod("a", "c"), 0)));
        let tasks: Vec<Task> =
            [task(1, Some(Owner::Host), 0), task(6, pod("b", "d"), 0)].into_iter().chain(many).collect();
        let mut view = fold(ViewMethod::TaskIterator, &tasks, 99).unwrap();
        let mut reads = 0;
        add_mounts(&mut view, |_, _| {
            reads += 1;
            Some(Vec::new())
        });
        let mounts: Vec<_> = view.containers.iter().map(|container| container.host_mounts.is_some()).collect();
        assert_eq!((mounts, reads), (vec![false, true], MOST_SPACES + 1));
    }

    #[test]
    fn more_mounts_than_a_statement_holds_are_cut_and_that_is_told() {
        let tasks = [task(1, Some(Owner::Host), 0), task(7, pod("a", "c"), 0)];
        let mut view = fold(ViewMethod::TaskIterator, &tasks, 99).unwrap();
        let mount = |at: usize| HostMount { target: format!("/{at}"), source: "/".into(), writable: true };
        add_mounts(&mut view, |_, _| Some((0..50_000).map(mount).collect()));
        let container = &view.containers[0];
        assert_eq!(container.host_mounts.as_ref().map(Vec::len), Some(MOST_MOUNTS));
        assert_eq!(container.incomplete.as_deref(), Some("it mounts more than 512 folders of the node"));
    }

    #[test]
    fn mounts_are_read_from_a_thread_that_sees_them_all() {
        let jailed = |task: Task| Task { at_root: false, ..task };
        let thread = |tid: u32, started: u64, task: Task| Task { tid, started, ..task };
        let tasks = [
            task(1, Some(Owner::Host), 0),
            jailed(in_space(70, task(7, pod("a", "c"), 0))),
            in_space(70, task(8, pod("a", "c"), 1000)),
            thread(9, 90, in_space(71, task(8, pod("a", "c"), 1000))),
            jailed(in_space(72, task(6, pod("b", "d"), 0))),
        ];
        let mut view = fold(ViewMethod::TaskIterator, &tasks, 99).unwrap();
        let mut read = Vec::new();
        add_mounts(&mut view, |witness, _| {
            read.push((witness.pid, witness.tid, witness.started));
            Some(Vec::new())
        });
        assert_eq!(read, [(8, 8, 8), (8, 9, 90)]);
        assert!(view.containers[0].host_mounts.is_some());
        assert_eq!(view.containers[1].host_mounts, None, "all that it has is jailed");
    }

    #[test]
    fn whose_cgroup_cannot_be_told_is_a_pods_by_its_namespaces_and_blinds_nobody_else() {
        let lost = |mnt| in_space(mnt, task(8, None, 0));
        let tasks = [in_space(4, task(1, Some(Owner::Host), 0)), task(7, pod("a", "c"), 0), lost(5), lost(99)];
        let view = fold(ViewMethod::TaskIterator, &tasks, 99).unwrap();
        let stray = view.pod("a").find(|container| container.id.is_empty()).unwrap();
        assert_eq!((stray.processes(), view.unattributed), (1, 1));
    }
}
