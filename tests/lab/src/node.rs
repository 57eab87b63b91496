//! A real node: containerd, a kubelet and kube-proxy in their own namespaces, and the Pods that they run.
//!
//! Each node has its own `/run`, `/var/lib` and `/var/log`, so the programs use the usual paths and the machine's own folders
//! stay untouched. Process ids and control groups are the machine's, as the kernel view requires.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::control_group;
use crate::image::{Images, PAUSE};
use crate::keeper::Keeper;
use crate::namespace::Namespace;
use crate::network::Network;
use crate::node_settings;
use crate::pki::Pki;
use crate::programs::Programs;

/// How long containerd may take until it answers; half a second is usual on two idle cores.
const CONTAINERD: Duration = Duration::from_secs(60);

/// Gives the node its own folders at the usual paths, and mounts tracefs where an init system would, unless it is mounted.
/// Mounts are shared, so that they propagate to and from containers. The kernel settings that a kubelet writes are replaced by
/// files of the node: the kubelet reads what it wrote, and the machine keeps its own settings.
const MOUNTS: &str = r#"
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/containerd "$0/lib" "$0/log" "$0/cni" "$0/static-pods"
mount --bind "$0/lib" /var/lib
mount --bind "$0/log" /var/log
[ -d /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing
mount --make-rshared /
mkdir -p "$0/settings"
for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
    copy="$0/settings/${setting##*/}"
    cat "/proc/sys/$setting" >"$copy"
    mount --bind "$copy" "/proc/sys/$setting"
done
: >"$0/resolv.conf"
"#;

/// What a node needs to start.
pub(crate) struct NodeContext<'a> {
    pub keeper: &'a Keeper,
    pub network: &'a Network,
    pub programs: &'a Programs,
    pub pki: &'a Pki,
    pub supplies: &'a Supplies,
    /// The folder of all nodes.
    pub folder: PathBuf,
}

/// Images and programs that real nodes need and that are built on this machine.
pub(crate) struct Supplies {
    images: Images,
    name_server: PathBuf,
}

impl Supplies {
    /// Finds them, and builds what is missing; fails where no real node can run. `progress` receives what takes long.
    pub(crate) fn prepare(progress: &impl Fn(&str)) -> Result<Self> {
        possible()?;
        Ok(Self { images: Images::prepare(progress)?, name_server: Programs::name_server(progress)? })
    }
}

impl NodeContext<'_> {
    /// Starts the name server, which all nodes share. Its kubeconfig must permit reading Services.
    pub(crate) fn prepare(&self, kubeconfig: &Path) -> Result<()> {
        fs::create_dir_all(&self.folder).with_context(|| format!("creating {}", self.folder.display()))?;
        let settings = self.folder.join("Corefile");
        fs::write(&settings, node_settings::name_server(&kubeconfig.display().to_string()))?;
        self.network.start_name_server(self.keeper, &self.supplies.name_server, &settings)
    }
}

/// A running node. The lab's keeper ends its programs, the lab's guard its Pods.
pub(crate) struct Node {
    name: String,
    address: String,
    namespace: Namespace,
}

impl Node {
    /// The name of a lab's node.
    pub(crate) fn name_of(number: u16) -> String {
        format!("node-{number}")
    }

    /// Starts the programs of a node; `kubeconfigs` are its kubelet's and its kube-proxy's. It is not Ready yet.
    pub(crate) async fn start(context: &NodeContext<'_>, number: u16, kubeconfigs: [&Path; 2]) -> Result<Self> {
        let name = Self::name_of(number);
        let namespace = Namespace::open(context.keeper, &name, &context.network.daemons()).await?;
        context.network.link(&namespace, number).await?;
        let node = Self { name, address: context.network.node(number), namespace };
        let folder = context.folder.join(&node.name);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        node.namespace.run(&["sh", "-e", "-c", MOUNTS, &folder.display().to_string()]).await?;
        node.start_containerd(context, &folder, &context.network.pods(number)).await?;
        node.start_kubelet(context, &folder, kubeconfigs[0])?;
        node.start_proxy(context, &folder, kubeconfigs[1])?;
        Ok(node)
    }

