//! What sees to it that a lab's real nodes leave nothing: a process outside the lab that waits for its end.
//!
//! containerd's shims and their containers are made to outlive whoever started them, so the death of the lab's programs
//! doesn't end them. The guard holds the other end of a pipe: when the lab ends, by itself or by `kill -9`, the pipe closes
//! and `guard.sh` kills the lab's control group and removes what stands. A normal stop takes the same way and waits for it.
//!
//! A number, held by a lock, tells labs apart that run side by side. The guard keeps the lock until it is done. Whoever gets
//! a number first removes what a lab left there whose guard was killed as well.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::control_group;
use crate::programs::cache;

const SCRIPT: &str = include_str!("guard.sh");

/// How many labs with real nodes may stand at once on a machine.
const LABS: u8 = 16;

/// A lab's number on this machine, and the process that cleans up behind it. Dropping it cleans up and waits.
pub(crate) struct Guard {
    number: u8,
    child: Child,
}

impl Guard {
    /// Takes a number and starts the guard of a lab whose nodes live in this folder.
    pub(crate) fn post(folder: &Path) -> Result<Self> {
        let (number, lock) = free_number()?;
        let swept = script("now", number, Path::new("")).status().context("starting sh")?;
        if !swept.success() {
            bail!("what an earlier lab left as number {number} could not be removed");
        }
        let mut command = script("after", number, folder);
        // Never written to: it carries the lock, which is free again when the last holder has closed it.
        command.stdin(Stdio::piped()).stdout(lock);
        Ok(Self { number, child: command.spawn().context("starting the lab's guard")? })
    }

    /// The lab's number.
    pub(crate) fn number(&self) -> u8 {
        self.number
    }

    /// The name of the control group that everything of this lab's nodes stands in.
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
        // It reports what it could not remove by itself, and the next lab of this number tries again.
        let _ = self.child.wait();
    }
}

/// What stands on this machine of the lab with this number, one line each: control groups with their processes, the link.
pub fn left_behind(number: u8) -> Result<Vec<String>> {
    let link = Path::new("/sys/class/net").join(link(number));
    let mut left: Vec<_> = control_group::left(&group(number))?;
    left.extend(Some(link).filter(|link| link.exists()));
    Ok(left.into_iter().map(|path| path.display().to_string()).collect())
}

fn group(number: u8) -> String {
    format!("holdfast-lab-{number}")
}

fn link(number: u8) -> String {
    format!("hflab{number}")
}

/// The first number that no living lab holds.
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

/// The script in a session of its own: a signal to the terminal's programs doesn't reach it.
fn script(when: &str, number: u8, folder: &Path) -> Command {
    let mut command = Command::new("setsid");
    command.args(["sh", "-c", SCRIPT, "guard", when, &number.to_string()]).arg(folder).stdin(Stdio::null());
    command
}
