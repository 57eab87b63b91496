//! Whose an address is: Pod, Service, node, API server, cloud metadata, this Pod itself, or outside the cluster.
//!
//! A table of what the API server's objects say now, fed with Pods and Services that are watched anyway: the addresses of a node
//! are the `hostIPs` of its Pods. One look is one hash, whatever the size of the cluster; what is kept is a few names and
//! addresses a Pod (10,000 Pods of two addresses each: 11.4 MiB of RSS, measured).
//! It knows nothing of ports and connections. Where objects don't tell for certain it says "unknown", and why: an address that
//! nobody has, next to addresses of Pods or Services, may be a Pod that has ended, or one that is not known yet.
//! Pods without a network of their own are their node. Endpoints are not read: an API server that is not asked by its Service
//! is outside the cluster.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use holdfast_model::metadata_service::{self, MetadataService};
use holdfast_model::{Resource, UnixMillis};

use crate::facts::Service;
use crate::facts::pod::short;

#[cfg(test)]
mod tests;

/// Clocks of nodes may differ by so much, and a Pod's start is reported in seconds.
const SKEW_MILLIS: UnixMillis = 2_000;

/// Whose an address is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A Pod's.
    Pod(Arc<PodName>),
    /// A Service's: its cluster IP, as a program asked for it, or an address from outside that leads to it.
    Service(Arc<ServiceName>),
    /// The API server's, by its Service.
    ApiServer,
    /// This node's, or that of a Pod without a network of its own.
    Node(Arc<str>),
    /// A cloud's metadata service.
    CloudMetadata(&'static MetadataService),
    /// The asker's own.
    Loopback,
    /// Of no object of the cluster, nor near one.
    External,
    /// Nobody can say: why, in plain words.
    Unknown(&'static str),
}

/// A Pod by name, with its top owner where that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// What findings about it are about.
    pub workload: Option<Resource>,
}

/// A Service by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// A Pod that runs, as its status has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// `status.podIPs`.
    pub own: Vec<IpAddr>,
    /// `status.hostIPs`.
    pub node: Vec<IpAddr>,
    /// `status.startTime`; 0 where it is not reported.
    pub started: UnixMillis,
}

/// Whose addresses are.
#[derive(Debug)]
pub struct Peers {
    pods: HashMap<Arc<str>, Holder>,
    services: HashMap<Arc<ServiceName>, Known>,
    /// uids, in the order in which they were reported.
    of_pods: HashMap<IpAddr, Vec<Arc<str>>>,
    of_services: HashMap<IpAddr, Vec<Arc<ServiceName>>>,
    /// Names, each with the number of Pods that say so.
    of_nodes: HashMap<IpAddr, Vec<(Arc<str>, u32)>>,
    of_clouds: HashMap<IpAddr, &'static MetadataService>,
    /// Networks of Pods and cluster IPs, each with the number of addresses in it.
    near: HashMap<IpAddr, u32>,
    complete: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Holder {
    name: Arc<PodName>,
    node: Arc<str>,
    addresses: Addresses,
}

impl Default for Peers {
    /// Of a cluster of which nothing is known yet.
    fn default() -> Self {
        Self {
            pods: HashMap::new(),
            services: HashMap::new(),
            of_pods: HashMap::new(),
            of_services: HashMap::new(),
            of_nodes: HashMap::new(),
            of_clouds: metadata_service::addresses().collect(),
            near: HashMap::new(),
            complete: false,
        }
    }
}

impl Peers {
    /// Notes whether all Pods and Services can be seen: before that nothing is said to be outside the cluster.
    pub fn set_complete(&mut self, complete: bool) {
        self.complete = complete;
    }

    /// Takes in a Pod that runs on a node, new or changed.
    pub fn put_pod(&mut self, uid: &str, name: PodName, node: &str, addresses: &Addresses) {
        let known = self.pods.get(uid);
        let same = |known: &Holder| *known.name == name && *known.node == *node && known.addresses == *addresses;
        if known.is_some_and(same) {
            return;
        }
        self.remove_pod(uid);
        let uid: Arc<str> = uid.into();
        let mut addresses = addresses.clone();
        addresses.own.iter_mut().chain(&mut addresses.node).for_each(|address| *address = address.to_canonical());
        let node = self.named(node, &addresses);
        for address in &addresses.node {
            let names = self.of_nodes.entry(*address).or_default();
            match names.iter_mut().find(|(known, _)| *known == node) {
                Some((_, pods)) => *pods += 1,
                None => names.push((node.clone(), 1)),
            }
        }
        for address in own(&addresses) {
            self.of_pods.entry(*address).or_default().push(uid.clone());
            *self.near.entry(network(*address)).or_default() += 1;
        }
        self.pods.insert(uid, Holder { name: Arc::new(name), node, addresses });
    }

    /// One text a node, not one a Pod.
    fn named(&self, node: &str, addresses: &Addresses) -> Arc<str> {
        let known = addresses.node.iter().filter_map(|address| self.of_nodes.get(address)).flatten();
        known.map(|(known, _)| known).find(|known| ***known == *node).cloned().unwrap_or_else(|| node.into())
    }

    /// Takes out a Pod that has ended, or is gone.
    pub fn remove_pod(&mut self, uid: &str) {
        let Some(Holder { node, addresses, .. }) = self.pods.remove(uid) else { return };
        for address in &addresses.node {
            forget(&mut self.of_nodes, *address, |names| {
                names.iter_mut().filter(|(known, _)| *known == node).for_each(|(_, pods)| *pods -= 1);
                names.retain(|(_, pods)| *pods > 0);
                names.is_empty()
            });
        }
        for address in own(&addresses) {
            forget(&mut self.of_pods, *address, |uids| {
                uids.retain(|known| **known != *uid);
                uids.is_empty()
            });
            self.leave(*address);
        }
    }

