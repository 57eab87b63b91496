//! A PostgreSQL server for one test: the one that the environment names, or one of its own on a socket in a temporary folder.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Where Debian keeps the programs.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

/// A running server. Dropping it ends what was started.
pub struct Server {
    /// The address of an empty database.
    pub address: String,
    started: Option<(Child, TempDir)>,
}

impl Server {
    pub fn start() -> Result<Self, String> {
        if let Ok(address) = std::env::var("HOLDFAST_TEST_POSTGRES") {
            return Ok(Self { address, started: None });
        }
        if !Path::new(PROGRAMS).join("initdb").exists() {
            return Err(format!("no programs in {PROGRAMS}, and HOLDFAST_TEST_POSTGRES is not set"));
        }
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        give_away(folder.path())?;
        let data = folder.path().join("data");
        let made = as_server("initdb")
            .args(["--auth=trust", "--username=holdfast", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .output()
            .map_err(|error| format!("initdb: {error}"))?;
        if !made.status.success() {
            return Err(format!("initdb: {}", String::from_utf8_lossy(&made.stderr)));
        }
        let child = as_server("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-k"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("postgres: {error}"))?;
        wait_for(&folder.path().join(".s.PGSQL.5432"))?;
        let socket = folder.path().display().to_string().replace('/', "%2F");
        let address = format!("postgres://holdfast@{socket}/postgres");
        Ok(Self { address, started: Some((child, folder)) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some((mut child, folder)) = self.started.take() else { return };
        let data = folder.path().join("data");
        let _ = as_server("pg_ctl").args(["stop", "-m", "immediate", "-D"]).arg(data).stdout(Stdio::null()).status();
        let _ = child.wait();
    }
}

/// The server refuses to run as root; there it runs as the user that its package made.
fn as_server(program: &str) -> Command {
    let path: PathBuf = Path::new(PROGRAMS).join(program);
    if !is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(path);
    command
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

fn give_away(folder: &Path) -> Result<(), String> {
    if !is_root() {
        return Ok(());
    }
    let id = |flag| {
        let output = Command::new("id").args([flag, "postgres"]).output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        text.parse::<u32>().map_err(|_| "there is no user postgres".to_owned())
    };
    chown(folder, Some(id("-u")?), Some(id("-g")?)).map_err(|error| error.to_string())?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).map_err(|error| error.to_string())
}

fn wait_for(socket: &Path) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        if std::os::unix::net::UnixStream::connect(socket).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err("postgres did not open its socket in time".into())
}
