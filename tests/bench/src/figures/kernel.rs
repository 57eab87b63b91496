//! What the kernel's eye costs: a reading of every process, and the rate of starts and of opens while the sensors watch.
//!
//! The floods run in a cgroup shaped like a container's, in rounds that alternate: bare, with Holdfast's sensors, and with
//! Debian's execsnoop or opensnoop where they are installed (libbpf-tools). The reading is held against one of /proc.
//! Needs root, the unified cgroup hierarchy and tracefs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use holdfast_ebpf::{KernelView, Sensors};

use crate::figure::{Effort, Figure, Peer, Samples};

const PROCESSES: usize = 10_000;
const STARTS: usize = 2_000;
const OPENS: usize = 400_000;
const TRACEFS: &str = "/sys/kernel/tracing";

/// Three figures: the reading, the starts, the opens.
pub fn measure(effort: &Effort) -> Result<Vec<Figure>> {
    let _tracefs = Tracefs::mounted()?;
    let cell = Cell::new()?;
    Ok(vec![
        view(effort, &cell)?,
        flood(
            effort,
            &cell,
            &Flood { name: "exec", whole: STARTS, peer: "execsnoop", aim: "at most 1 % fewer starts" },
        )?,
        flood(
            effort,
            &cell,
            &Flood { name: "open", whole: OPENS, peer: "opensnoop", aim: "at least 85 % of the bare rate" },
        )?,
    ])
}

/// Is the flood itself: does a thing so often, and says how many seconds that took.
pub fn be_flood(name: &str, count: &str) -> Result<ExitCode> {
    let count: usize = count.parse()?;
    let start = Instant::now();
    for _ in 0..count {
        match name {
            "exec" => ensure!(Command::new("/bin/true").status()?.success(), "true has failed"),
            "open" => drop(fs::File::open("/etc/hostname")?),
            _ => bail!("there is no flood {name:?}"),
        }
    }
    println!("{}", start.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}

fn view(effort: &Effort, cell: &Cell) -> Result<Figure> {
    let (mut iterator, mut proc) = (KernelView::open()?, KernelView::open_proc()?);
    let (mut ours, mut peers, mut curve) = (Samples::default(), Samples::default(), Vec::new());
    let mut sleepers = Sleepers::default();
    for size in effort.sizes(PROCESSES) {
        sleepers.grow_to(size, cell)?;
        (ours, peers) = (Samples::default(), Samples::default());
        for _ in 0..effort.rounds() {
            ours.push(timed(&mut iterator, size)?);
            peers.push(timed(&mut proc, size)?);
        }
        curve.push((size, ours.median()));
    }
    Ok(Figure {
        name: "kernel view of every process, mounts included".to_owned(),
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

fn timed(view: &mut KernelView, least: usize) -> Result<f64> {
    let start = Instant::now();
    let seen = view.read()?.seen;
    let elapsed = start.elapsed().as_secs_f64() * 1e3;
    ensure!(usize::try_from(seen)? > least, "only {seen} processes of at least {least} were seen");
    Ok(elapsed)
}

struct Flood {
    name: &'static str,
    whole: usize,
    peer: &'static str,
    aim: &'static str,
}

fn flood(effort: &Effort, cell: &Cell, flood: &Flood) -> Result<Figure> {
    let (mut bare, mut ours, mut peer) = (Samples::default(), Samples::default(), Samples::default());
    let mut curve = Vec::new();
    for size in effort.sizes(flood.whole) {
        (bare, ours, peer) = (Samples::default(), Samples::default(), Samples::default());
        let mut seconds = Samples::default();
        for _ in 0..effort.rounds() {
            bare.push(size as f64 / cell.run(flood.name, size)?);
            let taken = watched(|| cell.run(flood.name, size))?;
            seconds.push(taken);
            ours.push(size as f64 / taken);
            if let Some(_tool) = Tool::start(flood.peer)? {
                peer.push(size as f64 / cell.run(flood.name, size)?);
            }
        }
        curve.push((size, seconds.median()));
    }
    let peers = [("without any", bare), (flood.peer, peer)];
    Ok(Figure {
        name: format!("{} flood under the sensors", flood.name),
        unit: "a second",
        n: effort.size(flood.whole),
        samples: ours,
        cpu: None,
        peak: None,
        peers: peers.into_iter().map(|(name, samples)| Peer { name, samples }).collect(),
        curve,
        aim: flood.aim,
    })
}

/// Runs something while the sensors are open and read, and checks that they lost nothing.
fn watched(what: impl FnOnce() -> Result<f64>) -> Result<f64> {
    let mut sensors = Sensors::open()?;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| -> Result<()> {
            while !over.load(Ordering::Relaxed) {
                sensors.wait(Duration::from_millis(100))?;
                sensors.poll();
            }
            let lost: u64 = sensors.counters()?.iter().map(|(_, counted)| counted.dropped).sum();
            ensure!(lost == 0, "{lost} acts were lost");
            Ok(())
        });
        let seconds = what();
        over.store(true, Ordering::Relaxed);
        reader.join().map_err(|_| anyhow::anyhow!("the reader has failed"))??;
        seconds
    })
}

/// A cgroup shaped like a container's.
struct Cell(PathBuf);

impl Cell {
    fn new() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let unified =
            mounts.lines().find(|line| line.contains(" - cgroup2 ")).context("no unified cgroup hierarchy")?;
        let unified = Path::new(unified.split(' ').nth(4).context("a mount without a place")?);
        let pod = format!("kubepods/besteffort/pod{:08x}-0000-4000-8000-00000000be7c", std::process::id());
        let folder = unified.join(pod).join("b".repeat(64));
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self(folder))
    }

    /// A command that starts inside.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(self.0.join("cgroup.procs")).arg(program);
        command
    }

    /// Runs a flood inside: the seconds that it took.
    fn run(&self, flood: &str, count: usize) -> Result<f64> {
        let output =
            self.command(&std::env::current_exe()?).args(["--floor", flood]).arg(count.to_string()).output()?;
        ensure!(output.status.success(), "{flood}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().parse()?)
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        self.0.ancestors().take(4).for_each(|folder| drop(fs::remove_dir(folder)));
    }
}

