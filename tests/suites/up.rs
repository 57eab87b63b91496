//! `holdfast up` for a new user: what it prints, what it keeps across restarts, and what it never does without consent.

use anyhow::{Context, Result, ensure};
use holdfast_lab::ControlPlane;
use holdfast_tests::programs::{Process, eventually, free_ports, program};
use holdfast_tests::tier;
use serde_json::Value;
use tempfile::TempDir;

/// A user's data folder, profile and ports.
struct User {
    folder: TempDir,
    api: u16,
    agents: u16,
}

impl User {
    fn new() -> Result<Self> {
        let [api, agents] = free_ports()?;
        Ok(Self { folder: tempfile::tempdir()?, api, agents })
    }

    fn profile(&self) -> String {
        self.folder.path().join("profile.json").display().to_string()
    }

    fn args(&self, more: &[String]) -> Vec<String> {
        let own = [
            "up".to_owned(),
            format!("--data={}", self.folder.path().join("data").display()),
            format!("--api=127.0.0.1:{}", self.api),
            format!("--agents=127.0.0.1:{}", self.agents),
        ];
        [&own, more].concat()
    }

    /// Starts `holdfast up` and waits until it prints that it is ready.
    async fn up(&self, more: &[String]) -> Result<Process> {
        let log = self.folder.path().join("up.log");
        let ready = || std::fs::read_to_string(&log).unwrap_or_default().matches("Ctrl-C ends it").count();
        let before = ready();
        let mut process = Process::start("holdfast", &log, &self.args(more), &[("HOLDFAST_CONFIG", &self.profile())])?;
        eventually("holdfast up to be ready", async || {
            process.check()?;
            Ok((ready() > before).then_some(()))
        })
        .await?;
        Ok(process)
    }

    async fn holdfast(&self, args: &[&str]) -> Result<Value> {
        let mut command = tokio::process::Command::new(program("holdfast")?);
        let output = command.args(args).env("HOLDFAST_CONFIG", self.profile()).output().await?;
        serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_finds_the_same_cluster_again_with_its_findings() -> Result<()> {
    let programs = tokio::task::spawn_blocking(|| holdfast_lab::Programs::prepare(|line| println!("{line}"))).await?;
    if tier::available("apiserver", programs)?.is_none() {
        return Ok(());
    }
    let user = User::new()?;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut up = user.up(&[]).await?;
        let clusters = user.holdfast(&["cluster", "list", "-o", "json"]).await?;
        ensure!(clusters.as_array().is_some_and(|all| all.len() == 1), "one cluster, not {clusters}");
        let findings = user.holdfast(&["findings", "--severity", "critical", "-o", "json"]).await?;
        let findings = findings.as_array().context("no list")?;
        let mut found: Vec<_> = findings.iter().filter_map(|row| row["id"].as_str().map(str::to_owned)).collect();
        ensure!(findings.iter().all(|row| row["reopened"] == 0), "a restart reopened something: {findings:?}");
        found.sort();
        ids.push(found);
        up.interrupt().await?;
    }
    assert!(ids[0].len() >= 3, "{ids:?}");
    assert_eq!(ids[0], ids[1]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_cluster_is_read_only_after_the_user_has_agreed() -> Result<()> {
    let Some(plane) = tier::available("apiserver", ControlPlane::start("other-team").await)? else { return Ok(()) };
    let user = User::new()?;
    let named = ["--context=other-team".to_owned(), format!("--kubeconfig={}", plane.kubeconfig().display())];
    let mut command = tokio::process::Command::new(program("holdfast")?);
    command.args(user.args(&named)).env("HOLDFAST_CONFIG", user.profile()).stdin(std::process::Stdio::null());
    let output = command.output().await?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains(plane.url()) && stderr.contains("get, list, watch"), "{stderr}");
    assert!(!stderr.to_lowercase().contains("secrets:") && stderr.contains("--yes"), "{stderr}");

    let agreed = [&named[..], &["--yes".to_owned()]].concat();
    let mut up = user.up(&agreed).await?;
    let clusters = user.holdfast(&["cluster", "list", "-o", "json"]).await?;
    assert_eq!(clusters[0]["name"], "other-team");
    up.interrupt().await
}
