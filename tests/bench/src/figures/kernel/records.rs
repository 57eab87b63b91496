//! How many records a second one core decodes, attributes and folds: real ones of the sensors, taken off the ring once and
//! read again and again. What the kernel folds by itself never comes this far.

use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use holdfast_ebpf::Sensors;

use super::cell::Cell;
use crate::figure::{Effort, Figure, Samples};

const RECORDS: usize = 100_000;
/// Programs by four hundred names, as many files under an /etc, and connections to half as many ports.
const ACTS: &str = "for name in \"$0\"/*; do \"$name\"; done; mount -t tmpfs none /etc; \
    for n in $(seq 400); do echo > /etc/$n; done; for n in $(seq 200); do (exec 3<>/dev/tcp/127.0.0.1/$n) 2>/dev/null || true; done";

/// One figure.
pub fn measure(effort: &Effort, cell: &Cell) -> Result<Figure> {
    let mut sensors = Sensors::open()?;
    let records = recorded(&mut sensors, cell)?;
    let (mut ours, mut curve) = (Samples::default(), Vec::new());
    for size in effort.sizes(RECORDS) {
        let mut seconds = Samples::default();
        ours = Samples::default();
        for _ in 0..effort.rounds() {
            let again = records.iter().cycle().take(size).map(Vec::as_slice);
            let start = Instant::now();
            let told = sensors.tell(again).len();
            let taken = start.elapsed().as_secs_f64();
            seconds.push(taken);
            ours.push(size as f64 / taken);
            ensure!(told >= size, "{size} records told {told} things");
        }
        curve.push((size, seconds.median()));
    }
    Ok(Figure {
        name: format!("records decoded, attributed and folded ({} different ones)", records.len()),
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

/// What the cell does, as the programs wrote it.
fn recorded(sensors: &mut Sensors, cell: &Cell) -> Result<Vec<Vec<u8>>> {
    let folder = tempfile::tempdir()?;
    for number in 0..400 {
        symlink("/bin/true", folder.path().join(format!("name{number}")))?;
    }
    let mut acts = cell.command("unshare");
    acts.args(["-m", "bash", "-c", ACTS]).arg(folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
    let mut acts = acts.spawn()?;
    let (mut records, mut record) = (Vec::new(), Vec::new());
    let mut ended = None;
    while ended.is_none() {
        ended = acts.try_wait()?;
        sensors.wait(Duration::from_millis(10))?;
        while sensors.take(&mut record) {
            // Others' acts, and what nobody can be told of, are left out.
            if !sensors.tell([record.as_slice()]).is_empty() {
                records.push(record.clone());
            }
        }
    }
    ensure!(records.len() > 900, "only {} acts were recorded; the cell ended with {ended:?}", records.len());
    Ok(records)
}
