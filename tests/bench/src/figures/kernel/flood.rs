//! Floods of starts, opens and connections, in alternating rounds: bare, under Holdfast's sensors, and under another tool
//! where that is installed. And the time of the BPF programs in them, as counted by the kernel.

use std::fs::File;
use std::net::TcpStream;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use holdfast_ebpf::Sensors;
use holdfast_ebpf::sensors::{Cost, count_costs};

use super::cell::{Cell, Tool};
use crate::figure::{Effort, Figure, Peer, Samples};

/// A flood of one kind of event, and the aims for it.
pub struct Flood {
    name: &'static str,
    whole: usize,
    peer: Option<&'static str>,
    aim: &'static str,
    /// The BPF programs that run for each event.
    programs: &'static [&'static str],
    aim_cost: &'static str,
}

pub const FLOODS: &[Flood] = &[
    Flood {
        name: "exec",
        whole: 2_000,
        peer: Some("execsnoop"),
        aim: "at most 1 % fewer starts",
        programs: &["process_exec", "process_forks", "namespace_clone", "probe_renamed"],
        aim_cost: "at most 1,000 ns a process",
    },
    Flood {
        name: "open",
        whole: 400_000,
        peer: Some("opensnoop"),
        aim: "at least 85 % of the bare rate",
        programs: &["file_opened"],
        aim_cost: "",
    },
    Flood {
        name: "connect",
        whole: 20_000,
        peer: None,
        aim: "at least 85 % of the bare rate",
        programs: &["socket_state", "file_connect"],
        aim_cost: "",
    },
];
/// Tools that print every event are slow: few rounds suffice to show it.
const PEER_ROUNDS: usize = 3;
/// The kernel's count has no peer to alternate with.
const FEW_ROUNDS: usize = 3;
/// Nothing listens here: every connection is refused and leaves no state behind.
const REFUSED: &str = "127.0.0.1:1";

/// Runs the flood itself: repeats one operation and prints how many seconds that took.
pub fn run_flood(name: &str, count: &str) -> Result<ExitCode> {
    let count: usize = count.parse()?;
    let start = Instant::now();
    for _ in 0..count {
        match name {
            "exec" => ensure!(Command::new("/bin/true").status()?.success(), "true has failed"),
            "open" => drop(File::open("/etc/hostname")?),
            "connect" => ensure!(TcpStream::connect(REFUSED).is_err(), "something listens at {REFUSED}"),
            _ => bail!("there is no flood {name:?}"),
        }
    }
    println!("{}", start.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}

/// Events a second, with and without the sensors.
pub fn rate(effort: &Effort, cell: &Cell, flood: &Flood) -> Result<Figure> {
    let (mut bare, mut ours, mut peer) = (Samples::default(), Samples::default(), Samples::default());
    let mut curve = Vec::new();
    for size in effort.sizes(flood.whole) {
        (bare, ours, peer) = (Samples::default(), Samples::default(), Samples::default());
        let mut seconds = Samples::default();
        for round in 0..rounds(effort, size, flood) {
            bare.push(size as f64 / cell.run(flood.name, size)?);
            let taken = watched(cell, |_| cell.run(flood.name, size))?;
            seconds.push(taken);
            ours.push(size as f64 / taken);
            let tool = flood.peer.filter(|_| round < PEER_ROUNDS).map(Tool::start).transpose()?.flatten();
            if tool.is_some() {
                peer.push(size as f64 / cell.run(flood.name, size)?);
            }
        }
        curve.push((size, seconds.median()));
    }
    let mut peers = vec![Peer { name: "without any", samples: bare }];
    peers.extend(flood.peer.map(|name| Peer { name, samples: peer }));
    Ok(Figure {
        name: format!("{} flood under the sensors", flood.name),
        unit: "a second",
        n: effort.size(flood.whole),
        samples: ours,
        cpu: None,
        peak: None,
        peers,
        curve,
        aim: flood.aim,
    })
}

/// Attaching and detaching every program takes a second or two, so the smaller sizes, which only serve the curve, have fewer
/// rounds.
fn rounds(effort: &Effort, size: usize, flood: &Flood) -> usize {
    let most = if size < effort.size(flood.whole) { FEW_ROUNDS } else { usize::MAX };
    effort.rounds().min(most)
}

/// How long the programs run per event. The kernel reads its clock twice a run, which is part of what it counts.
pub fn cost(effort: &Effort, cell: &Cell, flood: &Flood) -> Result<Figure> {
    let (mut ours, mut curve, mut each) = (Samples::default(), Vec::new(), Vec::new());
    for size in effort.sizes(flood.whole) {
        ours = Samples::default();
        each = flood.programs.iter().map(|name| Peer { name, samples: Samples::default() }).collect();
        watched(cell, |sensors| {
            let _counting = count_costs()?;
            for _ in 0..effort.rounds().min(FEW_ROUNDS) {
                let before = sensors();
                cell.run(flood.name, size)?;
                let after = sensors();
                let runs: Vec<f64> = each.iter().map(|one| nanoseconds_a_run(one.name, &before, &after)).collect();
                each.iter_mut().zip(&runs).for_each(|(one, run)| one.samples.push(*run));
                ours.push(runs.iter().sum());
            }
            Ok(())
        })?;
        curve.push((size, ours.median() * size as f64));
    }
    // With one program the sum is the only figure.
    let peers = if each.len() > 1 { each } else { Vec::new() };
    Ok(Figure {
        name: format!(
            "time in the kernel's programs a{} {}",
            if flood.name == "connect" { "" } else { "n" },
            flood.name
        ),
        unit: "ns",
        n: effort.size(flood.whole),
        samples: ours,
        cpu: None,
        peak: None,
        peers,
        curve,
        aim: flood.aim_cost,
    })
}

/// Nanoseconds a run.
fn nanoseconds_a_run(program: &str, before: &[Cost], after: &[Cost]) -> f64 {
    let of = |costs: &[Cost]| {
        costs
            .iter()
            .find(|cost| cost.program == program)
            .map_or((0.0, 0.0), |cost| (cost.time.as_secs_f64() * 1e9, cost.runs as f64))
    };
    let ((before, runs_before), (after, runs_after)) = (of(before), of(after));
    (after - before) / (runs_after - runs_before).max(1.0)
}

/// Runs something while the sensors are open and read, and checks by the cell's counters that they lost no event. The function
/// may read what the programs cost.
fn watched<T>(cell: &Cell, what: impl FnOnce(&dyn Fn() -> Vec<Cost>) -> Result<T>) -> Result<T> {
    let sensors = std::sync::Mutex::new(Sensors::open()?);
    let locked = || sensors.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| -> Result<()> {
            while !over.load(Ordering::Relaxed) {
                locked().wait(Duration::from_millis(100))?;
                locked().poll();
            }
            // Only this cell's counters: other containers of the machine may cause events too.
            let own =
                locked().counters_by_owner()?.by_owner.remove(&cell.owner()?).context("the cell has no counters")?;
            let counted = own.counters;
            ensure!(counted.dropped == 0 && counted.generated == counted.delivered + counted.folded, "lost: {own:?}");
            Ok(())
        });
        let result = what(&|| locked().costs());
        over.store(true, Ordering::Relaxed);
        reader.join().map_err(|_| anyhow!("the reader has failed"))??;
        result
    })
}