/// Processes that do nothing; they end with this.
#[derive(Default)]
struct Sleepers(Vec<Child>);

impl Sleepers {
    fn grow_to(&mut self, count: usize, cell: &Cell) -> Result<()> {
        while self.0.len() < count {
            let sleeper = cell.command(Path::new("/bin/sleep")).arg("3600").stdin(Stdio::null()).spawn()?;
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

/// Another tool that watches the same; it ends with this.
struct Tool(Child);

impl Tool {
    /// None where it is not installed.
    fn start(name: &str) -> Result<Option<Self>> {
        let mut child = Command::new("stdbuf")
            .args(["-oL", name])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("starting stdbuf")?;
        let mut output = child.stdout.take().context("its output")?;
        let tool = Self(child);
        // It says its heading when it is ready; then it is read, as whoever runs it would.
        if std::io::Read::read(&mut output, &mut [0; 1])? == 0 {
            return Ok(None);
        }
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Ok(Some(tool))
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// tracefs where every distribution has it; taken away again if it was mounted here.
struct Tracefs {
    ours: bool,
}

impl Tracefs {
    fn mounted() -> Result<Self> {
        let ours = !Path::new(TRACEFS).join("events").exists();
        if ours {
            let status = Command::new("mount").args(["-t", "tracefs", "tracefs", TRACEFS]).status()?;
            ensure!(status.success(), "tracefs could not be mounted at {TRACEFS}");
        }
        Ok(Self { ours })
    }
}

impl Drop for Tracefs {
    fn drop(&mut self) {
        if self.ours {
            let _ = Command::new("umount").arg(TRACEFS).status();
        }
    }
}
