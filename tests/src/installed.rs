//! Holdfast as a platform team installs it: both charts in a cluster with real nodes, from images of this workspace.
//!
//! Outside the cluster only `kubectl`, `helm` and `holdfast` run. Commands that Holdfast prints for a person to paste are run
//! exactly as printed.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use holdfast_lab::{ControlPlane, Options, apply};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::helm::{Helm, chart_path};
use crate::programs::{eventually, program};
use crate::{images, tier};

/// The namespace of the aggregator.
const NAMESPACE: &str = "holdfast";

/// Where nodes find the aggregator.
const AGENTS: &str = "https://holdfast-aggregator-agents.holdfast.svc:8471";

/// The node that keeps the record, and its folder there.
const VOLUME: (&str, &str) = ("node-0", "/var/lib/volumes/record");

/// Both charts, installed.
pub struct Installed {
    helm: Helm,
    server: String,
    token: String,
    folder: TempDir,
    /// The TCP proxy to the aggregator's Pod, if one is used; it ends with this.
    proxy: JoinSet<()>,
}

/// How the agent is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Two replicas with the cluster's duties in a Deployment, and a node part on every node.
    Apart,
    /// Both in one Pod on every node.
    Folded,
}

impl Form {
    /// The flags of `holdfast cluster add` for it, and the rollouts to wait for.
    fn installed(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Apart => (
                &[],
                "kubectl rollout status deployment/holdfast-agent -n holdfast-agent --timeout=60s
                kubectl rollout status daemonset/holdfast-agent-node -n holdfast-node --timeout=60s",
            ),
            Self::Folded => (
                &["--in-daemon-set"],
                "kubectl rollout status daemonset/holdfast-agent-node -n holdfast-agent --timeout=60s",
            ),
        }
    }
}

/// A cluster of this name with real nodes and Holdfast installed in it; `None` where a tier can't run.
pub async fn fixture(cluster: &str, real_nodes: u16, form: Form) -> Result<Option<(ControlPlane, Installed)>> {
    let Some(helm) = tier::available("helm", Helm::prepare().await)? else { return Ok(None) };
    let options = Options { real_nodes, ..Options::default() };
    let plane = ControlPlane::start_with(cluster, options, |line| println!("{line}")).await;
    let Some(plane) = tier::available("node", plane)? else { return Ok(None) };
    let installed = Installed::install(helm, &plane, cluster, form).await;
    let state = if installed.is_err() { state(&plane).await } else { String::new() };
    Ok(Some((plane, installed.context(state)?)))
}

/// The Pods of the cluster and the logs of Holdfast's, for the message of a failure.
pub async fn state(plane: &ControlPlane) -> String {
    const LINES: &str = "kubectl get pods -A -o wide
        kubectl describe pods -n holdfast | tail -20
        kubectl logs -n holdfast statefulset/holdfast-aggregator --tail=20
        kubectl logs -n holdfast-agent deployment/holdfast-agent --all-pods --prefix --tail=20
        kubectl logs -n holdfast-node daemonset/holdfast-agent-node --all-pods --prefix --tail=20";
    plane.shell(LINES).await.unwrap_or_else(|error| format!("{error:#}"))
}

