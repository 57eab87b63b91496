//! The Kubernetes programs: from a folder that the user names, or built from source and kept in the user's cache.
//!
//! The build takes minutes, once a machine: its folder's name is a hash of everything that goes into it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// The Go module of every program of the lab: one, so that they share the compiled packages of Kubernetes' own modules.
const MODULE: [(&str, &str); 2] =
    [("go.mod", include_str!("../programs/go.mod")), ("go.sum", include_str!("../programs/go.sum"))];

const KUBERNETES: GoBuild = GoBuild {
    name: "kubernetes",
    package: ".",
    binary: "kubernetes",
    links: &["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl"],
    source: ("main.go", include_str!("../programs/kubernetes/main.go")),
    // Clients cannot parse the version that an unstamped build reports.
    stamps: &[
        ("k8s.io/component-base/version.gitVersion", "v1.34.4"),
        ("k8s.io/component-base/version.gitMajor", "1"),
        ("k8s.io/component-base/version.gitMinor", "34"),
        ("k8s.io/component-base/version.gitTreeState", "clean"),
    ],
    settings: &[],
};

const KWOK: GoBuild = GoBuild {
    name: "kwok",
    package: "sigs.k8s.io/kwok/cmd/kwok",
    binary: "kwok",
    links: &[],
    source: ("tools.go", include_str!("../programs/tools.go")),
    stamps: &[],
    // What kwok does to nodes and Pods is not built in: it is configured by these files of its module.
    settings: &[
        "kustomize/stage/node/fast/node-initialize.yaml",
        "kustomize/stage/pod/fast/pod-ready.yaml",
        "kustomize/stage/pod/fast/pod-complete.yaml",
        "kustomize/stage/pod/fast/pod-delete.yaml",
    ],
};

const COREDNS: GoBuild = GoBuild {
    name: "coredns",
    package: ".",
    binary: "coredns",
    links: &[],
    source: ("main.go", include_str!("../programs/coredns/main.go")),
    stamps: &[],
    settings: &[],
};

const HELM: GoBuild = GoBuild {
    name: "helm",
    package: "helm.sh/helm/v3/cmd/helm",
    binary: "helm",
    links: &[],
    source: ("tools.go", include_str!("../programs/tools.go")),
    // Without these it assumes Kubernetes 1.20 where it has no cluster to ask.
    stamps: &[
        ("helm.sh/helm/v3/internal/version.version", "v3.19.5"),
        ("helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor", "1"),
        ("helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor", "34"),
        ("helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor", "1"),
        ("helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor", "34"),
    ],
    settings: &[],
};

/// The file of a build that holds its settings, one YAML document after the other.
const SETTINGS: &str = "settings.yaml";

/// The programs of a lab, each a path that can be started.
#[derive(Debug, Clone)]
pub struct Programs {
    etcd: PathBuf,
    apiserver: PathBuf,
    kubernetes: PathBuf,
    kwok: PathBuf,
}

impl Programs {
    /// Finds the programs, and builds those that are missing; `progress` receives what takes long.
    ///
    /// `KUBEBUILDER_ASSETS` names a folder with `kube-apiserver` and `etcd` to use instead, as elsewhere in the ecosystem.
    pub fn prepare(progress: impl Fn(&str)) -> Result<Self> {
        let kubernetes = KUBERNETES.ready(&progress)?;
        let kwok = KWOK.ready(&progress)?;
        let (etcd, apiserver) = match std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from) {
            Some(assets) => (existing(assets.join("etcd"))?, existing(assets.join("kube-apiserver"))?),
            None => (kubernetes.join("etcd"), kubernetes.join("kube-apiserver")),
        };
        Ok(Self { etcd, apiserver, kubernetes, kwok })
    }

    /// Finds or builds CoreDNS, which only labs with real nodes need.
    pub(crate) fn name_server(progress: &impl Fn(&str)) -> Result<PathBuf> {
        Ok(COREDNS.ready(progress)?.join(COREDNS.binary))
    }

    /// `etcd`.
    pub fn etcd(&self) -> &Path {
        &self.etcd
    }

    /// `kube-apiserver`.
    pub fn apiserver(&self) -> &Path {
        &self.apiserver
    }

    /// `kube-controller-manager`.
    pub fn controller_manager(&self) -> PathBuf {
        self.kubernetes.join("kube-controller-manager")
    }

    /// `kube-scheduler`.
    pub fn scheduler(&self) -> PathBuf {
        self.kubernetes.join("kube-scheduler")
    }

    /// `kubelet`.
    pub fn kubelet(&self) -> PathBuf {
        self.kubernetes.join("kubelet")
    }

    /// `kube-proxy`.
    pub fn proxy(&self) -> PathBuf {
        self.kubernetes.join("kube-proxy")
    }

    /// `kubectl`, of the same version as the server.
    pub fn kubectl(&self) -> PathBuf {
        self.kubernetes.join("kubectl")
    }

    /// `kwok`, which simulates nodes and their kubelets.
    pub fn kwok(&self) -> PathBuf {
        self.kwok.join("kwok")
    }

    /// kwok's configuration: what it does to nodes and Pods.
    pub fn kwok_settings(&self) -> PathBuf {
        self.kwok.join(SETTINGS)
    }
}

