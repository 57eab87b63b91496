//! `make bench`: one line of JSON per figure while it runs, and a table for the README at the end.
//!
//! One file per figure in `figures/`; to add one, write the file, declare it in `figures/mod.rs` and list it below. Every
//! figure alternates with its floor or peer in the same run, and reports how its cost grows over four sizes. `--quick` runs
//! all of them at toy sizes: its numbers mean nothing, but it shows that every figure still runs.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;

mod child;
mod client;
mod figure;
mod figures;
mod fixture;
mod load;
mod machine;
mod proxy;

use figure::{Effort, Figure};

/// Measures Holdfast and prints one line of JSON per figure, then a table.
#[derive(Debug, Parser)]
#[command(name = "holdfast-bench")]
struct Bench {
    /// Only these figures, or those whose names begin with this (`kernel`); all of them when none is named
    figures: Vec<String>,
    /// Toy sizes, to check that everything runs
    #[arg(long)]
    quick: bool,
    /// How many seconds containers start and end while the kernel sensors are measured
    #[arg(long, value_name = "SECONDS", default_value_t = 24)]
    churn: u64,
    /// Run one of the floors that figures are measured against; used by the benchmarks themselves
    #[arg(long, hide = true, num_args = 2, value_names = ["FLOOR", "FILE"])]
    floor: Option<Vec<String>>,
}

/// A figure's name, and the function that measures it.
type FigureEntry = (&'static str, fn(&Effort) -> Result<Vec<Figure>>);

const FIGURES: &[FigureEntry] = &[
    ("check-files", figures::check_files::measure),
    ("cold-start", figures::cold_start::measure),
    ("kernel-view", figures::kernel::views),
    ("kernel-storms", figures::kernel::storms),
    ("kernel-records", figures::kernel::records),
    ("kernel-rest", figures::kernel::rest),
    ("live", figures::live::measure),
    ("store-insert", figures::store_insert::measure),
    ("stored", figures::stored::measure),
];

fn main() -> Result<ExitCode> {
    let bench = Bench::parse();
    if let Some([floor, file]) = bench.floor.as_deref() {
        return match floor.as_str() {
            floor if figures::kernel::FLOORS.contains(&floor) => figures::kernel::run_floor(floor, file),
            _ => figures::check_files::run_floor(floor, file.as_ref()),
        };
    }
    let effort = Effort::new(bench.quick, Duration::from_secs(bench.churn));
    let machine = machine::Machine::read();
    let mut measured = Vec::new();
    for (name, measure) in wanted(&bench.figures)? {
        let figures = measure(&effort).with_context(|| format!("measuring {name}"))?;
        for figure in figures {
            println!("{}", figure.line(&machine)?);
            measured.push(figure);
        }
    }
    println!("\n{}", figure::table(&measured, &machine));
    Ok(ExitCode::SUCCESS)
}

fn wanted(names: &[String]) -> Result<Vec<FigureEntry>> {
    if names.is_empty() {
        return Ok(FIGURES.to_vec());
    }
    let find = |name: &String| {
        let is_selected = |entry: &&FigureEntry| entry.0 == name || entry.0.starts_with(&format!("{name}-"));
        let selected: Vec<_> = FIGURES.iter().filter(is_selected).copied().collect();
        if selected.is_empty() {
            let known: Vec<_> = FIGURES.iter().map(|(name, _)| *name).collect();
            bail!("there is no figure {name:?}: use one of {}", known.join(", "));
        }
        Ok(selected)
    };
    let found: Vec<_> = names.iter().map(find).collect::<Result<_>>()?;
    Ok(found.concat())
}
