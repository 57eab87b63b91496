//! The images of this workspace's programs, built as `make images` builds them, from the dev programs that the tests use.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::programs::program;

/// The names of both images, without tag.
pub const IMAGES: [&str; 2] = ["holdfast-agent", "holdfast-aggregator"];

/// Builds both images into a folder: of each `NAME.tar`, `NAME.id` and `NAME.cdx.json`. Their names in the archives are
/// `localhost/NAME:TAG`.
pub async fn build(folder: &Path, tag: &str) -> Result<()> {
    for name in IMAGES {
        program(name)?;
    }
    let root = root()?;
    let mut command = tokio::process::Command::new(root.join("scripts/images"));
    command.args(["--dev", "--tag", tag, "--out"]).arg(folder).kill_on_drop(true);
    let output = command.output().await.context("starting scripts/images")?;
    if !output.status.success() {
        bail!("scripts/images failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// The workspace's folder.
pub fn root() -> Result<PathBuf> {
    Ok(Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests are not in a workspace")?.to_owned())
}
