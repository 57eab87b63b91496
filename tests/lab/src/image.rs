//! The images that a lab's nodes have from the start, built from files of this machine and kept in the user's cache.
//!
//! Nothing is pulled from a registry: Pods that use these need `imagePullPolicy: IfNotPresent` or `Never`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::programs::cache;

/// The sandbox image, whose process keeps a Pod's namespaces open.
pub(crate) const PAUSE: &str = "localhost/holdfast-lab/pause:1";

/// An image with BusyBox, for workloads that run commands. It starts `/bin/sh`.
pub const SHELL: &str = "localhost/holdfast-lab/shell:1";

const SOURCES: &[(&str, &str)] = &[
    ("Containerfile.pause", include_str!("../images/Containerfile.pause")),
    ("Containerfile.shell", include_str!("../images/Containerfile.shell")),
    ("pause.c", include_str!("../images/pause.c")),
    ("passwd", "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"),
    ("shadow", "root:*:::::::\n"),
];

/// The archives of both images.
pub(crate) struct Images {
    folder: PathBuf,
}

impl Images {
    /// Finds the archives, and builds them if they are missing; `progress` receives a line then.
    pub(crate) fn prepare(progress: &impl Fn(&str)) -> Result<Self> {
        let busybox = fs::read("/bin/busybox").context("reading /bin/busybox: install busybox-static")?;
        let parent = cache()?;
        fs::create_dir_all(&parent).with_context(|| format!("creating {}", parent.display()))?;
        let folder = parent.join(format!("images-{}", key(&busybox)));
        let lock = fs::File::create(parent.join(".images.lock"))?;
        lock.lock().context("waiting for another build to end")?;
        if !folder.is_dir() {
            progress("building the images of the lab's nodes: some seconds, once on this machine");
            let scratch = tempfile::Builder::new().prefix(".building-").tempdir_in(&parent)?;
            build_both(scratch.path(), &busybox)?;
            fs::rename(scratch.path(), &folder).with_context(|| format!("moving the build to {}", folder.display()))?;
        }
        Ok(Self { folder })
    }

    /// The archives to load into a node.
    pub(crate) fn archives(&self) -> [PathBuf; 2] {
        [self.folder.join("pause.tar"), self.folder.join("shell.tar")]
    }
}

fn key(busybox: &[u8]) -> String {
    let mut hash = Sha256::new();
    for part in SOURCES.iter().map(|(_, text)| text.as_bytes()).chain([busybox]) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    HEXLOWER.encode(&hash.finalize()[..8])
}

fn build_both(folder: &Path, busybox: &[u8]) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    for (name, text) in SOURCES {
        fs::write(folder.join(name), text)?;
    }
    let bin = folder.join("bin");
    fs::create_dir(&bin)?;
    fs::write(bin.join("busybox"), busybox)?;
    fs::set_permissions(bin.join("busybox"), fs::Permissions::from_mode(0o755))?;
    for applet in call(&bin, &["./busybox", "--list"])?.lines().filter(|applet| *applet != "busybox") {
        std::os::unix::fs::symlink("busybox", bin.join(applet))?;
    }
    call(folder, &["cc", "-static", "-Os", "-s", "-o", "pause", "pause.c"])?;
    build(folder, "Containerfile.pause", PAUSE, "pause.tar")?;
    build(folder, "Containerfile.shell", SHELL, "shell.tar")
}

/// Builds one image into an archive, in a temporary store.
fn build(folder: &Path, recipe: &str, name: &str, archive: &str) -> Result<()> {
    let store = tempfile::tempdir_in(folder)?;
    let [root, run] = ["root", "run"].map(|part| store.path().join(part).display().to_string());
    let buildah = ["buildah", "--root", &root, "--runroot", &run, "--storage-driver", "vfs"];
    let bud = ["build", "--quiet", "--isolation", "chroot", "--timestamp", "0", "--tag", name, "--file", recipe, "."];
    call(folder, &[&buildah[..], &bud].concat())?;
    call(folder, &[&buildah[..], &["push", "--quiet", name, &format!("docker-archive:{archive}:{name}")]].concat())?;
    Ok(())
}

fn call(folder: &Path, line: &[&str]) -> Result<String> {
    let (program, args) = line.split_first().context("an empty command")?;
    let output = std::process::Command::new(program).args(args).current_dir(folder).output();
    let output = output.with_context(|| format!("starting {program}"))?;
    if !output.status.success() {
        bail!("`{}` failed: {}", line.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
