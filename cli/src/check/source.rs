//! Which files to read: those that are named, those below the folders that are named, and the standard input for `-`.
//!
//! Folders are walked in order of name, without hidden entries and without following links, so that a run is the same
//! every time and always ends. It opens nothing.

use std::fs;
use std::path::{Path, PathBuf};

/// Where documents come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl Source {
    /// How the user would name it.
    pub fn name(&self) -> String {
        match self {
            Self::Stdin => "(standard input)".to_owned(),
            Self::File(path) => path.strip_prefix(".").unwrap_or(path).display().to_string(),
        }
    }
}

/// A source, or a folder that could not be walked and why.
pub type Found = Result<Source, (PathBuf, String)>;

const MAX_DEPTH: usize = 64;
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// The sources that these arguments name.
pub fn find(arguments: &[PathBuf]) -> Vec<Found> {
    let mut found = Vec::new();
    for path in arguments {
        if path.as_os_str() == "-" {
            found.push(Ok(Source::Stdin));
        } else if path.is_dir() {
            let before = found.len();
            walk(path, 0, &mut found);
            if found.len() == before {
                found.push(Err((path.clone(), "there is no *.yaml, *.yml or *.json file in this folder".to_owned())));
            }
        } else {
            found.push(Ok(Source::File(path.clone())));
        }
    }
    found
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<Found>) {
    if depth > MAX_DEPTH {
        return found.push(Err((folder.to_owned(), format!("folders are nested more than {MAX_DEPTH} deep"))));
    }
    let entries = match fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>) {
        Ok(entries) => entries,
        Err(error) => return found.push(Err((folder.to_owned(), format!("this folder can't be read: {error}")))),
    };
    let mut paths: Vec<_> = entries.into_iter().map(|entry| (entry.path(), entry.file_type())).collect();
    paths.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (path, kind) in paths {
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let Ok(kind) = kind else { continue };
        let manifest =
            path.extension().is_some_and(|end| EXTENSIONS.iter().any(|known| end.eq_ignore_ascii_case(known)));
        if hidden {
            continue;
        } else if kind.is_dir() {
            walk(&path, depth + 1, found);
        } else if manifest && path.is_file() {
            found.push(Ok(Source::File(path)));
        }
    }
}
