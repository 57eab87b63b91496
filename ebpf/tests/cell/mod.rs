//! A real process in a real cgroup that is shaped like a container's, and the tier that needs the real kernel.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Runs a test if the kernel can be looked at. `HOLDFAST_REQUIRE` lists the tiers that may not be skipped, by comma.
pub fn available<T, E: std::fmt::Display>(opened: Result<T, E>) -> Option<T> {
    let required = std::env::var("HOLDFAST_REQUIRE").unwrap_or_default();
    let required: BTreeSet<&str> = required.split(',').map(str::trim).collect();
    match opened {
        Ok(open) => Some(open),
        Err(error) if required.contains("ebpf") => panic!("HOLDFAST_REQUIRE names ebpf, but: {error}"),
        Err(error) => {
            println!("skipped: tier ebpf can't run here: {error}");
            None
        }
    }
}

/// A cgroup at `kubepods/besteffort/pod<uid>/<id>` of the unified hierarchy. Its processes end with it.
pub struct Cell {
    /// uid of the Pod that it looks like.
    pub pod: String,
    /// id of the container that it looks like.
    pub id: String,
    folder: PathBuf,
    children: Vec<Child>,
}

impl Cell {
    /// Makes one that no other test has.
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let pod = format!("{:08x}-0000-4000-8000-{number:012x}", std::process::id());
        let id = format!("{:056x}{number:08x}", std::process::id());
        let folder = unified()?.join("kubepods/besteffort").join(format!("pod{pod}")).join(&id);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self { pod, id, folder, children: Vec::new() })
    }

    /// Runs a command to its end, inside.
    pub fn run(&self, command: &[&str]) -> Result<()> {
        let status = self.command(command).stdout(Stdio::null()).status()?;
        if !status.success() {
            bail!("{command:?} ended with {status}");
        }
        Ok(())
    }

    /// Runs a command to whatever end it takes, inside.
    pub fn attempt(&self, command: &[&str]) -> Result<()> {
        self.command(command).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        Ok(())
    }

    /// Starts a command inside that says one line when it is where it should be, and then stays. Its process id.
    pub fn stay(&mut self, command: &[&str]) -> Result<u32> {
        let mut child = self.command(command).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut said = [0; 1];
        child.stdout.as_mut().context("its output")?.read_exact(&mut said).with_context(|| format!("{command:?}"))?;
        let pid = child.id();
        self.children.push(child);
        Ok(pid)
    }

    /// Says something to the last one that stays.
    pub fn say(&mut self, words: &str) -> Result<()> {
        let stdin = self.children.last_mut().and_then(|child| child.stdin.as_mut()).context("nobody listens")?;
        Ok(stdin.write_all(words.as_bytes())?)
    }

    /// A command that starts inside.
    pub fn command(&self, command: &[&str]) -> Command {
        let mut outside = Command::new("/bin/sh");
        outside.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(self.folder.join("cgroup.procs")).args(command);
        outside
    }
}

impl Cell {
    /// Where its cgroup is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Ends every process that it started.
    pub fn end(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        self.end();
        remove(&self.folder);
        // Whoever else has a cell keeps the rest.
        self.folder.ancestors().skip(1).take(3).for_each(|folder| drop(fs::remove_dir(folder)));
    }
}

/// Removes an empty cgroup; the kernel lets it go a moment after its last process.
pub fn remove(folder: &Path) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while fs::remove_dir(folder).is_err() && folder.exists() && Instant::now() < deadline {
        std::thread::yield_now();
    }
}

/// Where the unified hierarchy is.
pub fn unified() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let unified = mounts.lines().find(|line| line.contains(" - cgroup2 ")).context("no unified cgroup hierarchy")?;
    Ok(Path::new(unified.split(' ').nth(4).context("a mount without a place")?).to_owned())
}
