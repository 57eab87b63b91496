//! A control plane's real nodes: how they are started, and what tests do with them.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node as Object;
use kube::Api;
use tokio::net::TcpStream;

use crate::control_plane::{ControlPlane, free_ports};
use crate::node::{Node, Supplies};

impl ControlPlane {
    /// Names of the real nodes, in order.
    pub fn node_names(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.name().to_owned()).collect()
    }

    /// Imports the images of an archive (docker or OCI, as `buildah push` writes them) on every real node, under their names in
    /// the archive.
    pub async fn load_image(&self, archive: &Path) -> Result<()> {
        for node in &self.nodes {
            node.load(archive).await.with_context(|| format!("loading {} on {}", archive.display(), node.name()))?;
        }
        Ok(())
    }

    /// Runs a command in a real node's namespaces and answers its standard output.
    pub async fn on_node(&self, name: &str, line: &[&str]) -> Result<String> {
        let node = self.nodes.iter().find(|node| node.name() == name);
        node.with_context(|| format!("{name} is not a real node of {}", self.name()))?.namespace().run(line).await
    }

    /// Ends a program of a real node, `containerd`, `kubelet` or `kube-proxy`, as `kill -9` does. Containers keep running, as
    /// on any node.
    pub fn kill_on_node(&self, name: &str, program: &str) -> Result<()> {
        self.keeper.kill(&format!("{name}-{program}"))
    }

    /// Starts a program of a real node again that was killed or has ended, as an init system does: a kubelet ends if it finds
    /// no containerd.
    pub fn restart_on_node(&self, name: &str, program: &str) -> Result<()> {
        self.keeper.restart(&format!("{name}-{program}"))
    }

    /// Forwards a port on loopback to a Service with `kubectl port-forward`, as long as the lab runs; answers the port.
    pub async fn forward(&self, namespace: &str, service: &str, port: u16) -> Result<u16> {
        let [local] = free_ports()?;
        let args = ["-n", namespace, "port-forward", &format!("service/{service}"), &format!("{local}:{port}")];
        self.start_kubectl(&format!("forward-{service}"), &args)?;
        let connects = async || Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, local)).await.is_ok());
        self.until(&format!("a connection to {service}"), connects).await?;
        Ok(local)
    }

    /// Ends the forwarding that [`ControlPlane::forward`] started for this Service.
    pub fn end_forward(&self, service: &str) -> Result<()> {
        self.keeper.kill(&format!("forward-{service}"))
    }

    /// Starts the real nodes and waits until each is Ready.
    pub(crate) async fn start_nodes(&mut self, supplies: &Supplies, count: u16) -> Result<()> {
        let proxy = self.kubeconfig_for("system:kube-proxy", &[])?;
        let node_context = self.node_context(supplies).context("the lab has no network for real nodes")?;
        node_context.prepare(&self.kubeconfig())?;
        for number in 0..count {
            let user = format!("system:node:{}", Node::name_of(number));
            let kubelet = self.kubeconfig_for(&user, &["system:nodes"])?;
            let node_context = self.node_context(supplies).context("the lab has no network for real nodes")?;
            let node = Node::start(&node_context, number, [&kubelet, &proxy]).await?;
            self.nodes.push(node);
        }
        for name in self.node_names() {
            self.until_ready(&name).await?;
        }
        Ok(())
    }

    async fn until_ready(&self, name: &str) -> Result<()> {
        let nodes = Api::<Object>::all(self.client().await?);
        self.until(&format!("{name} to be Ready"), async || {
            Ok(nodes.get_opt(name).await?.is_some_and(|node| ready(&node)))
        })
        .await
    }
}

fn ready(node: &Object) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready =
        conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    ready && taints.is_none_or(Vec::is_empty)
}
