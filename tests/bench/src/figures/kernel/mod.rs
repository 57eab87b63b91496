//! What the kernel's eye costs: a reading of every process and of every mount, storms of starts, opens and connections under
//! the sensors, what one core makes of their records, and the eye at rest and over churn.
//!
//! Everything runs in cgroups shaped like containers', connections go to loopback. Needs root, the unified cgroup hierarchy
//! and tracefs; Debian's execsnoop and opensnoop (libbpf-tools) run beside ours where they are installed.

mod cell;
mod eye;
mod flood;
mod records;
mod view;

use std::process::ExitCode;

use anyhow::Result;

use crate::figure::{Effort, Figure};
use cell::{Cell, Tracefs};

/// The floors that `--floor` may ask for.
pub const FLOORS: &[&str] = &["exec", "open", "connect", "eye"];

/// A reading of every process, and of every mount.
pub fn views(effort: &Effort) -> Result<Vec<Figure>> {
    let _tracefs = Tracefs::mounted()?;
    Ok(vec![view::processes(effort, &Cell::new()?)?, view::mounts(effort)?])
}

/// Storms under the sensors: how fast they still are, and what the programs take.
pub fn storms(effort: &Effort) -> Result<Vec<Figure>> {
    let _tracefs = Tracefs::mounted()?;
    let cell = Cell::new()?;
    let of = |storm| [flood::rate(effort, &cell, storm), flood::cost(effort, &cell, storm)];
    flood::FLOODS.iter().flat_map(of).collect()
}

/// What one core makes of the kernel's records.
pub fn records(effort: &Effort) -> Result<Vec<Figure>> {
    let _tracefs = Tracefs::mounted()?;
    records::measure(effort, &Cell::new()?)
}

/// The eye at rest, and while containers come and go.
pub fn rest(effort: &Effort) -> Result<Vec<Figure>> {
    let _tracefs = Tracefs::mounted()?;
    Ok(vec![eye::idle(effort)?, eye::churn(effort)?])
}

/// Is one of the floors.
pub fn be_floor(name: &str, count: &str) -> Result<ExitCode> {
    match name {
        "eye" => eye::be_eye(),
        _ => flood::be_flood(name, count),
    }
}
