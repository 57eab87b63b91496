//! Every running process of the node, folded by container and standing.
//!
//! [`KernelView`] asks the kernel through a BPF task iterator: no event can be missed, and a reading is a
//! moment's work. What it needs is CAP_BPF, CAP_PERFMON and the node's own pid namespace. Mounts, sockets and labels of the
//! containers come from /proc afterwards ([`mounts`], `sockets`, `label`), from files that need no right to trace.
//! Threads that stand otherwise than their process are counted once a process and standing.

pub(crate) mod fold;
pub(crate) mod iterator;
mod label;
pub mod mounts;
mod proc;
pub(crate) mod record;
mod sockets;
mod stray;

use fold::{Witness, Witnesses};
use holdfast_model::kernel::{HostMount, Namespaces, ProcessGroup, RunningContainer, ViewMethod};

use crate::Blind;

/// What runs on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// How it was read.
    pub method: ViewMethod,
    /// The node's own namespaces: those of its first process.
    pub host: Namespaces,
    /// How many processes there are, the kernel's own included.
    pub seen: u32,
    /// Every container with a process, by Pod uid and container id; under an empty id what is in none of its Pod's.
    pub containers: Vec<RunningContainer>,
    /// Processes whose owner could not be told: in cgroups nested deeper than anybody needs, or outside of what the reader of
    /// /proc sees.
    pub unattributed: u32,
    witnesses: Witnesses,
}

impl View {
    /// The containers of one Pod.
    pub fn pod<'a>(&'a self, uid: &'a str) -> impl Iterator<Item = &'a RunningContainer> {
        self.containers.iter().filter(move |container| container.pod == uid)
    }

    /// Adds the sockets that listen in the networks of the containers: a few files of /proc a network namespace.
    pub fn read_sockets(&mut self) {
        let is_it =
            |group: &ProcessGroup| proc::start_of(group.pid, group.pid).is_some_and(|start| start.is_of(group.started));
        sockets::add(&mut self.containers, &self.host, is_it);
    }

    /// Adds what the containers mount from the node: one file of /proc a mount namespace, that of a thread in it
    /// that sees all of it.
    pub fn read_mounts(&mut self) {
        let Some(host) = mounts::table(1, 1).filter(|_| !self.containers.is_empty()) else { return };
        let containers = self.containers.clone();
        fold::add_mounts(self, |witness, container| mounted(witness, container, &containers, &host));
    }
}

/// An open eye on the node's processes.
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
    /// Opens the task iterator and looks through it once.
    pub fn open() -> Result<Self, Blind> {
        let mut view = Self { source: Source::Iterator(Box::new(iterator::Iterator::load()?)) };
        view.processes()?;
        Ok(view)
    }

    /// Reads /proc instead. This needs CAP_SYS_PTRACE for the namespaces of others' processes, so nobody does it unasked.
    pub fn open_proc() -> Result<Self, Blind> {
        let mut view = Self { source: Source::Proc };
        view.processes()?;
        Ok(view)
    }

    /// Every process that runs now, and what its containers mount from the node.
    pub fn read(&mut self) -> Result<View, Blind> {
        let mut view = self.processes()?;
        view.read_sockets();
        view.read_mounts();
        Ok(view)
    }

    /// Every process that runs now; mounts are not looked at, and stand as unknown.
    pub fn processes(&mut self) -> Result<View, Blind> {
        let (method, mut tasks) = match &mut self.source {
            Source::Iterator(iterator) => (ViewMethod::TaskIterator, iterator.tasks()?),
            Source::Proc => (ViewMethod::Proc, proc::tasks()?),
        };
        label::add(&mut tasks);
        fold::fold(method, &tasks, std::process::id())
    }
}

fn mounted(
    witness: &Witness,
    container: &RunningContainer,
    all: &[RunningContainer],
    host: &[mounts::Mount],
) -> Option<Vec<HostMount>> {
    let table = mounts::table(witness.pid, witness.tid)?;
    // The number may have been given to another one since.
    proc::start_of(witness.pid, witness.tid).filter(|start| start.is_of(witness.started))?;
    let siblings = all.iter().filter(|other| other.pod == container.pod).map(|other| other.id.as_str());
    let own = mounts::Own { pod: &container.pod, containers: siblings.collect() };
    Some(mounts::host_mounts(host, &table, &own))
}

#[cfg(test)]
mod tests;