/// The folder of `helm`, built if it isn't there yet. No control plane needs it, only suites that install charts.
pub fn helm(progress: impl Fn(&str)) -> Result<PathBuf> {
    HELM.ready(&progress)
}

fn existing(path: PathBuf) -> Result<PathBuf> {
    if !path.is_file() {
        bail!(
            "KUBEBUILDER_ASSETS has no {}: put it there, or unset the variable to use the lab's own build",
            path.display()
        );
    }
    Ok(path)
}

/// One program of the lab's Go module.
struct GoBuild {
    name: &'static str,
    package: &'static str,
    binary: &'static str,
    links: &'static [&'static str],
    source: (&'static str, &'static str),
    stamps: &'static [(&'static str, &'static str)],
    settings: &'static [&'static str],
}

impl GoBuild {
    /// The folder with the binary and its links, built if it isn't there yet.
    fn ready(&self, progress: &impl Fn(&str)) -> Result<PathBuf> {
        let folder = cache()?.join(format!("{}-{}", self.name, self.key()));
        if folder.join(self.binary).is_file() {
            return Ok(folder);
        }
        let parent = cache()?;
        fs::create_dir_all(&parent).with_context(|| format!("creating {}", parent.display()))?;
        // Several suites may start at once: one builds, the others wait for it.
        let lock = fs::File::create(parent.join(format!(".{}.lock", self.name)))?;
        lock.lock().context("waiting for another build to end")?;
        if !folder.join(self.binary).is_file() {
            progress(&format!("building {} from source: some minutes, once on this machine", self.name));
            let scratch = tempfile::Builder::new().prefix(".building-").tempdir_in(&parent)?;
            self.build(scratch.path())?;
            fs::rename(scratch.path(), &folder).with_context(|| format!("moving the build to {}", folder.display()))?;
        }
        Ok(folder)
    }

    /// The files to build in.
    fn sources(&self) -> [(&'static str, &'static str); 3] {
        [MODULE[0], MODULE[1], self.source]
    }

    fn key(&self) -> String {
        let mut hash = Sha256::new();
        for (name, text) in self.sources().iter().chain(self.stamps) {
            hash.update(name.as_bytes());
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        for file in self.settings {
            hash.update(file.as_bytes());
        }
        HEXLOWER.encode(&hash.finalize()[..8])
    }

    fn build(&self, folder: &Path) -> Result<()> {
        for (name, text) in self.sources() {
            fs::write(folder.join(name), text)?;
        }
        let stamps = self.stamps.iter().map(|(variable, value)| format!(" -X {variable}={value}"));
        let flags = format!("-s -w{}", stamps.collect::<String>());
        go(folder, &["build", "-trimpath", "-ldflags", &flags, "-o", self.binary, self.package])?;
        self.gather_settings(folder)?;
        for link in self.links {
            std::os::unix::fs::symlink(self.binary, folder.join(link))?;
        }
        Ok(())
    }

    /// Copies the settings from the module's own source beside the binary.
    fn gather_settings(&self, folder: &Path) -> Result<()> {
        let Some(module) = self.package.split("/cmd/").next().filter(|_| !self.settings.is_empty()) else {
            return Ok(());
        };
        let source = PathBuf::from(go(folder, &["list", "-m", "-f", "{{.Dir}}", module])?);
        let read =
            |file: &&str| fs::read_to_string(source.join(file)).with_context(|| format!("reading {module}'s {file}"));
        let documents: Vec<_> = self.settings.iter().map(read).collect::<Result<_>>()?;
        fs::write(folder.join(SETTINGS), documents.join("\n---\n"))?;
        Ok(())
    }
}

/// Runs `go` and answers what it printed.
fn go(folder: &Path, args: &[&str]) -> Result<String> {
    let mut command = Command::new("go");
    command.args(args).current_dir(folder).env("CGO_ENABLED", "0").stdin(Stdio::null());
    let output = command.output().context("starting `go`: install Go 1.26 or newer to build the lab's programs")?;
    if !output.status.success() {
        bail!("`go {}` failed:\n{}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// `$XDG_CACHE_HOME/holdfast`, or `~/.cache/holdfast`.
pub(crate) fn cache() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    Ok(base.context("neither XDG_CACHE_HOME nor HOME is set: the lab needs a cache folder")?.join("holdfast"))
}
