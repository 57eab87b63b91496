//! The machine on which the figures were measured.

use std::fmt;
use std::fs;
use std::num::NonZero;
use std::thread;

use serde::Serialize;

/// The size of this machine.
#[derive(Debug, Serialize)]
pub struct Machine {
    cores: usize,
    memory_gib: u64,
    processor: String,
    kernel: String,
    profile: &'static str,
}

impl Machine {
    /// Reads /proc.
    pub fn read() -> Self {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kibibytes = field(&memory, "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        Self {
            cores: thread::available_parallelism().map_or(1, NonZero::get),
            memory_gib: kibibytes.unwrap_or(0).div_ceil(1 << 20),
            processor: field(&cpu, "model name").unwrap_or("unknown").to_owned(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" },
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, memory_gib, processor, kernel, profile } = self;
        write!(f, "{cores} cores ({processor}), {memory_gib} GiB, Linux {kernel}, {profile} build")
    }
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}
