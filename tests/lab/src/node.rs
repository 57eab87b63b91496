//! A real node: containerd, a kubelet and kube-proxy in namespaces of their own, and what they run.
//!
//! The programs find the paths of any node, as each node has its own `/run`, `/var/lib` and `/var/log`; nothing of the
//! machine's own is touched. Only process ids and control groups are the machine's, as the kernel's view needs them to be.

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

/// How long containerd may take until it answers; it takes half a second on two idle cores.
const CONTAINERD: Duration = Duration::from_secs(60);

/// Gives the node folders of its own in the usual places, and the kernel's tracing where an init system puts it, unless one
/// has. What a container mounts from there spreads both ways. The settings of the whole machine's kernel that a kubelet sets
/// are files of the node: it finds what it wrote, and the machine keeps its own.
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

/// What a node is started with.
pub(crate) struct Ground<'a> {
    pub keeper: &'a Keeper,
    pub network: &'a Network,
    pub programs: &'a Programs,
    pub pki: &'a Pki,
    pub supplies: &'a Supplies,
    /// The folder of all nodes.
    pub folder: PathBuf,
}

/// What real nodes need and is built on this machine.
pub(crate) struct Supplies {
    images: Images,
    name_server: PathBuf,
}

impl Supplies {
    /// Finds it, and builds what is missing; fails where no real node can run. `progress` hears what takes long.
    pub(crate) fn prepare(progress: &impl Fn(&str)) -> Result<Self> {
        possible()?;
        Ok(Self { images: Images::prepare(progress)?, name_server: Programs::name_server(progress)? })
    }
}

impl Ground<'_> {
    /// Starts what all nodes share: the name server. Its kubeconfig must let it read Services.
    pub(crate) fn prepare(&self, kubeconfig: &Path) -> Result<()> {
        fs::create_dir_all(&self.folder).with_context(|| format!("creating {}", self.folder.display()))?;
        let settings = self.folder.join("Corefile");
        fs::write(&settings, node_settings::name_server(&kubeconfig.display().to_string()))?;
        self.network.start_name_server(self.keeper, &self.supplies.name_server, &settings)
    }
}

/// A running node. Its programs belong to the lab's keeper, its Pods to the lab's guard.
pub(crate) struct Node {
    name: String,
    address: String,
    space: Namespace,
}

impl Node {
    /// The name of a lab's node.
    pub(crate) fn name_of(number: u16) -> String {
        format!("node-{number}")
    }

    /// Starts the programs of a node; `kubeconfigs` are its kubelet's and its kube-proxy's. It is not Ready yet.
    pub(crate) async fn start(ground: &Ground<'_>, number: u16, kubeconfigs: [&Path; 2]) -> Result<Self> {
        let name = Self::name_of(number);
        let space = Namespace::open(ground.keeper, &name, &ground.network.daemons()).await?;
        ground.network.link(&space, number).await?;
        let node = Self { name, address: ground.network.node(number), space };
        let folder = ground.folder.join(&node.name);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        node.space.run(&["sh", "-e", "-c", MOUNTS, &folder.display().to_string()]).await?;
        node.start_containerd(ground, &folder, &ground.network.pods(number)).await?;
        node.start_kubelet(ground, &folder, kubeconfigs[0])?;
        node.start_proxy(ground, &folder, kubeconfigs[1])?;
        Ok(node)
    }

    /// Its name in the cluster.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Makes the images of an archive available to its Pods.
    pub(crate) async fn load(&self, archive: &Path) -> Result<()> {
        let archive = archive.display().to_string();
        self.space.run(&["ctr", "--namespace", "k8s.io", "images", "import", &archive]).await?;
        Ok(())
    }

    /// Its namespaces.
    pub(crate) fn space(&self) -> &Namespace {
        &self.space
    }

    async fn start_containerd(&self, ground: &Ground<'_>, folder: &Path, pods: &str) -> Result<()> {
        let settings = folder.join("containerd.toml");
        fs::write(&settings, node_settings::containerd(&folder.display().to_string(), PAUSE))?;
        write(&folder.join("cni/lab.conflist"), &node_settings::pod_network(pods))?;
        let args = ["--config".to_owned(), settings.display().to_string()];
        self.space.start(ground.keeper, &self.program("containerd"), Path::new("containerd"), &args)?;
        self.until_containerd_answers(ground.keeper).await?;
        for archive in ground.supplies.images.archives() {
            self.load(&archive).await?;
        }
        Ok(())
    }

    async fn until_containerd_answers(&self, keeper: &Keeper) -> Result<()> {
        let deadline = Instant::now() + CONTAINERD;
        while let Err(refused) = self.space.run(&["ctr", "version"]).await {
            keeper.check()?;
            if Instant::now() > deadline {
                bail!("containerd of {} does not answer: {refused:#}\n{}", self.name, keeper.tails());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn start_kubelet(&self, ground: &Ground<'_>, folder: &Path, kubeconfig: &Path) -> Result<()> {
        let group = ground.network.group(&self.name);
        control_group::make(&group)?;
        ground.pki.write_server(folder, "kubelet", &[&self.name, &self.address])?;
        let settings = folder.join("kubelet.json");
        let (place, authority) = (folder.display().to_string(), ground.pki.path("ca.crt"));
        write(&settings, &node_settings::kubelet(&place, &authority, &group, &self.address))?;
        let args = [
            format!("--config={}", settings.display()),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--hostname-override={}", self.name),
            format!("--node-ip={}", self.address),
        ];
        self.space.start(ground.keeper, &self.program("kubelet"), &ground.programs.kubelet(), &args)?;
        Ok(())
    }

    fn start_proxy(&self, ground: &Ground<'_>, folder: &Path, kubeconfig: &Path) -> Result<()> {
        let settings = folder.join("kube-proxy.json");
        write(&settings, &node_settings::proxy(&kubeconfig.display().to_string(), &ground.network.whole()))?;
        let args = [format!("--config={}", settings.display()), format!("--hostname-override={}", self.name)];
        self.space.start(ground.keeper, &self.program("kube-proxy"), &ground.programs.proxy(), &args)?;
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
    let stands = |program: &&str| folders.iter().any(|folder| folder.join(program).is_file());
    let missing: Vec<_> = PROGRAMS.iter().filter(|program| !stands(program)).copied().collect();
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
