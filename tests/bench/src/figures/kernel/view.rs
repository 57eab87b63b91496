//! Reading every process of a node, compared with /proc; and, separately, reading what its containers mount.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use holdfast_ebpf::{KernelView, View};

use super::cell::Cell;
use crate::figure::{Effort, Figure, Peer, Samples};

const PROCESSES: usize = 10_000;
/// As many containers as a kubelet runs Pods by default.
const CONTAINERS: usize = 110;
/// Reading /proc takes seconds, so it has fewer rounds.
const PEER_ROUNDS: usize = 3;

/// What every process is.
pub fn processes(effort: &Effort, cell: &Cell) -> Result<Figure> {
    let (mut iterator, mut proc) = (KernelView::open()?, KernelView::open_proc()?);
    let (mut ours, mut peers, mut curve) = (Samples::default(), Samples::default(), Vec::new());
    let mut sleepers = Sleepers::default();
    for size in effort.sizes(PROCESSES) {
        sleepers.grow_to(size, cell)?;
        (ours, peers) = (Samples::default(), Samples::default());
        for round in 0..effort.rounds() {
            ours.push(read(&mut iterator, size)?);
            if round < PEER_ROUNDS {
                peers.push(read(&mut proc, size)?);
            }
        }
        curve.push((size, ours.median()));
    }
    Ok(Figure {
        name: "kernel view of every process".to_owned(),
        unit: "ms",
        n: effort.size(PROCESSES),
        samples: ours,
        cpu: None,
        peak: None,
        peers: vec![Peer { name: "/proc", samples: peers }],
        curve,
        aim: "under 50 ms",
    })
}

fn read(view: &mut KernelView, least: usize) -> Result<f64> {
    let start = Instant::now();
    let seen = view.processes()?.process_count;
    let elapsed = start.elapsed().as_secs_f64() * 1e3;
    ensure!(usize::try_from(seen)? > least, "only {seen} processes of at least {least} were seen");
    Ok(elapsed)
}

/// What containers mount: each has a mount namespace of its own, and four processes in it.
pub fn mounts(effort: &Effort) -> Result<Figure> {
    let (mut view, mut ours, mut curve) = (KernelView::open()?, Samples::default(), Vec::new());
    let mut containers = Vec::new();
    for size in effort.sizes(CONTAINERS) {
        while containers.len() < size {
            let cell = Cell::numbered(1000 + u64::try_from(containers.len())?)?;
            let inside = Sleepers::apart(&cell)?;
            containers.push((inside, cell));
        }
        let read = view.processes()?;
        ours = (0..effort.rounds()).map(|_| mounted(&read, size)).collect::<Result<_>>()?;
        curve.push((size, ours.median()));
    }
    Ok(Figure {
        name: "mounts of every container, read once a mount namespace".to_owned(),
        unit: "ms",
        n: effort.size(CONTAINERS),
        samples: ours,
        cpu: None,
        peak: None,
        peers: Vec::new(),
        curve,
        aim: "measured apart from the processes",
    })
}

fn mounted(view: &View, least: usize) -> Result<f64> {
    let mut view = view.clone();
    let start = Instant::now();
    view.read_mounts();
    let elapsed = start.elapsed().as_secs_f64() * 1e3;
    let read = view.containers.iter().filter(|container| container.host_mounts.is_some()).count();
    ensure!(read >= least, "the mounts of {read} containers of at least {least} were read");
    Ok(elapsed)
}

/// Idle processes; they are killed when this is dropped.
#[derive(Default)]
struct Sleepers(Vec<Child>);

const SLEEP: &str = "/bin/sleep";

impl Sleepers {
    /// Four in a mount namespace of their own; they are there when this returns.
    fn apart(cell: &Cell) -> Result<Self> {
        let script = "for n in 1 2 3; do \"$0\" 3600 & done; echo; exec \"$0\" 3600";
        let mut first = cell.command("unshare");
        first.args(["-m", "sh", "-c", script, SLEEP]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut first = first.spawn()?;
        let mut started = [0; 1];
        std::io::Read::read_exact(first.stdout.as_mut().context("its output")?, &mut started)?;
        Ok(Self(vec![first]))
    }

    fn grow_to(&mut self, count: usize, cell: &Cell) -> Result<()> {
        while self.0.len() < count {
            let sleeper = cell.command(Path::new(SLEEP)).arg("3600").stdin(Stdio::null()).spawn()?;
            self.0.push(sleeper);
        }
        Ok(())
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        for sleeper in &mut self.0 {
            let _ = sleeper.kill();
        }
        for sleeper in &mut self.0 {
            let _ = sleeper.wait();
        }
    }
}
