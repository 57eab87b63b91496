//! The cost of the kernel view and the sensors: reading every process and every mount, floods of starts, opens and
//! connections under the sensors, the records that one core decodes, and the node part idle and over churn.
//!
//! Everything runs in cgroups named like containers', connections go to loopback. Needs root, the unified cgroup hierarchy
//! and tracefs; Debian's execsnoop and opensnoop (libbpf-tools) run in the same rounds where they are installed.

mod cell;
mod flood;
mod node_part;
mod records;
mod view;

use std::process::ExitCode;

use anyhow::Result;

use crate::figure::{Effort, Figure};
use cell::{Cell, Tracefs};

/// The floors that `--floor` may ask for.
pub const FLOORS: &[&str] = &["exec", "open", "connect", "node-part"];

/// Reading every process, and every mount.
pub fn views(effort: &Effort) -> Result<Vec<Figure>> {
    let _tracefs = Tracefs::mounted()?;
    Ok(vec![view::processes(effort, &Cell::new()?)?, view::mounts(effort)?])
}

/// Floods under the sensors: their rate, and the time of the BPF programs.
pub fn storms(effort: &Effort) -> Result<Vec<Figure>> {
    let _tracefs = Tracefs::mounted()?;
    let cell = Cell::new()?;
    let of = |flood| [flood::rate(effort, &cell, flood), flood::cost(effort, &cell, flood)];
    flood::FLOODS.iter().flat_map(of).collect()
}

/// How many of the kernel's records one core decodes.
pub fn records(effort: &Effort) -> Result<Vec<Figure>> {
    let _tracefs = Tracefs::mounted()?;
    records::measure(effort, &Cell::new()?)
}

/// The node part idle, and while containers start and end.
pub fn rest(effort: &Effort) -> Result<Vec<Figure>> {
    let _tracefs = Tracefs::mounted()?;
    Ok(vec![node_part::idle(effort)?, node_part::churn(effort)?])
}

/// Runs one of the floors.
pub fn run_floor(name: &str, count: &str) -> Result<ExitCode> {
    match name {
        "node-part" => node_part::run(),
        _ => flood::run_flood(name, count),
    }
}
