//! The CPU of the sensors and the kernel view on an idle node, and their memory while containers start and end: a process of
//! its own that uses the sensors as the agent's node part does, measured by the kernel's count of its time and memory.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holdfast_ebpf::{KernelView, Sensors};

use super::cell::Cell;
use crate::figure::{Effort, Figure, Samples};

const IDLE: Duration = Duration::from_secs(60);
/// The same intervals as the agent's.
const WAIT: Duration = Duration::from_secs(1);
const SWEEP: Duration = Duration::from_secs(10);
const PROBE: Duration = Duration::from_secs(10);
const VIEW: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs the sensors and the kernel view until standard input is closed.
pub fn run() -> Result<ExitCode> {
    let (mut view, mut sensors) = (KernelView::open()?, Sensors::open()?);
    let (over, end) = mpsc::channel();
    std::thread::spawn(move || over.send(std::io::stdin().read(&mut [0; 1]).is_ok()));
    println!("open");
    let (mut swept, mut viewed, mut probed, mut number) = (Instant::now(), None::<Instant>, None::<Instant>, 0);
    while matches!(end.try_recv(), Err(mpsc::TryRecvError::Empty)) {
        sensors.wait(WAIT)?;
        sensors.poll();
        if swept.elapsed() >= SWEEP {
            swept = Instant::now();
            sensors.sweep();
        }
        if probed.is_none_or(|probed| probed.elapsed() >= PROBE) {
            probed = Some(Instant::now());
            number += 1;
            sensors.probe(number, PATIENCE)?;
        }
        if viewed.is_none_or(|viewed| viewed.elapsed() >= VIEW) {
            viewed = Some(Instant::now());
            view.read()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The share of a core over a minute without a load of the benchmark's.
pub fn idle(effort: &Effort) -> Result<Figure> {
    let node_part = NodePart::start()?;
    let (before, start) = (node_part.cpu()?, Instant::now());
    let duration = if effort.rounds() < 7 { IDLE / 60 } else { IDLE };
    // This sleep is the measured interval.
    std::thread::sleep(duration);
    let share = (node_part.cpu()? - before) / start.elapsed().as_secs_f64() * 100.0;
    Ok(Figure {
        name: "idle sensors and kernel view".to_owned(),
        unit: "% of a core",
        n: usize::try_from(duration.as_secs())?,
        samples: [share].into_iter().collect(),
        cpu: None,
        peak: Some(node_part.memory()?),
        peers: Vec::new(),
        curve: Vec::new(),
        aim: "under 1 %",
    })
}

/// Resident memory and BPF maps while containers start, run a program, and end.
pub fn churn(effort: &Effort) -> Result<Figure> {
    let node_part = NodePart::start()?;
    let (start, whole) = (Instant::now(), effort.churn());
    let (mut number, mut curve, mut samples) = (0, Vec::new(), Samples::default());
    for part in [8, 4, 2, 1] {
        while start.elapsed() < whole / part {
            number += 1;
            let cell = Cell::numbered(1_000_000 + number)?;
            ensure!(cell.command("/bin/true").status()?.success(), "true has failed");
        }
        let memory = node_part.memory()?;
        curve.push((usize::try_from(number)?, memory));
        samples.push(memory);
    }
    let (first, last) = (curve[2], curve[3]);
    let slope = (last.1 - first.1) / (last.0 - first.0).max(1) as f64 * 1000.0;
    Ok(Figure {
        name: format!(
            "sensors and kernel view with their maps over churn of containers ({slope:+.2} MiB a 1,000 of the second half)"
        ),
        unit: "MiB",
        n: usize::try_from(number)?,
        samples,
        cpu: None,
        peak: Some(last.1),
        peers: Vec::new(),
        curve,
        aim: "under 64 MiB, flat",
    })
}

struct NodePart(Child);

impl NodePart {
    fn start() -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--floor", "node-part", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut node_part = Self(command.spawn()?);
        let mut line = String::new();
        BufReader::new(node_part.0.stdout.as_mut().context("its output")?).read_line(&mut line)?;
        ensure!(line.trim() == "open", "it printed {line:?}");
        Ok(node_part)
    }

    /// CPU seconds so far.
    fn cpu(&self) -> Result<f64> {
        Ok(crate::child::so_far(self.0.id())?.0)
    }

    /// MiB: resident memory, and the kernel's memory for its maps and programs.
    fn memory(&self) -> Result<f64> {
        let process = format!("/proc/{}", self.0.id());
        let status = fs::read_to_string(format!("{process}/status"))?;
        let resident: u64 = field(&status, "VmRSS:").context("no VmRSS")?;
        let mut locked = 0;
        for descriptor in fs::read_dir(format!("{process}/fdinfo"))? {
            let info = fs::read_to_string(descriptor?.path()).unwrap_or_default();
            locked += field(&info, "memlock:").unwrap_or(0);
        }
        Ok(resident as f64 / 1024.0 + locked as f64 / f64::from(1 << 20))
    }
}

impl Drop for NodePart {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}
