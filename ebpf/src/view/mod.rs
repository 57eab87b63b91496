//! Every running process of the node, folded by container and privileges.
//!
//! [`KernelView`] reads the kernel through a BPF task iterator: a reading is complete and takes milliseconds. It needs CAP_BPF,
//! CAP_PERFMON and the node's own pid namespace. Mounts, sockets and labels of the
//! containers come from /proc afterwards ([`mounts`], `sockets`, `label`), from files that need no right to trace.
//! A thread whose privileges differ from its process's is counted too, once per process and set of privileges.

mod escaped;
pub(crate) mod fold;
pub(crate) mod iterator;
mod label;
pub mod mounts;
mod proc;
pub(crate) mod record;
mod sockets;

use fold::{MountReader, MountReaders};
use holdfast_model::kernel::{HostMount, Namespaces, ProcessGroup, RunningContainer, ViewMethod};

use crate::Unavailable;

/// What runs on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// How it was read.
    pub method: ViewMethod,
    /// The node's own namespaces: those of its first process.
    pub host: Namespaces,
    /// How many processes there are, the kernel's own included.
    pub process_count: u32,
    /// Every container with a process, by Pod uid and container id; under an empty id processes that are in no container of their Pod.
    pub containers: Vec<RunningContainer>,
    /// Processes whose owner is unknown: in cgroups that are nested too deep, or outside of what the reader of /proc sees.
    pub unattributed: u32,
    mount_readers: MountReaders,
}

impl View {
    /// The containers of one Pod.
    pub fn pod<'a>(&'a self, uid: &'a str) -> impl Iterator<Item = &'a RunningContainer> {
        self.containers.iter().filter(move |container| container.pod == uid)
    }

    /// Adds the sockets that listen in the networks of the containers: a few files of /proc per network namespace.
    pub fn read_sockets(&mut self) {
        let is_same =
            |group: &ProcessGroup| proc::start_of(group.pid, group.pid).is_some_and(|start| start.is_of(group.started));
        sockets::add(&mut self.containers, &self.host, is_same);
    }

    /// Adds what the containers mount from the node: one file of /proc per mount namespace, that of a thread that sees all of its
    /// mounts.
    pub fn read_mounts(&mut self) {
        let Some(host) = mounts::table(1, 1).filter(|_| !self.containers.is_empty()) else { return };
        let containers = self.containers.clone();
        fold::add_mounts(self, |reader, container| host_mounts(reader, container, &containers, &host));
    }
}

/// Read access to the node's processes.
#[derive(Debug)]
pub struct KernelView {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Iterator(Box<iterator::Iterator>),
    Proc,
}

impl KernelView {
    /// Loads the task iterator and reads it once.
    pub fn open() -> Result<Self, Unavailable> {
        let mut view = Self { source: Source::Iterator(Box::new(iterator::Iterator::load()?)) };
        view.processes()?;
        Ok(view)
    }

    /// Reads /proc instead. This needs CAP_SYS_PTRACE for the namespaces of processes of other users, so it is never the default.
    pub fn open_proc() -> Result<Self, Unavailable> {
        let mut view = Self { source: Source::Proc };
        view.processes()?;
        Ok(view)
    }

    /// Every process that runs now, and what its containers mount from the node.
    pub fn read(&mut self) -> Result<View, Unavailable> {
        let mut view = self.processes()?;
        view.read_sockets();
        view.read_mounts();
        Ok(view)
    }

    /// Every process that runs now; mounts and sockets are not read, and are unknown.
    pub fn processes(&mut self) -> Result<View, Unavailable> {
        let (method, mut tasks) = match &mut self.source {
            Source::Iterator(iterator) => (ViewMethod::TaskIterator, iterator.tasks()?),
            Source::Proc => (ViewMethod::Proc, proc::tasks()?),
        };
        label::add(&mut tasks);
        fold::fold(method, &tasks, std::process::id())
    }
}

fn host_mounts(
    reader: &MountReader,
    container: &RunningContainer,
    all: &[RunningContainer],
    host: &[mounts::Mount],
) -> Option<Vec<HostMount>> {
    let table = mounts::table(reader.pid, reader.tid)?;
    // The pid may belong to another process by now.
    proc::start_of(reader.pid, reader.tid).filter(|start| start.is_of(reader.started))?;
    let siblings = all.iter().filter(|other| other.pod == container.pod).map(|other| other.id.as_str());
    let own = mounts::PodFiles { pod: &container.pod, containers: siblings.collect() };
    Some(mounts::host_mounts(host, &table, &own))
}

#[cfg(test)]
mod tests;
