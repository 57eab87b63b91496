//! How many records a second one core decodes, attributes and folds: real records of the sensors, read from the ring buffer
//! once and replayed. Events that the kernel folds itself are not among them.

use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use holdfast_ebpf::Sensors;

use super::cell::Cell;
use crate::figure::{Effort, Figure, Samples};

const RECORDS: usize = 100_000;
/// Programs by four hundred names, as many files under an /etc, and connections to half as many ports.
const BEHAVIORS: &str = "for name in \"$0\"/*; do \"$name\"; done; mount -t tmpfs none /etc; \
    for n in $(seq 400); do echo > /etc/$n; done; for n in $(seq 200); do (exec 3<>/dev/tcp/127.0.0.1/$n) 2>/dev/null || true; done";

/// The bytes that distinguish behaviors of one kind in a container: `subject` of `struct event`.
const SUBJECT: std::ops::Range<usize> = 24..32;

/// Two figures: for new behaviors, each of which is reported, and for repeated ones, which are counted.
pub fn measure(effort: &Effort, cell: &Cell) -> Result<Vec<Figure>> {
    let mut sensors = Sensors::open()?;
    let mut records = recorded(&mut sensors, cell)?;
    let mut number = 0;
    let new = rate(effort, "new behaviors decoded, attributed and reported", &mut |size| {
        let (mut taken, mut reported) = (Duration::ZERO, 0);
        for round in chunks(size, records.len()) {
            for record in &mut records[..round] {
                number += 1;
                record[SUBJECT].copy_from_slice(&u64::to_ne_bytes(number << 32));
            }
            let start = Instant::now();
            reported += sensors.decode(records[..round].iter().map(Vec::as_slice)).len();
            taken += start.elapsed();
        }
        ensure!(reported >= size, "{size} records reported {reported} things");
        Ok(taken)
    })?;
    drop(sensors);
    let mut sensors = Sensors::open()?;
    let records = recorded(&mut sensors, cell)?;
    let again = rate(effort, "behaviors reported before decoded, attributed and folded", &mut |size| {
        let start = Instant::now();
        let reported = sensors.decode(records.iter().cycle().take(size).map(Vec::as_slice)).len();
        let taken = start.elapsed();
        let counted: u64 = sensors.sweep().iter().map(|observation| observation.count).sum();
        ensure!(
            reported == 0 && counted >= size as u64,
            "{size} records reported {reported} things and counted {counted}"
        );
        Ok(taken)
    })?;
    Ok(vec![new, again])
}

fn chunks(size: usize, most: usize) -> impl Iterator<Item = usize> {
    (0..size).step_by(most).map(move |at| most.min(size - at))
}

/// One figure: how many records a second a function handles.
fn rate(effort: &Effort, name: &str, run: &mut dyn FnMut(usize) -> Result<Duration>) -> Result<Figure> {
    let (mut ours, mut curve) = (Samples::default(), Vec::new());
    for size in effort.sizes(RECORDS) {
        let mut seconds = Samples::default();
        ours = Samples::default();
        for _ in 0..effort.rounds() {
            let taken = run(size)?.as_secs_f64();
            seconds.push(taken);
            ours.push(size as f64 / taken);
        }
        curve.push((size, seconds.median()));
    }
    Ok(Figure {
        name: name.to_owned(),
        unit: "a second and core",
        n: effort.size(RECORDS),
        samples: ours,
        cpu: None,
        peak: None,
        peers: Vec::new(),
        curve,
        aim: "1,000,000",
    })
}

/// The records of the cell's behaviors, as the BPF programs wrote them.
fn recorded(sensors: &mut Sensors, cell: &Cell) -> Result<Vec<Vec<u8>>> {
    let folder = tempfile::tempdir()?;
    for number in 0..400 {
        symlink("/bin/true", folder.path().join(format!("name{number}")))?;
    }
    let mut behaviors = cell.command("unshare");
    behaviors.args(["-m", "bash", "-c", BEHAVIORS]).arg(folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
    let mut behaviors = behaviors.spawn()?;
    let (mut records, mut record) = (Vec::new(), Vec::new());
    let mut ended = None;
    while ended.is_none() {
        ended = behaviors.try_wait()?;
        sensors.wait(Duration::from_millis(10))?;
        while sensors.take(&mut record) {
            // Records of other containers, and those that report nothing, are left out.
            if !sensors.decode([record.as_slice()]).is_empty() {
                records.push(record.clone());
            }
        }
    }
    ensure!(records.len() > 900, "only {} behaviors were recorded; the cell ended with {ended:?}", records.len());
    Ok(records)
}