    /// Its name in the cluster.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Imports the images of an archive for its Pods.
    pub(crate) async fn load(&self, archive: &Path) -> Result<()> {
        let archive = archive.display().to_string();
        self.namespace.run(&["ctr", "--namespace", "k8s.io", "images", "import", &archive]).await?;
        Ok(())
    }

    /// Its namespaces.
    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    async fn start_containerd(&self, context: &NodeContext<'_>, folder: &Path, pods: &str) -> Result<()> {
        let settings = folder.join("containerd.toml");
        fs::write(&settings, node_settings::containerd(&folder.display().to_string(), PAUSE))?;
        write(&folder.join("cni/lab.conflist"), &node_settings::pod_network(pods))?;
        let args = ["--config".to_owned(), settings.display().to_string()];
        self.namespace.start(context.keeper, &self.program("containerd"), Path::new("containerd"), &args)?;
        self.until_containerd_answers(context.keeper).await?;
        for archive in context.supplies.images.archives() {
            self.load(&archive).await?;
        }
        Ok(())
    }

    async fn until_containerd_answers(&self, keeper: &Keeper) -> Result<()> {
        let deadline = Instant::now() + CONTAINERD;
        while let Err(refused) = self.namespace.run(&["ctr", "version"]).await {
            keeper.check()?;
            if Instant::now() > deadline {
                bail!("containerd of {} does not answer: {refused:#}\n{}", self.name, keeper.tails());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn start_kubelet(&self, context: &NodeContext<'_>, folder: &Path, kubeconfig: &Path) -> Result<()> {
        let group = context.network.group(&self.name);
        control_group::make(&group)?;
        context.pki.write_server(folder, "kubelet", &[&self.name, &self.address])?;
        let settings = folder.join("kubelet.json");
        let (path, authority) = (folder.display().to_string(), context.pki.path("ca.crt"));
        write(&settings, &node_settings::kubelet(&path, &authority, &group, &self.address))?;
        let args = [
            format!("--config={}", settings.display()),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--hostname-override={}", self.name),
            format!("--node-ip={}", self.address),
        ];
        self.namespace.start(context.keeper, &self.program("kubelet"), &context.programs.kubelet(), &args)?;
        Ok(())
    }

    fn start_proxy(&self, context: &NodeContext<'_>, folder: &Path, kubeconfig: &Path) -> Result<()> {
        let settings = folder.join("kube-proxy.json");
        write(&settings, &node_settings::proxy(&kubeconfig.display().to_string(), &context.network.whole()))?;
        let args = [format!("--config={}", settings.display()), format!("--hostname-override={}", self.name)];
        self.namespace.start(context.keeper, &self.program("kube-proxy"), &context.programs.proxy(), &args)?;
        Ok(())
    }

    fn program(&self, program: &str) -> String {
        format!("{}-{program}", self.name)
    }
}

/// Fails, naming what is missing, where no real node can run.
pub fn possible() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("real nodes need root: namespaces, mounts, control groups");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let is_installed = |program: &&str| folders.iter().any(|folder| folder.join(program).is_file());
    let missing: Vec<_> = PROGRAMS.iter().filter(|program| !is_installed(program)).copied().collect();
    if !missing.is_empty() {
        bail!("real nodes need {}: run scripts/setup", missing.join(", "));
    }
    Ok(())
}

const PROGRAMS: &[&str] =
    &["containerd", "ctr", "runc", "buildah", "iptables", "ip", "nsenter", "unshare", "setpriv", "setsid", "cc"];

fn write(path: &Path, settings: &Value) -> Result<()> {
    fs::write(path, serde_json::to_string_pretty(settings)?).with_context(|| format!("writing {}", path.display()))
}
