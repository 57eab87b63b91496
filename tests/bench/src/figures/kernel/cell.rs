//! The environment of the kernel's benchmarks: a cgroup named like a container's, tracefs mounted, and another tool for
//! comparison.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holdfast_ebpf::Owner;
use holdfast_ebpf::attribution::owner_of_path;

const TRACEFS: &str = "/sys/kernel/tracing";

/// A cgroup named like a container's.
pub struct Cell(PathBuf);

impl Cell {
    pub fn new() -> Result<Self> {
        Self::numbered(0)
    }

    /// One of many.
    pub fn numbered(number: u64) -> Result<Self> {
        let pod = format!("kubepods/besteffort/pod{:08x}-0000-4000-8000-{number:012x}", std::process::id());
        let folder = unified()?.join(pod).join(format!("{number:064x}"));
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self(folder))
    }

    /// The container that events inside are attributed to.
    pub fn owner(&self) -> Result<Owner> {
        owner_of_path(&self.0.to_string_lossy()).context("a cell without an owner")
    }

    /// A command that starts inside.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(self.0.join("cgroup.procs")).arg(program);
        command
    }

    /// Runs a flood inside: the seconds that it took.
    pub fn run(&self, flood: &str, count: usize) -> Result<f64> {
        let output = self.command(std::env::current_exe()?).args(["--floor", flood]).arg(count.to_string()).output()?;
        ensure!(output.status.success(), "{flood}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().parse()?)
    }
}

/// The mount point of the unified hierarchy.
fn unified() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let unified = mounts.lines().find(|line| line.contains(" - cgroup2 ")).context("no unified cgroup hierarchy")?;
    Ok(PathBuf::from(unified.split(' ').nth(4).context("a mount without a mount point")?))
}

impl Drop for Cell {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        let deadline = Instant::now() + Duration::from_secs(10);
        // Its last process may take a moment to end.
        while fs::remove_dir(&self.0).is_err() && self.0.exists() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        self.0.ancestors().skip(1).take(3).for_each(|folder| drop(fs::remove_dir(folder)));
    }
}

/// Another tool that observes the same events; it is killed when this is dropped.
pub struct Tool(Child);

impl Tool {
    /// None where it is not installed.
    pub fn start(name: &str) -> Result<Option<Self>> {
        let mut child = Command::new("stdbuf")
            .args(["-oL", name])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("starting stdbuf")?;
        let mut output = child.stdout.take().context("its output")?;
        let tool = Self(child);
        // It prints its heading when it is ready. Its output is read, as a user's terminal would.
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

/// tracefs at its usual mount point; unmounted again if it was mounted here.
pub struct Tracefs {
    is_mounted_here: bool,
}

impl Tracefs {
    pub fn mounted() -> Result<Self> {
        let is_mounted_here = !Path::new(TRACEFS).join("events").exists();
        if is_mounted_here {
            let status = Command::new("mount").args(["-t", "tracefs", "tracefs", TRACEFS]).status()?;
            ensure!(status.success(), "tracefs could not be mounted at {TRACEFS}");
        }
        Ok(Self { is_mounted_here })
    }
}

impl Drop for Tracefs {
    fn drop(&mut self) {
        if self.is_mounted_here {
            let _ = Command::new("umount").arg(TRACEFS).status();
        }
    }
}
