//! The aggregator's settings: by flag, environment (`HOLDFAST_*`) and file, in that order. Unknown keys are refused.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

/// What an aggregator is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder of its keys, its tokens and, with SQLite, its record.
    pub data: PathBuf,
    /// Where the REST API listens.
    pub api: SocketAddr,
    /// Where agents are served.
    pub agents: SocketAddr,
    /// DNS names and addresses under which agents reach it, beside those of this machine.
    pub names: Vec<String>,
    /// The fleet policy's file; the shipped policy where there is none.
    pub policy: Option<PathBuf>,
    /// The store's address, `sqlite:…` or `postgres://…`; SQLite in the data folder where there is none.
    pub store: Option<String>,
    /// How long after its last change a verified finding is looked at again; never where there is none.
    pub recheck: Option<Duration>,
}

/// Settings as flags and environment give them.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// Folder of its keys, its tokens and, with SQLite, its record
    #[arg(long, env = "HOLDFAST_DATA", value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Where the REST API listens; plain HTTP, so put a TLS proxy in front of any address but loopback
    #[arg(long, env = "HOLDFAST_API", value_name = "ADDRESS:PORT")]
    api: Option<SocketAddr>,
    /// Where agents are served, by mTLS
    #[arg(long, env = "HOLDFAST_AGENTS", value_name = "ADDRESS:PORT")]
    agents: Option<SocketAddr>,
    /// A name under which agents reach it (repeatable)
    #[arg(long = "server-name", env = "HOLDFAST_SERVER_NAMES", value_delimiter = ',', value_name = "NAME")]
    names: Vec<String>,
    /// Fleet policy: bands and what they do to severity
    #[arg(long, env = "HOLDFAST_POLICY", value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Where the record is kept: `sqlite:FILE` or `postgres://…`
    #[arg(long, env = "HOLDFAST_STORE", hide_env_values = true, value_name = "ADDRESS")]
    store: Option<String>,
    /// Hours after which a verified finding is looked at again; 0 for never
    #[arg(long, env = "HOLDFAST_RECHECK_HOURS", value_name = "HOURS")]
    recheck_hours: Option<u32>,
    /// Settings file (YAML) with the same names; flags and environment win over it
    #[arg(long, env = "HOLDFAST_SETTINGS", value_name = "FILE")]
    settings: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    data: Option<PathBuf>,
    api: Option<SocketAddr>,
    agents: Option<SocketAddr>,
    server_names: Vec<String>,
    policy: Option<PathBuf>,
    store: Option<String>,
    recheck_hours: Option<u32>,
}

impl Flags {
    /// The settings: each from the first place that has it.
    pub fn settle(self) -> Result<Settings> {
        let file = self.settings.as_deref().map(File::read).transpose()?.unwrap_or_default();
        let names = if self.names.is_empty() { file.server_names } else { self.names };
        Ok(Settings {
            data: self.data.or(file.data).unwrap_or_else(|| PathBuf::from("holdfast-data")),
            api: self.api.or(file.api).unwrap_or(DEFAULT_API),
            agents: self.agents.or(file.agents).unwrap_or(DEFAULT_AGENTS),
            names,
            policy: self.policy.or(file.policy),
            store: self.store.or(file.store),
            recheck: match self.recheck_hours.or(file.recheck_hours) {
                None => Some(DEFAULT_RECHECK),
                Some(hours) => Some(HOUR * hours).filter(|period| !period.is_zero()),
            },
        })
    }
}

/// Where the API listens by default: this machine only.
pub const DEFAULT_API: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8470);
/// Where agents are served by default: this machine only.
pub const DEFAULT_AGENTS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8471);
/// A day after its last change, a verified finding is looked at again by default.
pub const DEFAULT_RECHECK: Duration = Duration::from_secs(24 * 60 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);

impl File {
    fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("reading the settings file {}", path.display()))?;
        serde_saphyr::from_str(&text).with_context(|| format!("in the settings file {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.yaml");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let (_folder, path) = file("api: 127.0.0.1:1\nagents: 127.0.0.1:2\n");
        let flags = Flags { api: Some(DEFAULT_API), settings: Some(path), ..Flags::default() };
        let settings = flags.settle().unwrap();
        assert_eq!((settings.api, settings.agents.port()), (DEFAULT_API, 2));
    }

    #[test]
    fn verified_findings_are_rechecked_daily_unless_said_otherwise() {
        let recheck = |hours| Flags { recheck_hours: hours, ..Flags::default() }.settle().unwrap().recheck;
        assert_eq!([None, Some(6), Some(0)].map(recheck), [Some(DEFAULT_RECHECK), Some(HOUR * 6), None]);
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let (_folder, path) = file("apis: 127.0.0.1:1\n");
        let error = format!("{:#}", Flags { settings: Some(path), ..Flags::default() }.settle().unwrap_err());
        assert!(error.contains("apis"), "{error}");
    }
}
