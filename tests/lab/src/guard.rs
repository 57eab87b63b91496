//! The guard: a process outside the lab that removes everything of its real nodes once the lab has ended.
//!
//! containerd's shims and their containers outlive the program that started them, so the end of the lab's programs does not
//! end them. The guard holds the other end of a pipe: when the lab ends, normally or by `kill -9`, the pipe closes and
//! `guard.sh` kills the lab's control group and removes what is left. A normal stop uses the same path and waits for it.
//!
//! Labs that run side by side have different numbers, each held by a file lock. The guard keeps the lock until it is done. A
//! lab that gets a number first removes what an earlier lab left there whose guard was killed as well.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::control_group;
use crate::programs::cache;

const SCRIPT: &str = include_str!("guard.sh");

/// How many labs with real nodes may run at once on a machine.
const LABS: u8 = 16;

/// A lab's number on this machine, and the process that cleans up after it. Dropping it cleans up and waits.
pub(crate) struct Guard {
    number: u8,
    child: Child,
}

impl Guard {
    /// Takes a number and starts the guard of a lab whose nodes use this folder.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let (number, lock) = free_number()?;
        let cleaned = script("now", number, Path::new("")).status().context("starting sh")?;
        if !cleaned.success() {
            bail!("what an earlier lab left as number {number} could not be removed");
        }
        let mut command = script("after", number, folder);
        // Never written to: the file handle carries the lock, which is released when its last holder closes it.
        command.stdin(Stdio::piped()).stdout(lock);
        Ok(Self { number, child: command.spawn().context("starting the lab's guard")? })
    }

    /// The lab's number.
    pub(crate) fn number(&self) -> u8 {
        self.number
    }

    /// The name of the control group of everything that this lab's nodes run.
    pub(crate) fn group(&self) -> String {
        group(self.number)
    }

    /// The name of the lab's link in the machine's own network namespace.
    pub(crate) fn link(&self) -> String {
        link(self.number)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // The guard itself reports what it could not remove, and the next lab of this number tries again.
        let _ = self.child.wait();
    }
}

/// What exists on this machine of the lab with this number, one line each: control groups with their processes, the link.
pub fn left_behind(number: u8) -> Result<Vec<String>> {
    let link = Path::new("/sys/class/net").join(link(number));
    let mut left: Vec<_> = control_group::existing(&group(number))?;
    left.extend(Some(link).filter(|link| link.exists()));
    Ok(left.into_iter().map(|path| path.display().to_string()).collect())
}

fn group(number: u8) -> String {
    format!("holdfast-lab-{number}")
}

fn link(number: u8) -> String {
    format!("hflab{number}")
}

/// The first number that no running lab holds.
fn free_number() -> Result<(u8, File)> {
    let folder = cache()?;
    fs::create_dir_all(&folder)?;
    for number in 0..LABS {
        let lock = File::create(folder.join(format!(".nodes-{number}.lock")))?;
        if lock.try_lock().is_ok() {
            return Ok((number, lock));
        }
    }
    bail!("{LABS} labs with real nodes run on this machine already")
}

/// The script in a session of its own, which signals to the terminal's programs do not reach.
fn script(when: &str, number: u8, folder: &Path) -> Command {
    let mut command = Command::new("setsid");
    command.args(["sh", "-c", SCRIPT, "guard", when, &number.to_string()]).arg(folder).stdin(Stdio::null());
    command
}
