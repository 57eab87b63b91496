//! A node with hierarchies of version 1 beside the unified one: the id of a cgroup is unique in its own hierarchy only, and a
//! container must not become whoever bears its id in another.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use holdfast_ebpf::Sensors;
use holdfast_model::SignalKind;
use tempfile::TempDir;

#[allow(dead_code, reason = "shared with the view's tests")]
#[path = "cell/mod.rs"]
mod cell;
use cell::{Cell, available, remove};

const PATIENCE: Duration = Duration::from_secs(20);
/// A cell takes some forty ids, and another hierarchy's cgroup less than ten.
const IDS: u64 = 10_000;
/// To come this far takes another hierarchy some twelve minutes (13 s for 1,100,000 ids on 2 cores); a machine that has just
/// started is there at once.
const FARTHEST: u64 = 60_000_000;

/// A hierarchy of version 1 without controllers, whose ids begin at 1.
struct Hierarchy {
    name: String,
    folder: TempDir,
}

impl Hierarchy {
    /// None where the kernel has none of version 1.
    fn mounted() -> Result<Option<Self>> {
        let other = Self { name: format!("name=holdfast-{}", std::process::id()), folder: tempfile::tempdir()? };
        Ok(other.mount()?.then_some(other))
    }

    fn mount(&self) -> Result<bool> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "cgroup", "-o", &format!("none,{}", self.name), "none"]).arg(self.folder.path());
        Ok(mount.stderr(Stdio::null()).status()?.success())
    }

    /// A hierarchy ends a moment after it was unmounted; but if the kernel was still busy with its last cgroups then, it stays
    /// until it was mounted once more.
    fn end(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            Command::new("umount").arg(self.folder.path()).stderr(Stdio::null()).status()?;
            if self.ends_within(Duration::from_secs(1))? {
                return Ok(());
            }
            self.mount()?;
        }
        bail!("the hierarchy {} stays", self.name)
    }

    fn ends_within(&self, patience: Duration) -> Result<bool> {
        let deadline = Instant::now() + patience;
        while fs::read_to_string("/proc/self/cgroup")?.contains(&self.name) {
            if Instant::now() > deadline {
                return Ok(false);
            }
            std::thread::yield_now();
        }
        Ok(true)
    }

    /// Makes and removes cgroups until those ids have been given; the ones that were.
    fn give(&self, from: u64, to: u64) -> Result<HashSet<u64>> {
        let twin = self.folder.path().join("twin");
        let mut given = HashSet::new();
        loop {
            fs::create_dir(&twin)?;
            let id = fs::metadata(&twin)?.ino();
            remove(&twin);
            if id > to {
                return Ok(given);
            }
            if id > from {
                given.insert(id);
            }
        }
    }
}

impl Drop for Hierarchy {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            println!("{error:#}");
        }
    }
}

fn id(folder: &Path) -> Result<u64> {
    Ok(fs::metadata(folder)?.ino())
}

fn reported(sensors: &mut Sensors, cell: &Cell) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let all = sensors.poll();
        if let Some(start) = all.iter().find(|s| s.pod == cell.pod && s.kind == SignalKind::ProcessStart) {
            ensure!((&start.container, start.cgroup) == (&cell.id, id(cell.folder())?), "{start:?}");
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "what {} did is not reported", cell.id);
        sensors.wait(Duration::from_millis(200))?;
    }
}

#[test]
fn a_container_whose_id_another_hierarchy_gave_too_is_still_itself() -> Result<()> {
    let Some(mut sensors) = available(Sensors::open()) else { return Ok(()) };
    let Some(other) = Hierarchy::mounted()? else {
        println!("skipped: this kernel has no hierarchies of version 1, so no id is given twice");
        return Ok(());
    };
    let begin = id(Cell::new()?.folder())?;
    let near =
        (begin <= FARTHEST).then_some(()).ok_or("too many ids were given here since boot to give them all again");
    let Some(()) = available(near) else { return Ok(()) };
    let twins = other.give(begin, begin + IDS)?;
    loop {
        let cell = Cell::new()?;
        let id = id(cell.folder())?;
        if twins.contains(&id) {
            cell.run(&["true"])?;
            return reported(&mut sensors, &cell);
        }
        if id > begin + IDS {
            bail!("none of {} ids came again", twins.len());
        }
    }
}
