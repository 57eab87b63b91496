//! One control plane: its programs in the order in which they need each other, and the ways to speak to it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;
use tempfile::TempDir;

use crate::keeper::Keeper;
use crate::manifests::planted;
use crate::pki::{Identity, Pki, write_secret};
use crate::programs::Programs;

/// How long a control plane may take until it serves; it takes 2 to 4 seconds on two idle cores.
const START: Duration = Duration::from_secs(90);

/// The controllers that make an API server a cluster: default service accounts, aggregated roles, namespaces that really
/// go away, owners that are collected, and the workloads' own.
const CONTROLLERS: &[&str] = &[
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "clusterrole-aggregation-controller",
    "namespace-controller",
    "garbage-collector-controller",
    "deployment-controller",
    "replicaset-controller",
    "replicationcontroller-controller",
    "daemonset-controller",
    "statefulset-controller",
    "job-controller",
    "cronjob-controller",
];

/// What kind of control plane to start.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where it keeps its data; none for a temporary folder that goes when it stops.
    pub folder: Option<PathBuf>,
    /// How many nodes kwok plays. None: Pods stay pending, as nothing runs them.
    pub nodes: u16,
    /// Controllers that are left out: a cluster of a size that is chosen wants none that make more objects.
    pub without: &'static [&'static str],
}

/// A running control plane. Dropping it stops its programs.
pub struct ControlPlane {
    // Dropped first: the programs end before their folder goes.
    keeper: Keeper,
    name: String,
    folder: PathBuf,
    pki: Pki,
    programs: Programs,
    url: String,
    _temporary: Option<TempDir>,
}

impl ControlPlane {
    /// Starts a temporary control plane without nodes, building its programs first where they are missing.
    pub async fn start(name: &str) -> Result<Self> {
        Self::start_with(name, Options::default(), |line| eprintln!("lab: {line}")).await
    }

    /// Starts a control plane; `progress` hears of each step.
    pub async fn start_with(
        name: &str,
        options: Options,
        progress: impl Fn(&str) + Send + Clone + 'static,
    ) -> Result<Self> {
        let hear = progress.clone();
        let programs = tokio::task::spawn_blocking(move || Programs::prepare(hear)).await??;
        let (folder, temporary) = match options.folder {
            Some(folder) => (folder, None),
            None => {
                let temporary = tempfile::Builder::new().prefix("holdfast-lab-").tempdir()?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let pki = Pki::open(&folder.join("pki"))?;
        let [etcd, etcd_peer, apiserver, kwok] = free_ports()?;
        let plane = Self {
            keeper: Keeper::new(&folder)?,
            name: name.to_owned(),
            url: format!("https://127.0.0.1:{apiserver}"),
            folder,
            pki,
            programs,
            _temporary: temporary,
        };
        plane.write_kubeconfig("admin", &["system:masters"])?;
        plane.keeper.start("etcd", plane.programs.etcd(), &plane.etcd_args(etcd, etcd_peer))?;
        plane.keeper.start("kube-apiserver", plane.programs.apiserver(), &plane.apiserver_args(etcd, apiserver))?;
        plane.until_it_serves().await?;
        plane.start_controllers(options.nodes, options.without, kwok).await?;
        progress(&format!("{name} serves at {}", plane.url));
        Ok(plane)
    }

    /// The name it was started under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The API server's address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A kubeconfig file with every right, for its administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("admin.kubeconfig")
    }

    /// A kubeconfig file for a user with these groups and no rights of its own: bind some.
    pub fn kubeconfig_for(&self, user: &str, groups: &[&str]) -> Result<PathBuf> {
        self.write_kubeconfig(user, groups)
    }

    /// A client with every right.
    pub async fn client(&self) -> Result<Client> {
        client(&self.kubeconfig()).await
    }

    /// A client for a user with these groups.
    pub async fn client_for(&self, user: &str, groups: &[&str]) -> Result<Client> {
        client(&self.kubeconfig_for(user, groups)?).await
    }

    /// Runs kubectl as the administrator, as a person at a shell would; answers what it printed.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        let mut command = tokio::process::Command::new(self.programs.kubectl());
        let output = command.arg("--kubeconfig").arg(self.kubeconfig()).args(args).kill_on_drop(true).output().await?;
        printed(&format!("kubectl {}", args.join(" ")), output)
    }