    /// Takes in a Service, new or changed.
    pub fn put_service(&mut self, namespace: &str, name: &str, service: &Service) {
        self.remove_service(namespace, name);
        let name = Arc::new(ServiceName { namespace: namespace.to_owned(), name: name.to_owned() });
        for address in &service.cluster_ips {
            *self.near.entry(network(*address)).or_default() += 1;
        }
        let foreign =
            service.external_ips.iter().filter_map(|address| Some(address.parse::<IpAddr>().ok()?.to_canonical()));
        let mut all: Vec<IpAddr> =
            service.cluster_ips.iter().chain(&service.balancer_ips).copied().chain(foreign).collect();
        all.sort_unstable();
        all.dedup();
        for address in &all {
            self.of_services.entry(*address).or_default().push(name.clone());
        }
        let inner = service.cluster_ips.clone();
        self.services.insert(name, Known { all: all.into(), inner });
    }

    /// Takes out a Service.
    pub fn remove_service(&mut self, namespace: &str, name: &str) {
        let name = ServiceName { namespace: namespace.to_owned(), name: name.to_owned() };
        let Some(Known { all, inner }) = self.services.remove(&name) else { return };
        for address in &all {
            forget(&mut self.of_services, *address, |names| {
                names.retain(|known| **known != name);
                names.is_empty()
            });
        }
        inner.iter().for_each(|address| self.leave(*address));
    }

    /// Whose this address was at a time that is not long ago.
    pub fn resolve(&self, to: SocketAddr, at: UnixMillis) -> Peer {
        let address = to.ip().to_canonical();
        if address.is_loopback() || address.is_unspecified() {
            return Peer::Loopback;
        }
        // Before Services: one may claim any address from outside as its own.
        if let Some(metadata) = self.of_clouds.get(&address).filter(|_| metadata_service::is_service_port(to.port())) {
            return Peer::CloudMetadata(metadata);
        }
        if let Some((node, _)) = self.of_nodes.get(&address).and_then(|names| names.last()) {
            return Peer::Node(node.clone());
        }
        if let Some(uids) = self.of_pods.get(&address) {
            return self.pod(uids, at);
        }
        match self.of_services.get(&address).map(Vec::as_slice) {
            Some([one]) if one.namespace == "default" && one.name == "kubernetes" => Peer::ApiServer,
            Some([one]) => Peer::Service(one.clone()),
            Some(_) => Peer::Unknown("several Services share this address"),
            None => self.nobodys(address),
        }
    }

    /// The Pod that had an address then: of those that had started, the last.
    fn pod(&self, uids: &[Arc<str>], at: UnixMillis) -> Peer {
        let holders = uids.iter().filter_map(|uid| self.pods.get(uid));
        let then = holders.filter(|holder| holder.addresses.started <= at.saturating_add(SKEW_MILLIS));
        match then.max_by_key(|holder| holder.addresses.started) {
            Some(holder) => Peer::Pod(holder.name.clone()),
            None => Peer::Unknown("the Pod that has this address now started later"),
        }
    }

    fn nobodys(&self, address: IpAddr) -> Peer {
        if !self.complete {
            return Peer::Unknown("not all Pods and Services of the cluster can be seen");
        }
        if self.near.contains_key(&network(address)) {
            return Peer::Unknown("no Pod or Service has this address now, and its network is theirs");
        }
        match address {
            IpAddr::V4(address) if address.is_link_local() && !self.of_clouds.contains_key(&address.into()) => {
                Peer::Unknown("an address of the node's own link")
            }
            IpAddr::V6(address) if address.is_unicast_link_local() => {
                Peer::Unknown("an address of the node's own link")
            }
            address if address.is_multicast() => Peer::Unknown("an address of many"),
            _ => Peer::External,
        }
    }

    fn leave(&mut self, address: IpAddr) {
        forget(&mut self.near, network(address), |addresses| {
            *addresses -= 1;
            *addresses == 0
        });
    }
}

/// A Service's addresses: all of them, and those that the cluster itself gave it.
#[derive(Debug)]
struct Known {
    all: Box<[IpAddr]>,
    inner: Box<[IpAddr]>,
}

/// Changes what is known of an address, and lets go of it when nothing is left.
fn forget<T>(table: &mut HashMap<IpAddr, T>, address: IpAddr, change: impl FnOnce(&mut T) -> bool) {
    if table.get_mut(&address).is_some_and(change) {
        table.remove(&address);
    }
}

/// The addresses that are not its node's.
fn own(addresses: &Addresses) -> impl Iterator<Item = &IpAddr> {
    addresses.own.iter().filter(|address| !addresses.node.contains(address))
}

/// The network around an address, as wide as clusters give them to Pods and Services: /16 and /56.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4((address.to_bits() & (!0 << 16)).into()),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & (!0 << 72)).into()),
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(pod) => match &pod.workload {
                Some(workload) => write!(f, "Pod {}/{} of {workload}", short(&pod.namespace), short(&pod.name)),
                None => write!(f, "Pod {}/{}", short(&pod.namespace), short(&pod.name)),
            },
            Self::Service(service) => write!(f, "Service {}/{}", short(&service.namespace), short(&service.name)),
            Self::ApiServer => f.write_str("the API server"),
            Self::Node(node) => write!(f, "node {}", short(node)),
            Self::CloudMetadata(metadata) => write!(f, "the metadata service of {}", metadata.cloud),
            Self::Loopback => f.write_str("the Pod itself"),
            Self::External => f.write_str("outside the cluster"),
            Self::Unknown(why) => write!(f, "unknown: {why}"),
        }
    }
}
