//! The owner of a cgroup that was made before the sensors were attached, from the processes that are in it now. /proc cannot
//! answer this: its paths are relative to the reader's cgroup namespace, in which other Pods lie above the root.
//!
//! Reading every process is expensive, and a container could cause it with every event: readings take a tenth of the time at
//! most.

use std::collections::HashMap;
use std::time::Instant;

use crate::Owner;
use crate::view::iterator::Iterator;

/// The next reading waits so many times as long as the last one took.
const PAUSE_FACTOR: u32 = 9;

/// Every cgroup with a process, as of the last reading.
pub(super) struct LiveCgroups {
    processes: Iterator,
    owners: HashMap<u64, Owner>,
    next_reading: Option<Instant>,
}

impl LiveCgroups {
    pub(super) fn new(processes: Iterator) -> Self {
        Self { processes, owners: HashMap::new(), next_reading: None }
    }

    /// The owner; none if the cgroup has no process, or if it is too early for another reading.
    pub(super) fn owner(&mut self, serial: u64) -> Option<Owner> {
        if !self.owners.contains_key(&serial) && self.next_reading.is_none_or(|at| Instant::now() >= at) {
            self.read();
        }
        self.owners.get(&serial).cloned()
    }

    fn read(&mut self) {
        let began = Instant::now();
        // After a failed reading every owner is unknown, and events are counted as unattributed.
        let tasks = self.processes.tasks().unwrap_or_default();
        self.owners = tasks.into_iter().filter_map(|task| Some((task.cgroup, task.owner?))).collect();
        self.next_reading = Some(Instant::now() + began.elapsed() * PAUSE_FACTOR);
    }
}
