//! The network of a lab's real nodes: a bridge in a namespace of its own, with a link to each node and one to the machine.
//!
//! The machine's own network namespace has only its end of that one link, with an address for the API server and a route to
//! the Pods of each node; the link disappears with the bridge's namespace. The bridge is the nodes' default route and forwards
//! nothing: no packet of a lab leaves the machine.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::control_group;
use crate::guard::Guard;
use crate::keeper::Keeper;
use crate::namespace::{Namespace, run};
use crate::node_settings::NAME_SERVER;

/// How many nodes one lab may have.
pub(crate) const MOST_NODES: u16 = 8;

/// The network and the guard that removes it.
pub(crate) struct Network {
    bridge: Namespace,
    guard: Guard,
}

impl Network {
    /// Starts the guard of the nodes in this folder, then creates the bridge and the machine's link to it.
    pub(crate) async fn create(keeper: &Keeper, nodes: &Path) -> Result<Self> {
        let guard = Guard::start(nodes)?;
        control_group::make(&daemons(&guard))?;
        let bridge = Namespace::open(keeper, "bridge", &daemons(&guard)).await?;
        let network = Self { bridge, guard };
        network.link_machine().await?;
        Ok(network)
    }

    async fn link_machine(&self) -> Result<()> {
        let (near, far, holder) = (self.guard.link(), "to-machine", self.bridge.holder());
        run(&["ip", "link", "add", &near, "type", "veth", "peer", "name", far, "netns", &holder]).await?;
        run(&["ip", "address", "add", &format!("{}/24", self.machine()), "dev", &near]).await?;
        run(&["ip", "link", "set", &near, "up"]).await?;
        self.bridge.run(&["ip", "link", "add", "bridge", "type", "bridge"]).await?;
        self.bridge.run(&["ip", "address", "add", &format!("{}/24", self.address(254)), "dev", "bridge"]).await?;
        self.bridge.run(&["ip", "address", "add", &format!("{NAME_SERVER}/32"), "dev", "bridge"]).await?;
        self.bridge.run(&["ip", "link", "set", "bridge", "up"]).await?;
        self.attach(far).await
    }

    async fn attach(&self, link: &str) -> Result<()> {
        self.bridge.run(&["ip", "link", "set", link, "master", "bridge", "up"]).await?;
        Ok(())
    }

    /// Links a node: creates `eth0` in its namespace, and routes to its Pods everywhere.
    pub(crate) async fn link(&self, node: &Namespace, number: u16) -> Result<()> {
        ensure!(number < MOST_NODES, "a lab has at most {MOST_NODES} real nodes");
        let (near, holder) = (format!("to-node-{number}"), node.holder());
        self.bridge
            .run(&["ip", "link", "add", &near, "type", "veth", "peer", "name", "eth0", "netns", &holder])
            .await?;
        self.attach(&near).await?;
        let address = self.node(number);
        node.run(&["ip", "link", "set", "lo", "up"]).await?;
        node.run(&["ip", "address", "add", &format!("{address}/24"), "dev", "eth0"]).await?;
        node.run(&["ip", "link", "set", "eth0", "up"]).await?;
        // Service addresses are rewritten only for packets that have a route.
        node.run(&["ip", "route", "add", "default", "via", &self.address(254)]).await?;
        node.run(&["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]).await?;
        for other in (0..MOST_NODES).filter(|other| *other != number) {
            node.run(&["ip", "route", "add", &self.pods(other), "via", &self.node(other)]).await?;
        }
        let to_pods = ["ip", "route", "add", &self.pods(number), "via", &address];
        run(&to_pods).await?;
        self.bridge.run(&to_pods).await?;
        Ok(())
    }

    /// Starts the name server of all Pods in the bridge's namespace.
    pub(crate) fn start_name_server(&self, keeper: &Keeper, program: &Path, settings: &Path) -> Result<()> {
        self.bridge.start(keeper, "coredns", program, &["-conf".to_owned(), settings.display().to_string()])?;
        Ok(())
    }

    /// The lab's number on this machine.
    pub(crate) fn number(&self) -> u8 {
        self.guard.number()
    }

    /// The control group of the nodes' own programs.
    pub(crate) fn daemons(&self) -> String {
        daemons(&self.guard)
    }

    /// The control group of a node's Pods.
    pub(crate) fn group(&self, node: &str) -> String {
        format!("{}/{node}", self.guard.group())
    }

    /// The machine's address, where the API server listens.
    pub(crate) fn machine(&self) -> String {
        self.address(1)
    }

    /// A node's address.
    pub(crate) fn node(&self, number: u16) -> String {
        self.address(11 + number)
    }

    /// The addresses of a node's Pods.
    pub(crate) fn pods(&self, number: u16) -> String {
        format!("10.{}.{}.0/24", self.second(), 11 + number)
    }

    /// The addresses of all Pods and nodes.
    pub(crate) fn whole(&self) -> String {
        format!("10.{}.0.0/16", self.second())
    }

    fn address(&self, last: u16) -> String {
        format!("10.{}.0.{last}", self.second())
    }

    fn second(&self) -> u8 {
        200 + self.guard.number()
    }
}

fn daemons(guard: &Guard) -> String {
    format!("{}/daemons", guard.group())
}
