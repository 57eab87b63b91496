//! Whose a cgroup is whose making nobody saw: any process that is in it now tells, through the kernel's own view. /proc shows
//! paths relative to the reader's cgroup namespace, in which everything of other Pods lies above the root.
//!
//! A look at every process costs something, and whoever fills the tables could ask for one at each of his behaviors: looking takes
//! a tenth of the time at most.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::Owner;
use crate::view::iterator::Iterator;

/// After a look that took so long, the next one waits so many times longer.
const REST: u32 = 9;

/// Every cgroup with a process, as of the last look.
pub(super) struct Living {
    processes: Iterator,
    owners: HashMap<u64, Owner>,
    /// Before this, nobody looks again.
    rests_until: Option<Instant>,
}

impl Living {
    pub(super) fn new(processes: Iterator) -> Self {
        Self { processes, owners: HashMap::new(), rests_until: None }
    }

    /// Whose it is; none if nothing lives in it, or if it is too early to look again.
    pub(super) fn owner(&mut self, serial: u64) -> Option<Owner> {
        if !self.owners.contains_key(&serial) && self.rests_until.is_none_or(|until| Instant::now() >= until) {
            self.look();
        }
        self.owners.get(&serial).cloned()
    }

    fn look(&mut self) {
        let began = Instant::now();
        // What cannot be read this time is nobody's, and is counted as such.
        let tasks = self.processes.tasks().unwrap_or_default();
        self.owners = tasks.into_iter().filter_map(|task| Some((task.cgroup, task.owner?))).collect();
        let took: Duration = began.elapsed();
        self.rests_until = Some(Instant::now() + took * REST);
    }
}