impl Installed {
    /// Builds the images, loads them into every node and installs both charts, the agent as the cluster with this name.
    pub async fn install(helm: Helm, plane: &ControlPlane, cluster: &str, form: Form) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("holdfast-installed-").tempdir()?;
        load_images(plane, &folder).await?;
        let mut installed = Self { helm, server: String::new(), token: String::new(), folder, proxy: JoinSet::new() };
        installed.install_aggregator(plane).await?;
        let flags = ["cluster", "add", cluster, "--helm", "--agents", AGENTS, "-o", "json"];
        let chart = chart_path("holdfast-agent");
        let (more, rollouts) = form.installed();
        let added = installed.holdfast(&[&flags[..], &["--chart", &chart], more].concat()).await?;
        installed.paste(plane, added["commands"].as_str().context("no commands")?).await?;
        installed.paste(plane, rollouts).await?;
        let tests = "helm test holdfast-aggregator -n holdfast --timeout 60s
            helm test holdfast-agent -n holdfast-agent --timeout 60s";
        installed.paste(plane, tests).await.context("what the charts test of themselves")?;
        Ok(installed)
    }

    async fn install_aggregator(&mut self, plane: &ControlPlane) -> Result<()> {
        let (node, folder) = VOLUME;
        plane.on_node(node, &["mkdir", "-p", folder]).await?;
        apply(&plane.client().await?, &[volume(node, folder)]).await?;
        plane.namespace(NAMESPACE, &[("pod-security.kubernetes.io/enforce", "restricted")]).await?;
        let install = format!(
            "helm install holdfast-aggregator {} -n {NAMESPACE}
            kubectl rollout status statefulset/holdfast-aggregator -n {NAMESPACE} --timeout=60s",
            chart_path("holdfast-aggregator")
        );
        self.paste(plane, &install).await?;
        self.server = format!("http://127.0.0.1:{}", plane.forward(NAMESPACE, "holdfast-aggregator", 8470).await?);
        // As the chart's notes say.
        let token = "kubectl exec statefulset/holdfast-aggregator --namespace holdfast -- \
            /holdfast-aggregator admin-token";
        self.token = self.paste(plane, token).await?.trim().to_owned();
        Ok(())
    }

    /// Connects to the aggregator's Pod directly from now on: `kubectl port-forward` ends whenever the Pod's container does.
    pub async fn connect_directly(&mut self, plane: &ControlPlane) -> Result<()> {
        let line = ["-n", NAMESPACE, "get", "pod", "holdfast-aggregator-0", "-o", "jsonpath={.status.podIP}"];
        let pod = format!("{}:8470", plane.kubectl(&line).await?.trim());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        // The command line sends no token to another machine without TLS.
        self.server = format!("http://{}", listener.local_addr()?);
        self.proxy.spawn(forward(listener, pod));
        plane.end_forward("holdfast-aggregator")
    }

    /// Runs a pasted script with `helm` and `kubectl` on the PATH.
    pub async fn paste(&self, plane: &ControlPlane, script: &str) -> Result<String> {
        plane.shell(&format!("set -e\nPATH={}:$PATH\n{script}", self.helm.folder().display())).await
    }

    /// A path in a temporary folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The fingerprint of the installation's root.
    pub async fn root_fingerprint(&self, plane: &ControlPlane) -> Result<String> {
        let text = plane.on_node(VOLUME.0, &["cat", &format!("{}/record/root.fingerprint", VOLUME.1)]).await?;
        Ok(text.trim().to_owned())
    }

    /// Runs `holdfast` and reads the JSON that it prints. Exit code 1 (a negative answer) is no failure.
    pub async fn holdfast(&self, args: &[&str]) -> Result<Value> {
        let mut command = tokio::process::Command::new(program("holdfast")?);
        command.args(args).env("HOLDFAST_SERVER", &self.server).env("HOLDFAST_TOKEN", &self.token);
        command.env("HOLDFAST_CONFIG", self.path("no-profile.json")).kill_on_drop(true);
        let output = command.output().await?;
        let line = args.join(" ");
        if output.status.code().is_none_or(|code| code > 1) {
            bail!("`holdfast {line}`: {}", String::from_utf8_lossy(&output.stderr));
        }
        let printed = output.stdout.trim_ascii();
        let answer = if printed.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(printed) };
        answer.with_context(|| format!("`holdfast {line}` printed no JSON"))
    }

    /// Waits for the one finding of a control in a namespace, and answers its id.
    pub async fn finding(&self, namespace: &str, control: &str) -> Result<String> {
        let line = ["findings", "--namespace", namespace, "--control", control, "-o", "json"];
        eventually(&format!("a finding of {control} in {namespace}"), async || {
            Ok(self.holdfast(&line).await?[0]["id"].as_str().map(str::to_owned))
        })
        .await
    }

    /// The whole record of a finding.
    pub async fn show(&self, id: &str) -> Result<Value> {
        self.holdfast(&["finding", "show", id, "-o", "json"]).await
    }

    /// Waits until a finding has this status, and answers its whole record.
    pub async fn until(&self, id: &str, status: &str) -> Result<Value> {
        eventually(&format!("{id} to be {status}"), async || {
            let finding = self.show(id).await?;
            ensure!(finding["status"] == status, "it is {}: {}", finding["status"], finding["reason"]);
            Ok(Some(finding))
        })
        .await
    }
}

/// Forwards every connection of a listener to an address.
async fn forward(listener: TcpListener, address: String) {
    while let Ok((mut client, _)) = listener.accept().await {
        let address = address.clone();
        tokio::spawn(async move {
            // A failure closes the client's connection, which is how the client learns of it.
            if let Ok(mut server) = TcpStream::connect(address).await {
                let _ended = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
        });
    }
}

/// Loads the images under the names that are the charts' defaults.
async fn load_images(plane: &ControlPlane, folder: &TempDir) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    images::build(folder.path(), version).await?;
    for name in images::IMAGES {
        plane.load_image(&folder.path().join(format!("{name}.tar"))).await?;
        let (built, wanted) = (format!("localhost/{name}:{version}"), format!("docker.io/library/{name}:{version}"));
        for node in plane.node_names() {
            plane.on_node(&node, &["ctr", "--namespace", "k8s.io", "images", "tag", &built, &wanted]).await?;
        }
    }
    Ok(())
}

/// A local volume: a folder of a node, whose group the kubelet sets to the Pod's `fsGroup`.
fn volume(node: &str, folder: &str) -> Value {
    let here = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [node]});
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "record"},
        "spec": {
            "capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain",
            "local": {"path": folder},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    })
}
