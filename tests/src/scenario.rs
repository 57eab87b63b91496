//! Holdfast as processes beside control planes: an aggregator, agents with the least rights, and the command `holdfast`.
//!
//! Every program is the real one in a process of its own, connected by mTLS. A scenario changes things with `kubectl` and
//! `holdfast` and reads what `holdfast … -o json` prints. Each scenario has its own ports and folders.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use holdfast_agent::rights::{self, Scope, Subject};
use holdfast_lab::{ControlPlane, apply};
use serde_json::Value;
use tempfile::TempDir;

use crate::programs::{Process, eventually, free_ports, program};

/// The user as whom an agent speaks to its API server.
const AGENT: &str = "holdfast-agent";

/// One running Holdfast.
pub struct Scenario {
    folder: TempDir,
    api: u16,
    agents: u16,
    aggregator: Process,
    policy: Option<PathBuf>,
}

/// One agent of a scenario. The control plane's name is the cluster's name.
pub struct Agent {
    process: Process,
    start: Vec<String>,
    log: PathBuf,
    started: Started,
    /// Its cluster's id.
    pub cluster: String,
}

/// When a program was started, and how long its log was then.
#[derive(Debug, Clone, Copy)]
struct Started {
    at: Instant,
    log: u64,
}

impl Scenario {
    /// Starts an aggregator with the shipped policy.
    pub async fn start() -> Result<Self> {
        Self::start_with(None).await
    }

    /// Starts an aggregator with this fleet policy.
    pub async fn start_with(policy: Option<&str>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("holdfast-scenario-").tempdir()?;
        let policy = policy.map(|yaml| (folder.path().join("policy.yaml"), yaml));
        if let Some((path, yaml)) = &policy {
            std::fs::write(path, yaml)?;
        }
        let policy = policy.map(|(path, _)| path);
        let [api, agents] = free_ports()?;
        let aggregator = start_aggregator(&folder, api, agents, policy.as_deref())?;
        let mut scenario = Self { folder, api, agents, aggregator, policy };
        scenario.until_ready().await?;
        Ok(scenario)
    }

    /// Ends the aggregator as `kill -9` does.
    pub async fn kill_aggregator(&mut self) -> Result<()> {
        self.aggregator.kill().await
    }

    /// Starts the aggregator again on the same data folder.
    pub async fn restart_aggregator(&mut self) -> Result<()> {
        self.aggregator = start_aggregator(&self.folder, self.api, self.agents, self.policy.as_deref())?;
        self.until_ready().await
    }

    /// Adds a control plane as a cluster and starts its agent with the rights that it lists, and no other.
    pub async fn join(&self, plane: &ControlPlane) -> Result<Agent> {
        self.join_through(plane, self.agents).await
    }

    /// The same, with an agent that connects to the aggregator at another port, such as a proxy's.
    pub async fn join_through(&self, plane: &ControlPlane, port: u16) -> Result<Agent> {
        grant(plane, &[]).await?;
        let added = self.holdfast(&["cluster", "add", plane.name(), "-o", "json"]).await?;
        self.start_agent(&added, &plane.kubeconfig_for(AGENT, &[])?, &format!("https://127.0.0.1:{port}"))
    }

    /// Starts the agent of a cluster with what `holdfast cluster add` has printed.
    pub fn start_agent(&self, added: &Value, kubeconfig: &Path, aggregator: &str) -> Result<Agent> {
        let text = |part: &str| added[part].as_str().with_context(|| format!("no {part}"));
        let (name, token, cluster) = (text("cluster")?, text("token")?, text("cluster_id")?.to_owned());
        let state = self.folder.path().join(format!("agent-{name}"));
        std::fs::create_dir_all(&state)?;
        let token_file = state.join("join-token");
        std::fs::write(&token_file, token)?;
        let start = vec![
            format!("--aggregator={aggregator}"),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--state-dir={}", state.display()),
            format!("--join-token-file={}", token_file.display()),
            format!("--name={name}"),
            "--log-json".to_owned(),
        ];
        let log = self.folder.path().join(format!("agent-{name}.log"));
        let started = Started::now(&log);
        let process = Process::start("holdfast-agent", &log, &start, &[])?;
        Ok(Agent { process, start, log, started, cluster })
    }

    /// Runs `holdfast` and reads the JSON that it prints. Fails unless it exits with 0.
    pub async fn holdfast(&self, args: &[&str]) -> Result<Value> {
        let (code, answer) = self.holdfast_code(args).await?;
        ensure!(code == 0, "`holdfast {}` exited with {code}: {answer}", args.join(" "));
        Ok(answer)
    }

    /// Runs `holdfast`; answers its exit code and the JSON that it printed.
    pub async fn holdfast_code(&self, args: &[&str]) -> Result<(i32, Value)> {
        let output = tokio::process::Command::new(program("holdfast")?)
            .args(args)
            .env("HOLDFAST_SERVER", format!("http://127.0.0.1:{}", self.api))
            .env("HOLDFAST_TOKEN", self.token()?)
            .env("HOLDFAST_CONFIG", self.folder.path().join("no-profile.json"))
            .kill_on_drop(true)
            .output()
            .await?;
        let code = output.status.code().context("holdfast was ended by a signal")?;
        let printed = String::from_utf8_lossy(&output.stdout);
        if code > 1 {
            bail!("`holdfast {}` exited with {code}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        let answer =
            if printed.trim().is_empty() { Value::Null } else { serde_json::from_str(&printed).context("no JSON")? };
        Ok((code, answer))
    }

    /// Waits until the agent of a cluster reports complete coverage.
    pub async fn until_observed(&self, cluster: &str) -> Result<()> {
        eventually(&format!("{cluster} to be covered"), async || {
            let shown = self.holdfast(&["cluster", "show", cluster, "-o", "json"]).await?;
            let states = shown["coverage"].as_array().context("no coverage")?;
            let covered = states.iter().filter(|state| state["state"] == "seen").count();
            ensure!(covered > 0 && covered == states.len(), "{covered} of {} kinds are covered", states.len());
            Ok(Some(()))
        })
        .await
        .with_context(|| self.logs())
    }

    /// The end of every log, for the message of a failure.
    fn logs(&self) -> String {
        let logs = self.everything_written().unwrap_or_default().into_iter().filter(|(name, _)| name.ends_with(".log"));
        let tails = logs.map(|(name, bytes)| {
            let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(4000)..]).into_owned();
            format!("-- {name}\n{text}\n")
        });
        tails.collect()
    }

