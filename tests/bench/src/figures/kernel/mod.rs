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

/// Every figure of the kernel's.
pub fn measure(effort: &Effort) -> Result<Vec<Figure>> {
    let _tracefs = Tracefs::mounted()?;
    let cell = Cell::new()?;
    let mut figures = vec![view::processes(effort, &cell)?, view::mounts(effort)?];
    for storm in flood::FLOODS {
        figures.push(flood::rate(effort, &cell, storm)?);
        figures.push(flood::cost(effort, &cell, storm)?);
    }
    figures.push(records::measure(effort, &cell)?);
    figures.push(eye::idle(effort)?);
    figures.push(eye::churn(effort)?);
    Ok(figures)
}

/// Is one of the floors.
pub fn be_floor(name: &str, count: &str) -> Result<ExitCode> {
    match name {
        "eye" => eye::be_eye(),
        _ => flood::be_flood(name, count),
    }
}
