//! Processes that left their container by its cgroup: whoever may write to the node's cgroups can put himself among the node's
//! own processes. His namespaces stay: where they are a container's and not the node's, he is that Pod's.
//!
//! Pure. A thread of a process that lives in the node's namespaces is none: runtimes reach into a Pod's network that way. Who
//! stands in the node's namespaces all over can't be told from the node's own, and neither can one whose Pod has ended.

use std::collections::{BTreeSet, HashMap, HashSet};

use holdfast_model::kernel::Namespaces;

use super::record::Task;
use crate::Owner;

/// The namespaces that containers live in, and who is at home on the node.
pub(super) struct Rooms<'a> {
    host: Namespaces,
    /// Kind and inode of a namespace -> uids of the Pods in it.
    pods: HashMap<(usize, u32), BTreeSet<&'a str>>,
    at_home: HashSet<u32>,
}

impl<'a> Rooms<'a> {
    pub(super) fn of(tasks: &'a [Task], host: Namespaces) -> Self {
        let mut rooms = Self { host, pods: HashMap::new(), at_home: HashSet::new() };
        for task in tasks {
            match &task.owner {
                Some(Owner::Pod { pod, .. }) => {
                    for space in rooms.own(&task.privileges.namespaces) {
                        rooms.pods.entry(space).or_default().insert(pod);
                    }
                }
                Some(Owner::Host) if task.pid == task.tid && task.privileges.namespaces == host => {
                    rooms.at_home.insert(task.pid);
                }
                _ => {}
            }
        }
        rooms
    }

    /// The Pods that a process of the node's, or of nobody's, really belongs to: mostly none.
    pub(super) fn strayed_from(&self, task: &Task) -> BTreeSet<&'a str> {
        let placed = matches!(task.owner, Some(Owner::Pod { .. }));
        if task.kernel_thread || placed || self.at_home.contains(&task.pid) {
            return BTreeSet::new();
        }
        let pods = self.own(&task.privileges.namespaces).into_iter().filter_map(|space| self.pods.get(&space));
        pods.flatten().copied().collect()
    }

    /// Those namespaces that are not the node's.
    fn own(&self, of: &Namespaces) -> Vec<(usize, u32)> {
        let both = of.each().into_iter().zip(self.host.each()).enumerate();
        both.filter(|(_, (own, host))| own != host && *own != 0).map(|(kind, (own, _))| (kind, own)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fold::tests::task;
    use super::*;

    const HOST: Namespaces = Namespaces { user: 1, pid: 2, net: 3, mnt: 4, ipc: 5, uts: 6, cgroup: 7 };
    const POD: Namespaces = Namespaces { user: 1, pid: 12, net: 13, mnt: 14, ipc: 15, uts: 16, cgroup: 7 };

    fn at(task: Task, namespaces: Namespaces) -> Task {
        let mut task = task;
        task.privileges.namespaces = namespaces;
        task
    }

    fn of_pod(pid: u32) -> Task {
        at(task(pid, Some(Owner::Pod { pod: "a".into(), container: "c".into() }), 0), POD)
    }

    fn of_node(pid: u32, namespaces: Namespaces) -> Task {
        at(task(pid, Some(Owner::Host), 0), namespaces)
    }

    /// uids of the Pods that the last of these has strayed from.
    #[track_caller]
    fn strays(tasks: &[Task], expected: &[&str]) {
        let rooms = Rooms::of(tasks, HOST);
        let pods: Vec<_> = rooms.strayed_from(tasks.last().unwrap()).into_iter().collect();
        assert_eq!(pods, expected);
    }

    #[test]
    fn a_process_of_the_nodes_in_a_containers_namespace_is_its_pods() {
        strays(&[of_pod(7), of_node(8, POD)], &["a"]);
        for shared in [
            Namespaces { mnt: 14, ..HOST },
            Namespaces { pid: 12, ..HOST },
            Namespaces { net: 13, ..HOST },
            Namespaces { ipc: 15, mnt: 99, ..HOST },
        ] {
            strays(&[of_pod(7), of_node(8, shared)], &["a"]);
        }
    }

    #[test]
    fn the_nodes_own_processes_stay_the_nodes() {
        strays(&[of_pod(7), of_node(8, HOST)], &[]);
        strays(&[of_pod(7), of_node(8, Namespaces { mnt: 99, ..HOST })], &[]);
        strays(&[at(of_pod(7), HOST), of_node(8, HOST)], &[]);
        let unread = Namespaces::default();
        strays(&[at(of_pod(7), unread), of_node(8, unread)], &[]);
        let kernel = Task { kernel_thread: true, ..of_node(8, POD) };
        strays(&[of_pod(7), kernel], &[]);
    }

    #[test]
    fn a_thread_of_a_runtime_may_enter_a_pods_network() {
        let thread = Task { tid: 9, ..of_node(8, Namespaces { net: 13, ..HOST }) };
        strays(&[of_pod(7), of_node(8, HOST), thread.clone()], &[]);
        strays(&[of_pod(7), thread], &["a"]);
    }
}