    /// Runs a line in a shell whose `kubectl` is this cluster's administrator: what a person pastes.
    pub async fn shell(&self, line: &str) -> Result<String> {
        let kubectl = self.programs.kubectl();
        let folder = kubectl.parent().context("kubectl stands in no folder")?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(folder.to_owned()).chain(std::env::split_paths(&path)))?;
        let mut command = tokio::process::Command::new("sh");
        command.args(["-c", line]).env("PATH", path).env("KUBECONFIG", self.kubeconfig()).kill_on_drop(true);
        printed(line, command.output().await?)
    }

    /// Applies the planted fleet of workloads: some good, some bad.
    pub async fn plant(&self) -> Result<()> {
        for (file, manifests) in planted() {
            let path = self.folder.join(file);
            std::fs::write(&path, manifests)?;
            self.kubectl(&["apply", "--server-side", "-f", &path.display().to_string()]).await?;
        }
        Ok(())
    }

    /// The folder with its data and logs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Creates a namespace and waits until Pods can be created in it: until its default service account is there.
    pub async fn namespace(&self, name: &str, labels: &[(&str, &str)]) -> Result<()> {
        let client = self.client().await?;
        let labels: std::collections::BTreeMap<_, _> = labels.iter().copied().collect();
        let namespace = serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}}))?;
        Api::<Namespace>::all(client.clone()).create(&kube::api::PostParams::default(), &namespace).await?;
        let accounts = Api::<ServiceAccount>::namespaced(client, name);
        self.until("the default service account", async || Ok(accounts.get_opt("default").await?.is_some())).await
    }

    /// Waits until a condition holds, while the programs run.
    pub async fn until(&self, what: &str, condition: impl AsyncFn() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + START;
        let mut last = None;
        while Instant::now() < deadline {
            self.keeper.check()?;
            match condition().await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        let last = last.map_or(String::new(), |error| format!("; the last answer was: {error:#}"));
        bail!("{}: waited {} s for {what}{last}\n{}", self.name, START.as_secs(), self.keeper.tails())
    }

    async fn until_it_serves(&self) -> Result<()> {
        let client = self.client().await?;
        let ready = http::Request::get("/readyz").body(Vec::new())?;
        self.until("the API server", async || Ok(client.request_text(ready.clone()).await? == "ok")).await
    }

    async fn start_controllers(&self, nodes: u16, without: &[&str], port: u16) -> Result<()> {
        let args = self.controller_args(without);
        self.keeper.start("kube-controller-manager", &self.programs.controller_manager(), &args)?;
        if nodes > 0 {
            self.keeper.start("kube-scheduler", &self.programs.scheduler(), &self.scheduler_args())?;
            self.keeper.start("kwok", &self.programs.kwok(), &self.kwok_args(port))?;
            crate::manifests::nodes(&self.client().await?, nodes).await?;
        }
        let accounts = Api::<ServiceAccount>::namespaced(self.client().await?, "default");
        self.until("the default service account", async || Ok(accounts.get_opt("default").await?.is_some())).await
    }

    fn etcd_args(&self, client: u16, peer: u16) -> Vec<String> {
        vec![
            format!("--data-dir={}", self.folder.join("etcd").display()),
            format!("--listen-client-urls=http://127.0.0.1:{client}"),
            format!("--advertise-client-urls=http://127.0.0.1:{client}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
            "--quota-backend-bytes=8589934592".to_owned(),
            // A lab may lose its last second to a power cut; in exchange it starts and loads several times faster.
            "--unsafe-no-fsync".to_owned(),
        ]
    }

    fn apiserver_args(&self, etcd: u16, port: u16) -> Vec<String> {
        vec![
            format!("--etcd-servers=http://127.0.0.1:{etcd}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            format!("--secure-port={port}"),
            format!("--client-ca-file={}", self.pki.path("ca.crt")),
            format!("--tls-cert-file={}", self.pki.path("server.crt")),
            format!("--tls-private-key-file={}", self.pki.path("server.key")),
            format!("--service-account-key-file={}", self.pki.path("service-account.pub")),
            format!("--service-account-signing-key-file={}", self.pki.path("service-account.key")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/16".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            // It taints new nodes as not ready, which only a node lifecycle controller would take back.
            "--disable-admission-plugins=TaintNodesByCondition".to_owned(),
            "--max-requests-inflight=2000".to_owned(),
            "--max-mutating-requests-inflight=1000".to_owned(),
        ]
    }

    fn controller_args(&self, without: &[&str]) -> Vec<String> {
        let controllers: Vec<_> = CONTROLLERS.iter().copied().filter(|name| !without.contains(name)).collect();
        vec![
            format!("--kubeconfig={}", self.kubeconfig().display()),
            format!("--controllers={}", controllers.join(",")),
            format!("--service-account-private-key-file={}", self.pki.path("service-account.key")),
            format!("--root-ca-file={}", self.pki.path("ca.crt")),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
            "--kube-api-qps=500".to_owned(),
            "--kube-api-burst=1000".to_owned(),
        ]
    }

    fn scheduler_args(&self) -> Vec<String> {
        vec![
            format!("--kubeconfig={}", self.kubeconfig().display()),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ]
    }

    fn kwok_args(&self, port: u16) -> Vec<String> {
        vec![
            format!("--kubeconfig={}", self.kubeconfig().display()),
            "--manage-all-nodes=true".to_owned(),
            format!("--config={}", self.programs.kwok_settings().display()),
            format!("--server-address=127.0.0.1:{port}"),
        ]
    }

    fn write_kubeconfig(&self, user: &str, groups: &[&str]) -> Result<PathBuf> {
        let Identity { certificate, key } = self.pki.client(user, groups)?;
        let base64 = |text: &str| data_encoding::BASE64.encode(text.as_bytes());
        let name = &self.name;
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": name,
            "clusters": [{"name": name, "cluster": {"server": self.url, "certificate-authority-data": base64(&self.pki.authority()?)}}],
            "users": [{"name": user, "user": {"client-certificate-data": base64(&certificate), "client-key-data": base64(&key)}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        });
        let path = self.folder.join(format!("{user}.kubeconfig"));
        write_secret(&path, &serde_json::to_string_pretty(&config)?)?;
        Ok(path)
    }
}

/// What a command printed, or what it complained of.
fn printed(line: &str, output: std::process::Output) -> Result<String> {
    if !output.status.success() {
        bail!("{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

async fn client(kubeconfig: &Path) -> Result<Client> {
    let config = Kubeconfig::read_from(kubeconfig).with_context(|| format!("reading {}", kubeconfig.display()))?;
    Ok(Client::try_from(Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?)?)
}

/// Ports that are free now, all held open until each is known, so that they differ.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let listeners: Vec<_> = (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}
