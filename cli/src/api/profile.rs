//! The profile: the server and the token that `holdfast up` leaves for the commands that follow it.
//!
//! A JSON file that only its owner can read: `$HOLDFAST_CONFIG`, else `$XDG_CONFIG_HOME/holdfast/profile.json`, else
//! `~/.config/holdfast/profile.json`. No file is no error; a file that others can read is refused.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

/// Where to ask, and as whom.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Address of the API.
    pub server: String,
    /// API token.
    pub token: String,
    /// PEM file of the API's certificate authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// Shows the server, never the token.
impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profile").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Profile {
    /// The profile of this user, if there is one.
    pub fn load() -> anyhow::Result<Option<Self>> {
        path().map_or(Ok(None), |path| Self::read(&path))
    }

    /// Writes the profile of this user and answers where it stands.
    #[allow(dead_code, reason = "`holdfast up` writes it")]
    pub fn save(&self) -> anyhow::Result<PathBuf> {
        let path = path().context("no place for the profile: set HOLDFAST_CONFIG or HOME")?;
        self.write(&path)?;
        Ok(path)
    }

    fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("the profile {} is unreadable", path.display())),
        };
        refuse_if_shared(path)?;
        // The parser's message may quote the text, which holds a token: its position is enough.
        let profile = serde_json::from_str(&text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            anyhow::anyhow!("the profile {} is malformed at line {line}, column {column}", path.display())
        })?;
        Ok(Some(profile))
    }

    /// Written beside and renamed, so that a reader sees the old profile or the new one.
    fn write(&self, path: &Path) -> anyhow::Result<()> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).with_context(|| format!("the folder {} can't be made", parent.display()))?;
        let draft = path.with_extension(format!("{}.tmp", std::process::id()));
        let written = private_file(&draft).and_then(|mut file| {
            file.write_all(serde_json::to_string_pretty(self)?.as_bytes())?;
            file.sync_all()?;
            fs::rename(&draft, path)
        });
        written.with_context(|| format!("the profile {} can't be written", path.display()))
    }
}

fn path() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("HOLDFAST_CONFIG").or_else(|| {
        let config = named("XDG_CONFIG_HOME").or_else(|| named("HOME").map(|home| home.join(".config")))?;
        Some(config.join("holdfast/profile.json"))
    })
}

#[cfg(unix)]
fn private_file(path: &Path) -> std::io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

#[cfg(not(unix))]
fn private_file(path: &Path) -> std::io::Result<fs::File> {
    fs::File::create(path)
}

#[cfg(unix)]
fn refuse_if_shared(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!("the profile {0} holds a token and others may read it: run `chmod 600 {0}`", path.display());
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_if_shared(_path: &Path) -> anyhow::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Profile {
        Profile { server: "http://127.0.0.1:8470".into(), token: "hf_api_x.y".into(), ca_file: None }
    }

    #[test]
    fn a_profile_reads_back_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("holdfast/profile.json");
        assert_eq!(Profile::read(&path).unwrap(), None);
        example().write(&path).unwrap();
        assert_eq!(Profile::read(&path).unwrap(), Some(example()));
    }

    #[cfg(unix)]
    #[test]
    fn a_profile_that_others_can_read_is_refused_with_the_remedy() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile.json");
        example().write(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Profile::read(&path).unwrap_err().to_string().contains("chmod 600"));
    }

    #[test]
    fn a_malformed_profile_is_refused_without_repeating_its_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile.json");
        private_file(&path).unwrap().write_all(b"{\"server\": 1, \"token\": \"hf_api_secret\"}").unwrap();
        let error = format!("{:#}", Profile::read(&path).unwrap_err());
        assert!(error.contains("line 1") && !error.contains("hf_api_secret"), "{error}");
    }
}
