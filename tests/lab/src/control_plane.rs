//! One control plane: its programs, started in the order of their dependencies, and clients for it.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
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
use crate::network::Network;
use crate::node::{Node, NodeContext, Supplies};
use crate::pki::{Identity, Pki, TO_KUBELETS, write_secret};
use crate::programs::Programs;

/// How long a control plane may take until it is ready; 2 to 4 seconds are usual on two idle cores.
const START: Duration = Duration::from_secs(90);

const LOOPBACK: &str = "127.0.0.1";

/// The folder of the real nodes, inside the control plane's.
const NODES: &str = "nodes";

/// What kind of control plane to start.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The data folder; `None` for a temporary one that is removed at the end.
    pub folder: Option<PathBuf>,
    /// How many nodes kwok simulates. Without any node Pods stay pending.
    pub nodes: u16,
    /// How many real nodes there are: a kubelet with containerd each, which run Pods from images that are loaded into them.
    /// They need root. Beside simulated nodes, `nodeName` or a node selector decides where a Pod is scheduled.
    pub real_nodes: u16,
    /// Controllers that are left out: a cluster of a chosen size needs those out that create more objects.
    pub without: &'static [&'static str],
}

/// A running control plane. Dropping it stops its programs.
pub struct ControlPlane {
    // Dropped first: the programs end before their folder is removed.
    pub(crate) keeper: Keeper,
    // Dropped second: the guard ends what the real nodes' programs left running.
    network: Option<Network>,
    pub(crate) nodes: Vec<Node>,
    name: String,
    folder: PathBuf,
    pub(crate) pki: Pki,
    pub(crate) programs: Programs,
    url: String,
    _temporary: Option<TempDir>,
}

impl ControlPlane {
    /// Starts a temporary control plane without nodes, building its programs first where they are missing.
    pub async fn start(name: &str) -> Result<Self> {
        Self::start_with(name, Options::default(), |line| eprintln!("lab: {line}")).await
    }

    /// Starts a control plane; `progress` receives each step.
    pub async fn start_with(
        name: &str,
        options: Options,
        progress: impl Fn(&str) + Send + Clone + 'static,
    ) -> Result<Self> {
        let (report, real_nodes) = (progress.clone(), options.real_nodes);
        let (programs, supplies) = tokio::task::spawn_blocking(move || prepare(&report, real_nodes)).await??;
        let (folder, temporary) = match options.folder.clone() {
            Some(folder) => (folder, None),
            None => {
                let temporary = tempfile::Builder::new().prefix("holdfast-lab-").tempdir()?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let pki = Pki::open(&folder.join("pki"))?;
        let [etcd, etcd_peer, apiserver, kwok] = free_ports()?;
        let keeper = Keeper::new(&folder)?;
        let network =
            if supplies.is_some() { Some(Network::create(&keeper, &folder.join(NODES)).await?) } else { None };
        let address = network.as_ref().map_or_else(|| LOOPBACK.to_owned(), Network::machine);
        let mut plane = Self {
            keeper,
            network,
            nodes: Vec::new(),
            name: name.to_owned(),
            url: format!("https://{address}:{apiserver}"),
            folder,
            pki,
            programs,
            _temporary: temporary,
        };
        plane.write_identities()?;
        plane.keeper.start("etcd", plane.programs.etcd(), &plane.etcd_args(etcd, etcd_peer))?;
        plane.keeper.start("kube-apiserver", plane.programs.apiserver(), &plane.apiserver_args(etcd, apiserver))?;
        plane.until_serving().await?;
        plane.start_controllers(&options, kwok).await?;
        if let Some(supplies) = supplies {
            plane.start_nodes(&supplies, options.real_nodes).await?;
        }
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

    /// The kubectl that was built with the cluster, for users without one.
    pub fn kubectl_program(&self) -> PathBuf {
        self.programs.kubectl()
    }

    /// Runs kubectl as the administrator and answers its standard output.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        let mut command = tokio::process::Command::new(self.programs.kubectl());
        let output = command.arg("--kubeconfig").arg(self.kubeconfig()).args(args).kill_on_drop(true).output().await?;
        printed(&format!("kubectl {}", args.join(" ")), output)
    }

    /// Starts a kubectl as the administrator that runs as long as the lab.
    pub(crate) fn start_kubectl(&self, name: &str, args: &[&str]) -> Result<()> {
        let kubeconfig = format!("--kubeconfig={}", self.kubeconfig().display());
        let args: Vec<_> = std::iter::once(kubeconfig).chain(args.iter().map(|&arg| arg.to_owned())).collect();
        self.keeper.start(name, &self.programs.kubectl(), &args)?;
        Ok(())
    }

    /// Runs a line in a shell in which `kubectl` is this cluster's administrator, as a user who pastes it.
    pub async fn shell(&self, line: &str) -> Result<String> {
        let kubectl = self.programs.kubectl();
        let folder = kubectl.parent().context("kubectl is in no folder")?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(folder.to_owned()).chain(std::env::split_paths(&path)))?;
        let mut command = tokio::process::Command::new("sh");
        command.args(["-c", line]).env("PATH", path).env("KUBECONFIG", self.kubeconfig()).kill_on_drop(true);
        printed(line, command.output().await?)
    }

    /// Applies the sample workloads, compliant and not.
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
        let last = last.map_or(String::new(), |error| format!("; the last error was: {error:#}"));
        bail!("{}: waited {} s for {what}{last}\n{}", self.name, START.as_secs(), self.keeper.tails())
    }

