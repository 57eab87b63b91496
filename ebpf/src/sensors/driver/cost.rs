//! What the programs cost, as the kernel counts it on request. Counting has a cost of its own: it is for benchmarks, not for
//! production.

use std::os::fd::OwnedFd;
use std::time::Duration;

use aya::Ebpf;
use aya::sys::{Stats, enable_stats};

use crate::Unavailable;

/// What one program has cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// Its name.
    pub program: String,
    /// How often it ran.
    pub runs: u64,
    /// How long all runs took together.
    pub time: Duration,
}

/// Lets the kernel count the cost of every program, until the returned descriptor is closed.
pub fn count_costs() -> Result<OwnedFd, Unavailable> {
    enable_stats(Stats::RunTime).map_err(|error| Unavailable::ReadFailed(error.io_error))
}

/// The programs that are loaded.
pub(super) fn read(ebpf: &Ebpf) -> Vec<Cost> {
    let loaded = ebpf.programs().filter_map(|(name, program)| Some((name, program.info().ok()?)));
    let cost = |(name, info): (&str, aya::programs::ProgramInfo)| Cost {
        program: name.to_owned(),
        runs: info.run_count(),
        time: info.run_time(),
    };
    loaded.map(cost).collect()
}
