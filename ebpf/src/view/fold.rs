//! Tasks -> a [`View`]: whose each process is, and which of them stand alike. Reads mounts through a function that it is
//! given; else pure.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_model::kernel::{Alike, Eye, HostMount, Namespaces, RunningContainer, Standing};

use super::View;
use super::record::Task;
use super::stray::Rooms;
use crate::{Blind, Owner};

/// Folds one reading. `reader` is the process that read.
pub(super) fn fold(eye: Eye, tasks: &[Task], reader: u32) -> Result<View, Blind> {
    let host = host(tasks, reader).ok_or(Blind::NotTheNode)?;
    let rooms = Rooms::of(tasks, host);
    let mut containers: BTreeMap<(&str, &str), Standings> = BTreeMap::new();
    for task in tasks.iter().filter(|task| !task.kernel_thread) {
        if let Some(Owner::Pod { pod, container }) = &task.owner {
            containers.entry((pod, container)).or_default().count(task);
        }
        for pod in rooms.strayed_from(task) {
            containers.entry((pod, "")).or_default().count(task);
        }
    }
    Ok(View {
        eye,
        host,
        seen: number(tasks.iter().map(|task| task.pid).collect::<BTreeSet<_>>().len()),
        containers: containers.into_iter().map(container).collect(),
        unattributed: number(tasks.iter().filter(|task| task.owner.is_none()).count()),
    })
}

/// The node's namespaces are those of its first process. Where that is the reader or a Pod's, this is no node, and where it
/// can't be seen, the kernel's first thread shows that it is one: no smaller pid namespace has kernel threads.
pub(crate) fn host(tasks: &[Task], reader: u32) -> Option<Namespaces> {
    let first = |task: &&Task| task.pid == 1 && reader != 1 && task.owner == Some(Owner::Host);
    let kernels = |task: &&Task| task.pid == 2 && task.kernel_thread;
    let of = tasks.iter().find(first).or_else(|| tasks.iter().find(kernels))?;
    Some(of.standing.namespaces)
}

/// Adds what the containers mount from the node, read once a mount namespace.
pub(super) fn add_mounts(view: &mut View, mut read: impl FnMut(&Alike, &RunningContainer) -> Option<Vec<HostMount>>) {
    let mut known: BTreeMap<(String, u32), Option<Vec<HostMount>>> = BTreeMap::new();
    for container in &mut view.containers {
        let mut mounts = Some(BTreeSet::new());
        for alike in &container.alike {
            let space = (container.pod.clone(), alike.standing.namespaces.mnt);
            let found = known.entry(space).or_insert_with(|| read(alike, container));
            mounts = mounts.zip(found.clone()).map(|(all, found)| all.into_iter().chain(found).collect());
        }
        container.host_mounts = mounts.map(|all| all.into_iter().collect());
    }
}

#[derive(Default)]
struct Standings(BTreeMap<Standing, Counted>);

struct Counted {
    alike: Alike,
    last: u32,
}

impl Standings {
    fn count(&mut self, task: &Task) {
        let counted = self.0.entry(task.standing.clone()).or_insert_with(|| Counted { alike: alike(task), last: 0 });
        if counted.last == task.pid {
            return;
        }
        counted.last = task.pid;
        counted.alike.processes += 1;
        if task.pid < counted.alike.pid {
            counted.alike = Alike { processes: counted.alike.processes, ..alike(task) };
        }
    }

    fn alike(self) -> Vec<Alike> {
        self.0.into_values().map(|counted| counted.alike).collect()
    }
}

fn alike(task: &Task) -> Alike {
    Alike {
        standing: task.standing.clone(),
        processes: 0,
        pid: task.pid,
        name: task.name.clone(),
        started: task.started,
    }
}

fn container(((pod, id), standings): ((&str, &str), Standings)) -> RunningContainer {
    RunningContainer { pod: pod.to_owned(), id: id.to_owned(), alike: standings.alike(), ..RunningContainer::default() }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use holdfast_model::kernel::Seccomp;

    pub(crate) fn task(pid: u32, owner: Option<Owner>, uid: u32) -> Task {
        let standing = Standing {
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
            standing,
            owner,
            kernel_thread: false,
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
        let view = fold(Eye::TaskIterator, &tasks, 99).unwrap();
        assert_eq!((view.seen, view.unattributed, view.containers.len()), (4, 1, 1));
        let container = &view.containers[0];
        let counts: Vec<_> = container.alike.iter().map(|a| (a.standing.uid, a.pid, a.processes)).collect();
        assert_eq!(counts, [(0, 7, 2), (1000, 8, 1)]);
    }

    #[test]
    fn a_reader_in_a_smaller_world_than_the_nodes_is_blind() {
        let pods = [task(1, pod("a", "pause"), 0)];
        assert!(matches!(fold(Eye::TaskIterator, &pods, 9), Err(Blind::NotTheNode)));
        let own = [task(1, Some(Owner::Host), 0)];
        assert!(matches!(fold(Eye::TaskIterator, &own, 1), Err(Blind::NotTheNode)));
        assert!(matches!(fold(Eye::TaskIterator, &[], 9), Err(Blind::NotTheNode)));
        let kernel = [Task { kernel_thread: true, ..task(2, Some(Owner::Host), 0) }];
        assert!(fold(Eye::TaskIterator, &kernel, 9).is_ok());
    }

    #[test]
    fn mounts_that_could_not_be_read_everywhere_are_none() {
        let tasks = [task(1, Some(Owner::Host), 0), task(7, pod("a", "c"), 0), task(8, pod("b", "d"), 0)];
        let mut view = fold(Eye::TaskIterator, &tasks, 99).unwrap();
        add_mounts(&mut view, |_, container| (container.pod == "a").then(Vec::new));
        assert_eq!(view.containers[0].host_mounts, Some(Vec::new()));
        assert_eq!(view.containers[1].host_mounts, None);
    }
}
