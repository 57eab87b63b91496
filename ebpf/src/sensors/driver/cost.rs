//! What the programs cost, as the kernel itself counts it where it is asked to. Counting costs something too: it is for
//! measuring, not for a node at work.

use std::os::fd::OwnedFd;
use std::time::Duration;

use aya::Ebpf;
use aya::sys::{Stats, enable_stats};

use crate::Blind;

/// What one program has cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// Its name.
    pub program: String,
    /// How often it ran.
    pub runs: u64,
    /// How long all these runs took.
    pub time: Duration,
}

/// Lets the kernel count what every program costs, for as long as the answer is kept.
pub fn count_costs() -> Result<OwnedFd, Blind> {
    enable_stats(Stats::RunTime).map_err(|error| Blind::Broken(error.io_error))
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