    async fn until_serving(&self) -> Result<()> {
        let client = self.client().await?;
        let ready = http::Request::get("/readyz").body(Vec::new())?;
        self.until("the API server", async || Ok(client.request_text(ready.clone()).await? == "ok")).await
    }

    async fn start_controllers(&self, options: &Options, port: u16) -> Result<()> {
        let args = self.controller_args(options.without);
        self.keeper.start("kube-controller-manager", &self.programs.controller_manager(), &args)?;
        if options.nodes > 0 || options.real_nodes > 0 {
            self.keeper.start("kube-scheduler", &self.programs.scheduler(), &self.scheduler_args())?;
        }
        if options.nodes > 0 {
            self.keeper.start("kwok", &self.programs.kwok(), &self.kwok_args(port))?;
            crate::manifests::nodes(&self.client().await?, options.nodes).await?;
        }
        let accounts = Api::<ServiceAccount>::namespaced(self.client().await?, "default");
        self.until("the default service account", async || Ok(accounts.get_opt("default").await?.is_some())).await
    }

    /// The address on which the API server listens.
    pub(crate) fn address(&self) -> String {
        self.network.as_ref().map_or_else(|| LOOPBACK.to_owned(), Network::machine)
    }

    /// The number of a lab with real nodes, for [`crate::left_behind`]; `None` without real nodes.
    pub fn number(&self) -> Option<u8> {
        self.network.as_ref().map(Network::number)
    }

    /// Whether this control plane has real nodes.
    pub(crate) fn has_real_nodes(&self) -> bool {
        self.network.is_some()
    }

    /// What a real node needs to start; `None` without real nodes.
    pub(crate) fn node_context<'a>(&'a self, supplies: &'a Supplies) -> Option<NodeContext<'a>> {
        let network = self.network.as_ref()?;
        let folder = self.folder.join(NODES);
        Some(NodeContext { keeper: &self.keeper, network, programs: &self.programs, pki: &self.pki, supplies, folder })
    }

    fn write_identities(&self) -> Result<()> {
        let address = self.address();
        let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", LOOPBACK, "10.0.0.1"];
        self.pki.write_server(self.pki.folder(), "kube-apiserver", &[&names[..], &[&address]].concat())?;
        self.pki.write_client(TO_KUBELETS, &["system:masters"])?;
        self.write_kubeconfig("admin", &["system:masters"])?;
        Ok(())
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

/// The programs, and what real nodes need besides.
fn prepare(progress: &impl Fn(&str), real_nodes: u16) -> Result<(Programs, Option<Supplies>)> {
    let supplies = if real_nodes > 0 { Some(Supplies::prepare(progress)?) } else { None };
    Ok((Programs::prepare(progress)?, supplies))
}

/// A command's standard output; fails with its standard error.
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

/// Distinct ports that are free now: all are held open until each is chosen.
///
/// They are below the kernel's range for outgoing connections (32768 and up) and the range of NodePorts, so that nothing takes
/// one by accident before the program starts. The search begins at a random port, so that labs that start together seldom try
/// the same ones.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    const FROM: Range<u16> = 10_000..30_000;
    let random = RandomState::new().build_hasher().finish();
    let start = usize::try_from(random % u64::from(FROM.end - FROM.start))?;
    let mut listeners = FROM.cycle().skip(start).take(FROM.len()).filter_map(|port| {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).ok()?;
        Some((port, listener))
    });
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let (free, listener) = listeners.next().context("no port between 10000 and 30000 is free")?;
        *port = free;
        held.push(listener);
    }
    Ok(ports)
}
