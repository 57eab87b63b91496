//! Where the authority keeps what it must not lose: a key and its certificate in one file, so that no crash splits them.
//!
//! A file is written beside its place, synced, and moved; then the folder is synced. Files that others may read are
//! refused, not repaired: whoever could read a key may have.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Why the authority's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// The operating system refuses.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than the owner have rights on it.
    #[error("{} has mode {mode:o}: others may have read the key. If you know that none did, run: chmod go-rwx {}", path.display(), path.display())]
    Open {
        /// The file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

fn io_problem(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileProblem {
    let path = path.to_owned();
    move |source| FileProblem::Io { doing, path, source }
}

/// Creates the folder for the owner alone, or checks that it is so.
pub fn folder(path: &Path) -> Result<(), FileProblem> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_problem("create", path))?;
    owner_only(path)
}

/// The text of a private file; none if there is no such file.
pub fn read(path: &Path) -> Result<Option<String>, FileProblem> {
    match fs::read_to_string(path) {
        Ok(text) => owner_only(path).map(|()| Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_problem("read", path)(error)),
    }
}

/// Writes a file that must not exist yet. Of two processes that try at once, one gets the error that it exists.
pub fn create(path: &Path, text: &str) -> Result<(), FileProblem> {
    let beside = write_beside(path, text)?;
    fs::hard_link(&beside, path).map_err(io_problem("create", path))?;
    fs::remove_file(&beside).map_err(io_problem("remove", &beside))?;
    sync_folder(path)
}

/// Writes a file, in place of the one that may be there.
pub fn replace(path: &Path, text: &str) -> Result<(), FileProblem> {
    let beside = write_beside(path, text)?;
    fs::rename(&beside, path).map_err(io_problem("replace", path))?;
    sync_folder(path)
}

fn write_beside(path: &Path, text: &str) -> Result<PathBuf, FileProblem> {
    let beside = path.with_extension(format!("new-{}", std::process::id()));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(io_problem("write", &beside))?;
    Ok(beside)
}

fn sync_folder(path: &Path) -> Result<(), FileProblem> {
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_problem("sync", folder))
}

fn owner_only(path: &Path) -> Result<(), FileProblem> {
    let mode = fs::metadata(path).map_err(io_problem("inspect", path))?.mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(FileProblem::Open { path: path.to_owned(), mode }) }
}
