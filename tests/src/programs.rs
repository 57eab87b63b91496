//! Holdfast's own programs as processes, which tests can end with `kill -9`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
pub use holdfast_lab::free_ports;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// The upper bound of every wait. Only a failing test waits this long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The path of a program of this workspace, built beside the test that asks.
pub fn program(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.ancestors().find(|folder| folder.ends_with("debug") || folder.ends_with("release"));
    let path = folder.context("this test is not in a target folder")?.join(name);
    if !path.is_file() {
        bail!(
            "{name} is not built: run `cargo build --workspace --bins --features holdfast/lab` first, as `make test` does"
        );
    }
    Ok(path)
}

/// Runs a program to its end and answers its standard output; fails with both outputs.
pub async fn run(name: &str, args: &[String], env: &[(&str, &str)]) -> Result<String> {
    let mut command = Command::new(program(name)?);
    let output = command.args(args).envs(env.iter().copied()).stdin(Stdio::null()).kill_on_drop(true).output().await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        bail!("{name} {}: {}{}", args.join(" "), text(&output.stdout), text(&output.stderr));
    }
    Ok(text(&output.stdout))
}

/// A program that is killed when this is dropped. Its output goes to a log, whose end failures show.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program.
    pub fn start(name: &str, log: &Path, args: &[String], env: &[(&str, &str)]) -> Result<Self> {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = Command::new(program(name)?);
        command.args(args).envs(env.iter().copied()).stdin(Stdio::null());
        command.stdout(file.try_clone()?).stderr(file).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// Ends it as `kill -9` does: no destructor runs, nothing is flushed.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("killing {}", self.name))
    }

    /// Ends it as Ctrl-C does, and waits until it has.
    pub async fn interrupt(&mut self) -> Result<()> {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        kill_process(pid.with_context(|| format!("{} has ended already", self.name))?, Signal::INT)?;
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = ended.with_context(|| format!("{} did not end on Ctrl-C", self.name))??;
        if !status.success() {
            bail!("{} ended with {status} on Ctrl-C; its log ends with:\n{}", self.name, self.tail());
        }
        Ok(())
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Result<u32> {
        self.child.id().with_context(|| format!("{} has ended", self.name))
    }

    /// Fails if it has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}; its log ends with:\n{}", self.name, self.tail()),
        }
    }

    /// The last lines of its log.
    pub fn tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

/// Polls until the condition answers something, at most [`PATIENCE`]; the last error is part of the failure.
pub async fn eventually<T>(what: &str, mut poll: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    let mut last = String::from("nothing yet");
    while Instant::now() < deadline {
        match poll().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) => last = format!("{error:#}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("waited {} s for {what}: {last}", PATIENCE.as_secs())
}
