//! Ten thousand containers that live for milliseconds, on the real kernel: every one does one thing, and that is reported as its own
//! though its cgroup is gone before anybody reads of it. Prints how long that took and what became of every act.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holdfast_ebpf::Sensors;
use holdfast_ebpf::sensors::Counters;
use holdfast_model::{RuntimeObservation, SignalKind};

#[allow(dead_code, reason = "shared with the view's tests")]
#[path = "cell/mod.rs"]
mod cell;
use cell::{available, remove, unified};

const CONTAINERS: usize = 10_000;
const MAKERS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(20);
/// Where kubelets put Pods, under both drivers.
const CLASSES: [&str; 7] = [
    "kubepods",
    "kubepods/burstable",
    "kubepods/besteffort",
    "kubepods.slice",
    "kubepods.slice/kubepods-burstable.slice",
    "kubepods.slice/kubepods-besteffort.slice",
    "containerd.service",
];

/// A folder of the unified hierarchy that no other test has, with all classes of Pods.
struct Crowd {
    root: PathBuf,
}

impl Crowd {
    fn new() -> Result<Self> {
        let crowd = Self { root: unified()?.join(format!("crowd-{}", std::process::id())) };
        for class in CLASSES {
            let folder = crowd.root.join(class);
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        }
        Ok(crowd)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        clear(&self.root);
    }
}

fn clear(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            clear(&entry.path());
        }
    }
    remove(folder);
}

/// A container that has lived.
struct Life {
    cgroup: u64,
    pod: String,
    id: String,
    lived: Duration,
}

/// Names of Pod and container, and how drivers and runtimes spell them, by turns.
fn named(number: usize) -> (String, String, String) {
    let uid = format!("{:08x}-0000-4000-8000-{number:012x}", std::process::id());
    let hash = format!("{:024x}{number:08x}", std::process::id());
    let id = format!("{:056x}{number:08x}", std::process::id());
    let spelled = uid.replace('-', "_");
    let path = match number % 8 {
        0 => format!("kubepods/pod{uid}/{id}"),
        1 => format!("kubepods.slice/kubepods-pod{spelled}.slice/cri-containerd-{id}.scope"),
        2 => format!("kubepods/burstable/pod{uid}/{id}"),
        3 => format!("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{spelled}.slice/crio-{id}.scope"),
        4 => format!("kubepods/besteffort/pod{uid}/crio-{id}"),
        5 => {
            format!("kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{spelled}.slice/docker-{id}.scope")
        }
        6 => format!("containerd.service/kubepods-besteffort-pod{spelled}.slice:cri-containerd:{id}"),
        _ => return (format!("kubepods/burstable/pod{hash}/{id}"), hash, id),
    };
    (path, uid, id)
}