    /// The rows of `holdfast findings` with these filters.
    pub async fn findings(&self, filters: &[&str]) -> Result<Vec<Value>> {
        let (_, rows) = self.holdfast_code(&[&["findings", "-o", "json"], filters].concat()).await?;
        Ok(rows.as_array().context("findings are no list")?.clone())
    }

    /// Waits for the one finding of a control in a namespace of a cluster.
    pub async fn finding(&self, cluster: &str, namespace: &str, control: &str) -> Result<Value> {
        let filters = ["--cluster", cluster, "--namespace", namespace, "--control", control];
        let what = format!("a finding of {control} in {namespace}");
        eventually(&what, async || Ok(self.findings(&filters).await?.into_iter().next())).await
    }

    /// The whole record of a finding.
    pub async fn show(&self, id: &str) -> Result<Value> {
        self.holdfast(&["finding", "show", id, "-o", "json"]).await
    }

    /// Waits until a finding has this status and answers its whole record.
    pub async fn until(&self, id: &str, status: &str) -> Result<Value> {
        eventually(&format!("{id} to be {status}"), async || {
            let finding = self.show(id).await?;
            let reached = finding["status"] == status;
            ensure!(reached, "it is {}: {}", finding["status"], finding["reason"]);
            Ok(Some(finding))
        })
        .await
    }

    /// The fingerprint of the installation's root.
    pub fn root_fingerprint(&self) -> Result<String> {
        let text = std::fs::read_to_string(self.data().join("root.fingerprint"))?;
        Ok(text.trim().to_owned())
    }

    /// A path in the scenario's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Every file that the aggregator and the agents have written, with its path and its bytes.
    pub fn everything_written(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut files = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.push((path.display().to_string(), std::fs::read(&path)?));
                }
            }
        }
        Ok(files)
    }

    /// The port on which agents are served.
    pub fn agents_port(&self) -> u16 {
        self.agents
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("aggregator")
    }

    /// Where the API is.
    pub fn api_url(&self) -> String {
        format!("http://127.0.0.1:{}/api/v1", self.api)
    }

    /// The aggregator's process.
    pub fn aggregator_pid(&self) -> Result<u32> {
        self.aggregator.pid()
    }

    /// The administrator's token.
    pub fn token(&self) -> Result<String> {
        let path = self.data().join("admin.token");
        Ok(std::fs::read_to_string(path).context("no admin token yet")?.trim().to_owned())
    }

    async fn until_ready(&mut self) -> Result<()> {
        let url = format!("http://127.0.0.1:{}/readyz", self.api);
        let http = reqwest::Client::builder().build()?;
        let aggregator = &mut self.aggregator;
        eventually("the aggregator to serve", async || {
            aggregator.check()?;
            Ok(http.get(&url).send().await?.status().is_success().then_some(()))
        })
        .await
    }
}

impl Agent {
    /// Ends the agent as `kill -9` does.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Starts it again with the credential that it has stored.
    pub fn restart(&mut self) -> Result<()> {
        self.started = Started::now(&self.log);
        self.process = Process::start("holdfast-agent", &self.log, &self.start, &[])?;
        Ok(())
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        self.process.tail()
    }

    /// Its process.
    pub fn pid(&self) -> Result<u32> {
        self.process.pid()
    }

    /// When it was started last.
    pub fn started_at(&self) -> Instant {
        self.started.at
    }

    /// The lines of its log since it was started last, as JSON. An incomplete last line is left out.
    pub fn log_lines(&self) -> Result<Vec<Value>> {
        let mut log = File::open(&self.log)?;
        log.seek(SeekFrom::Start(self.started.log))?;
        let mut text = String::new();
        log.read_to_string(&mut text)?;
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }
}

impl Started {
    fn now(log: &Path) -> Self {
        Self { log: log.metadata().map_or(0, |file| file.len()), at: Instant::now() }
    }
}

/// Grants the agent's user the rights that the agent lists, except those on some resources.
pub async fn grant(plane: &ControlPlane, without: &[&str]) -> Result<()> {
    let rights: Vec<_> = rights::rights().into_iter().filter(|right| !without.contains(&right.resource)).collect();
    apply(&plane.client().await?, &rights::grant(AGENT, Scope::Cluster, Subject::User(AGENT), &rights)).await
}

fn start_aggregator(folder: &TempDir, api: u16, agents: u16, policy: Option<&Path>) -> Result<Process> {
    let mut args = vec![
        format!("--data={}", folder.path().join("aggregator").display()),
        format!("--api=127.0.0.1:{api}"),
        format!("--agents=127.0.0.1:{agents}"),
    ];
    args.extend(policy.map(|path| format!("--policy={}", path.display())));
    Process::start("holdfast-aggregator", &folder.path().join("aggregator.log"), &args, &[])
}
