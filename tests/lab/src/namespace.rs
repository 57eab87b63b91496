//! The namespaces of a node: a network and a mount namespace, kept open by a sleeping process.
//!
//! Mounts in it disappear with its last process. The process namespace is the machine's.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::control_group;
use crate::keeper::Keeper;

/// Moves itself into the lab's control group, then sleeps in new namespaces.
const HOLD: &str = r#"echo $$ >"$0" && exec unshare --net --mount sleep infinity"#;

/// Moves itself into the lab's control group, then executes a program in the namespaces of a process.
const ENTER: &str = r#"echo $$ >"$0" && holder=$1 && shift && exec nsenter --target "$holder" --net --mount -- "$@""#;

/// How long it may take to create new namespaces.
const OPENING: Duration = Duration::from_secs(10);

/// The namespaces, by the process that keeps them open.
pub(crate) struct Namespace {
    holder: u32,
    entry: String,
}

impl Namespace {
    /// Creates namespaces whose programs belong to this control group.
    pub(crate) async fn open(keeper: &Keeper, name: &str, group: &str) -> Result<Self> {
        let entry = control_group::entry(group).display().to_string();
        let args = ["-c", HOLD, &entry].map(str::to_owned);
        let holder = keeper.start(&format!("{name}-namespace"), Path::new("sh"), &args)?;
        let opened = Self { holder, entry };
        let deadline = Instant::now() + OPENING;
        while fs::read_to_string(format!("/proc/{holder}/comm")).unwrap_or_default().trim() != "sleep" {
            keeper.check()?;
            if Instant::now() > deadline {
                bail!("the namespaces of {name} did not open in {} s", OPENING.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(opened)
    }

    /// The process that keeps them open.
    pub(crate) fn holder(&self) -> String {
        self.holder.to_string()
    }

    /// Runs a command in the namespaces to its end and answers its standard output.
    pub(crate) async fn run(&self, line: &[&str]) -> Result<String> {
        let holder = self.holder();
        run(&[&["nsenter", "--target", &holder, "--net", "--mount", "--"], line].concat()).await
    }

    /// Starts a program in the namespaces that runs as long as the lab.
    pub(crate) fn start(&self, keeper: &Keeper, name: &str, program: &Path, args: &[String]) -> Result<u32> {
        let mut line: Vec<_> = ["-c", ENTER, &self.entry, &self.holder()].map(str::to_owned).into();
        line.push(program.display().to_string());
        line.extend_from_slice(args);
        keeper.start(name, Path::new("sh"), &line)
    }
}

/// Runs a command to its end and answers its standard output.
pub(crate) async fn run(line: &[&str]) -> Result<String> {
    let (program, args) = line.split_first().context("an empty command")?;
    let output = tokio::process::Command::new(program).args(args).kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("starting {program}"))?;
    if !output.status.success() {
        bail!("`{}` failed: {}", line.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