/// A shell that sends one process after the other into a cgroup, where it starts a program and ends.
struct Sender {
    shell: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Sender {
    fn start() -> Result<Self> {
        let script = "while read -r room; do (echo 0 > \"$room/cgroup.procs\" && exec /bin/true); echo $?; done";
        let mut shell =
            Command::new("/bin/sh").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = shell.stdin.take().context("its input")?;
        let answers = BufReader::new(shell.stdout.take().context("its output")?);
        Ok(Self { shell, orders, answers })
    }

    fn send(&mut self, room: &Path) -> Result<()> {
        self.orders.write_all(format!("{}\n", room.display()).as_bytes())?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        ensure!(answer == "0\n", "in {}: {answer:?}", room.display());
        Ok(())
    }

    fn end(mut self) -> Result<()> {
        drop(self.orders);
        ensure!(self.shell.wait()?.success(), "a shell failed");
        Ok(())
    }
}

fn live(root: &Path, numbers: Range<usize>) -> Result<Vec<Life>> {
    let mut sender = Sender::start()?;
    let mut lives = Vec::new();
    for number in numbers {
        let (path, pod, id) = named(number);
        let room = root.join(path);
        let above = room.parent().context("a Pod")?;
        fs::create_dir_all(above)?;
        let born = Instant::now();
        fs::create_dir(&room)?;
        let cgroup = fs::metadata(&room)?.ino();
        sender.send(&room)?;
        remove(&room);
        lives.push(Life { cgroup, pod, id, lived: born.elapsed() });
        ensure!(!room.exists(), "{} stays", room.display());
        // The Pod's own; a class stays.
        if !CLASSES.iter().any(|class| above.ends_with(class)) {
            remove(above);
        }
    }
    sender.end()?;
    Ok(lives)
}

/// Lets all of them live, and reads meanwhile.
fn live_and_read(crowd: &Crowd, sensors: &mut Sensors) -> Result<(Vec<Life>, Vec<RuntimeObservation>)> {
    std::thread::scope(|scope| {
        let each = CONTAINERS / MAKERS;
        let makers: Vec<_> =
            (0..MAKERS).map(|maker| scope.spawn(move || live(&crowd.root, maker * each..(maker + 1) * each))).collect();
        let mut reported = Vec::new();
        while !makers.iter().all(|maker| maker.is_finished()) {
            sensors.wait(Duration::from_millis(20))?;
            reported.extend(sensors.poll());
        }
        // Everything that was in the ring buffer before the probe has been read when the probe comes back.
        reported.extend(sensors.probe(1, PATIENCE)?);
        let mut lives = Vec::new();
        for maker in makers {
            lives.extend(maker.join().expect("a maker returns its errors")?);
        }
        Ok((lives, reported))
    })
}

fn starts(sensors: &Sensors) -> Result<Counters> {
    let all = sensors.counters()?;
    for (sensor, counted) in &all {
        let sum = counted.delivered + counted.folded + counted.dropped;
        ensure!(counted.generated == sum, "{sensor}: {counted:?}");
    }
    Ok(all.into_iter().find(|(sensor, _)| *sensor == "process").context("the process sensor's")?.1)
}

#[test]
fn ten_thousand_containers_that_live_for_milliseconds_are_each_told_as_themselves() -> Result<()> {
    let Some(mut sensors) = available(Sensors::open()) else { return Ok(()) };
    let crowd = Crowd::new()?;
    let began = Instant::now();
    let (lives, reported) = live_and_read(&crowd, &mut sensors)?;
    let took = began.elapsed();
    let by_cgroup: HashMap<u64, &Life> = lives.iter().map(|life| (life.cgroup, life)).collect();
    ensure!(by_cgroup.len() == CONTAINERS, "ids were given twice: {}", by_cgroup.len());
    let started = right(&by_cgroup, &reported)?;

    let counted = starts(&sensors)?;
    let missing = CONTAINERS - started.len();
    report(&lives, took, missing, counted, sensors.unattributed());
    ensure!(missing as u64 <= counted.dropped, "{missing} are missing, but {counted:?}");
    ensure!(missing < CONTAINERS / 10, "{missing} are missing: the reader is too slow to say anything");
    Ok(())
}

/// Holds every runtime observation against the container whose cgroup it names; the containers that were told to start something.
fn right(by_cgroup: &HashMap<u64, &Life>, reported: &[RuntimeObservation]) -> Result<HashSet<u64>> {
    let pods: HashSet<&str> = by_cgroup.values().map(|life| life.pod.as_str()).collect();
    let mut started = HashSet::new();
    for observation in reported {
        let Some(life) = by_cgroup.get(&observation.cgroup) else {
            ensure!(!pods.contains(observation.pod.as_str()), "of no cgroup of that Pod's: {observation:?}");
            continue;
        };
        let named = (observation.pod == life.pod, observation.container == life.id);
        ensure!(named == (true, true), "{} of {} did that, not {observation:?}", life.id, life.pod);
        ensure!(observation.binary.ends_with("/true") && observation.count == 1, "never done: {observation:?}");
        if observation.kind == SignalKind::ProcessStart {
            ensure!(started.insert(life.cgroup), "reported twice: {observation:?}");
        }
    }
    Ok(started)
}

fn report(lives: &[Life], took: Duration, missing: usize, counted: Counters, unattributed: u64) {
    let mut lived: Vec<Duration> = lives.iter().map(|life| life.lived).collect();
    lived.sort_unstable();
    let short = lived.iter().filter(|lived| **lived < Duration::from_millis(5)).count();
    println!(
        "{CONTAINERS} containers in {took:.1?}; a cgroup lived {:.1?} in the middle, {:.1?} at the 99th of 100, {short} under \
         5 ms; {missing} missing, {unattributed} unattributed; {counted:?}",
        lived[CONTAINERS / 2],
        lived[CONTAINERS * 99 / 100],
    );
}
