//! Escaped processes: those that left their container by its cgroup. A process with write access to the node's cgroups can move
//! itself among the node's own processes, but it keeps its namespaces: where one of them is a container's and not the node's, the
//! process belongs to that Pod.
//!
//! Pure. A thread of a process that is in the node's namespaces does not count: runtimes enter a Pod's network that way. A process
//! that is in the node's namespaces only cannot be told from the node's own, and neither can one whose Pod has ended.

use std::collections::{BTreeSet, HashMap, HashSet};

use holdfast_model::kernel::Namespaces;

use super::record::Task;
use crate::Owner;

/// The namespaces that containers use, and the processes that are in the node's own only.
pub(super) struct NamespaceIndex<'a> {
    host: Namespaces,
    /// Kind and inode of a namespace -> uids of the Pods in it.
    pods: HashMap<(usize, u32), BTreeSet<&'a str>>,
    host_processes: HashSet<u32>,
}

impl<'a> NamespaceIndex<'a> {
    pub(super) fn of(tasks: &'a [Task], host: Namespaces) -> Self {
        let mut index = Self { host, pods: HashMap::new(), host_processes: HashSet::new() };
        for task in tasks {
            match &task.owner {
                Some(Owner::Pod { pod, .. }) => {
                    for namespace in index.not_hosts(&task.privileges.namespaces) {
                        index.pods.entry(namespace).or_default().insert(pod);
                    }
                }
                Some(Owner::Host) if task.pid == task.tid && task.privileges.namespaces == host => {
                    index.host_processes.insert(task.pid);
                }
                _ => {}
            }
        }
        index
    }

    /// The Pods that a process outside of their cgroups belongs to: none for nearly all processes.
    pub(super) fn escaped_from(&self, task: &Task) -> BTreeSet<&'a str> {
        let is_attributed = matches!(task.owner, Some(Owner::Pod { .. }));
        if task.kernel_thread || is_attributed || self.host_processes.contains(&task.pid) {
            return BTreeSet::new();
        }
        let namespaces = self.not_hosts(&task.privileges.namespaces);
        namespaces.into_iter().filter_map(|namespace| self.pods.get(&namespace)).flatten().copied().collect()
    }

    /// Those of the namespaces that are not the node's.
    fn not_hosts(&self, of: &Namespaces) -> Vec<(usize, u32)> {
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

    fn with(namespaces: Namespaces, mut task: Task) -> Task {
        task.privileges.namespaces = namespaces;
        task
    }

    fn of_pod(pid: u32) -> Task {
        with(POD, task(pid, Some(Owner::Pod { pod: "a".into(), container: "c".into() }), 0))
    }

    fn of_node(pid: u32, namespaces: Namespaces) -> Task {
        with(namespaces, task(pid, Some(Owner::Host), 0))
    }

    /// The uids of the Pods that the last of these has escaped from.
    #[track_caller]
    fn escapes(tasks: &[Task], expected: &[&str]) {
        let index = NamespaceIndex::of(tasks, HOST);
        let pods: Vec<_> = index.escaped_from(tasks.last().unwrap()).into_iter().collect();
        assert_eq!(pods, expected);
    }

    #[test]
    fn a_process_among_the_nodes_in_a_containers_namespace_is_its_pods() {
        escapes(&[of_pod(7), of_node(8, POD)], &["a"]);
        for shared in [
            Namespaces { mnt: 14, ..HOST },
            Namespaces { pid: 12, ..HOST },
            Namespaces { net: 13, ..HOST },
            Namespaces { ipc: 15, mnt: 99, ..HOST },
        ] {
            escapes(&[of_pod(7), of_node(8, shared)], &["a"]);
        }
    }

    #[test]
    fn the_nodes_own_processes_stay_the_nodes() {
        escapes(&[of_pod(7), of_node(8, HOST)], &[]);
        escapes(&[of_pod(7), of_node(8, Namespaces { mnt: 99, ..HOST })], &[]);
        escapes(&[with(HOST, of_pod(7)), of_node(8, HOST)], &[]);
        let unread = Namespaces::default();
        escapes(&[with(unread, of_pod(7)), of_node(8, unread)], &[]);
        let kernel = Task { kernel_thread: true, ..of_node(8, POD) };
        escapes(&[of_pod(7), kernel], &[]);
    }

    #[test]
    fn a_thread_of_a_runtime_may_enter_a_pods_network() {
        let thread = Task { tid: 9, ..of_node(8, Namespaces { net: 13, ..HOST }) };
        escapes(&[of_pod(7), of_node(8, HOST), thread.clone()], &[]);
        escapes(&[of_pod(7), thread], &["a"]);
    }
}
