//! The lab's control groups, in every hierarchy that the machine mounts.
//!
//! A kubelet removes the groups of Pods that it doesn't know, so each node has a group that no other kubelet manages.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const MOUNT: &str = "/sys/fs/cgroup";

/// Makes a group in every hierarchy.
pub(crate) fn make(group: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let folder = hierarchy.join(group);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    Ok(())
}

/// The file that moves a process into a group of the unified hierarchy; everything that it starts then belongs to the group.
pub(crate) fn entry(group: &str) -> PathBuf {
    unified().join(group).join("cgroup.procs")
}

/// Every folder of a group that exists.
pub(crate) fn existing(group: &str) -> Result<Vec<PathBuf>> {
    Ok(hierarchies()?.into_iter().map(|hierarchy| hierarchy.join(group)).filter(|folder| folder.exists()).collect())
}

fn unified() -> PathBuf {
    let mount = Path::new(MOUNT);
    if only_unified() { mount.to_owned() } else { mount.join("unified") }
}

fn only_unified() -> bool {
    Path::new(MOUNT).join("cgroup.controllers").exists()
}

fn hierarchies() -> Result<Vec<PathBuf>> {
    if only_unified() {
        return Ok(vec![unified()]);
    }
    let entries = fs::read_dir(MOUNT).with_context(|| format!("reading {MOUNT}"))?;
    let folders = entries.map(|entry| Ok(entry?.path()));
    Ok(folders.collect::<Result<Vec<_>>>()?.into_iter().filter(|path| path.is_dir() && !path.is_symlink()).collect())
}
