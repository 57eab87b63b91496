//! Runs a program once and measures its cost: wall time, CPU time of the process and its children, and peak memory.
//!
//! CPU time is the kernel's own count of waited-for children, in ticks of 10 ms. Peak memory is the kernel's high-water
//! mark, read every 2 ms while the program runs: growth in its last 2 ms may be missed.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The cost of a run.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Seconds from start to end.
    pub wall: f64,
    /// Seconds on all cores.
    pub cpu: f64,
    /// MiB at the peak.
    pub peak: f64,
}

const TICKS_PER_SECOND: f64 = 100.0;
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Runs a program to its end and discards its output.
pub fn run(program: &Path, arguments: &[&str]) -> Result<(Cost, ExitStatus)> {
    let before = waited_cpu();
    let start = Instant::now();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("starting {}", program.display()))?;
    let ended = AtomicBool::new(false);
    let pid = child.id();
    let (status, peak, wall) = thread::scope(|scope| {
        let watch = scope.spawn(|| watch_peak(pid, &ended));
        let status = child.wait();
        let wall = start.elapsed().as_secs_f64();
        ended.store(true, Ordering::Relaxed);
        (status, watch.join().unwrap_or(0), wall)
    });
    let cpu = waited_cpu() - before;
    Ok((Cost { wall, cpu, peak: peak as f64 / 1024.0 }, status?))
}

/// The cost of a running process so far: CPU seconds, and its peak memory in MiB.
pub fn so_far(pid: u32) -> Result<(f64, f64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok((ticks(&stat, 11), high_water(&status) as f64 / 1024.0))
}

fn watch_peak(pid: u32, ended: &AtomicBool) -> u64 {
    let mut peak = 0;
    while !ended.load(Ordering::Relaxed) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        peak = peak.max(high_water(&status));
        thread::sleep(POLL_INTERVAL);
    }
    peak
}

/// Peak in KiB, from `/proc/<pid>/status`.
fn high_water(status: &str) -> u64 {
    let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().split(' ').next()?.parse().ok());
    mark.unwrap_or(0)
}

/// CPU seconds of all children that were waited for: fields 16 and 17 of `/proc/self/stat`.
fn waited_cpu() -> f64 {
    ticks(&fs::read_to_string("/proc/self/stat").unwrap_or_default(), 13)
}

/// Two neighbouring fields of a `/proc/<pid>/stat` in seconds, counted from behind the name in parentheses.
fn ticks(stat: &str, skip: usize) -> f64 {
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: f64 = fields.split_whitespace().skip(skip).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks / TICKS_PER_SECOND
}
