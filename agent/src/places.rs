//! Which Pods run on which node, as the API server says it: what the relay tells each node, and whom a retest asks.
//!
//! Fed by the engine from the watch that it has anyway; no object is kept for it but a few names. Each node's Pods are one
//! shared map behind a watch channel, so that a change wakes its own node's stream and no other. Who is the top owner of a
//! Pod, the inventory knows; it may be told a moment later than the Pod itself. Its addresses go on to `controls::peers`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdfast_controls::Kind;
use holdfast_controls::facts::workload::POD;
use holdfast_controls::peers::{Addresses, PodName};
use holdfast_model::kernel::RunningContainer;
use holdfast_model::{Resource, UnixMillis};
use serde::Deserialize;
use tokio::sync::watch;

use crate::text::clip;

/// The most containers of a Pod that nodes are told of.
const CONTAINERS: usize = 512;

/// The annotation that names the uid under which the kubelet, and so the cgroups, know a static Pod.
const STATIC_UID: &str = "kubernetes.io/config.hash";

/// A Pod on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// `metadata.uid`.
    pub uid: String,
    /// The uid in the cgroup's path, where it is another one: of static Pods.
    pub static_uid: Option<String>,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `spec.nodeName`; empty until it is scheduled.
    pub node: String,
    /// What findings about it are about; none while its owner is awaited.
    pub owner: Option<Resource>,
    /// Whether all its containers have ended for good.
    pub ended: bool,
    /// Its containers.
    pub containers: Vec<PlacedContainer>,
    /// Its addresses and its node's.
    pub addresses: Addresses,
}

/// A container of a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedContainer {
    /// Its name in the Pod.
    pub name: String,
    /// The runtime's id, without the runtime's prefix; empty before it was created.
    pub id: String,
    /// `container`, `init` or `ephemeral`.
    pub role: &'static str,
    /// The digest of its image where the runtime told it.
    pub image: String,
}

impl Placed {
    /// Whether it runs, or will, on a node.
    pub fn is_anywhere(&self) -> bool {
        !self.node.is_empty() && !self.ended
    }

    /// Its name as the other end of a connection.
    pub fn peer(&self) -> PodName {
        PodName { namespace: self.namespace.clone(), name: self.name.clone(), workload: self.owner.clone() }
    }

    /// A running container under the names that the API server has for it. The kubelet's folder of a static Pod, and so its
    /// mounts, have another uid.
    pub fn know(&self, container: &RunningContainer) -> RunningContainer {
        let listed = self.containers.iter().find(|known| !known.id.is_empty() && known.id == container.id);
        RunningContainer {
            pod: self.static_uid.clone().unwrap_or_else(|| container.pod.clone()),
            name: listed.map(|known| known.name.clone()),
            ..container.clone()
        }
    }
}

/// The Pods of one node by uid.
pub type NodePods = Arc<BTreeMap<String, Arc<Placed>>>;

/// The Pods of the cluster by node. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Places {
    table: Arc<Mutex<Table>>,
    nodes: Arc<watch::Sender<BTreeSet<String>>>,
}

#[derive(Debug, Default)]
struct Table {
    nodes: HashMap<String, watch::Sender<NodePods>>,
    node_of: HashMap<String, String>,
}

impl Places {
    /// Takes in a Pod, new or changed. One without a node, or that has ended, is nowhere.
    pub fn put(&self, pod: Placed) {
        if !pod.is_anywhere() {
            return self.remove(&pod.uid);
        }
        let mut table = self.locked();
        let before = table.node_of.insert(pod.uid.clone(), pod.node.clone());
        if let Some(before) = before.filter(|before| *before != pod.node) {
            table.take_out(&before, &pod.uid);
        }
        let node = table.nodes.entry(pod.node.clone()).or_default();
        node.send_if_modified(|pods| {
            let known = pods.get(&pod.uid).is_some_and(|known| **known == pod);
            if !known {
                Arc::make_mut(pods).insert(pod.uid.clone(), Arc::new(pod));
            }
            !known
        });
        self.tell(&table);
    }

    /// Takes out a Pod.
    pub fn remove(&self, uid: &str) {
        let mut table = self.locked();
        if let Some(node) = table.node_of.remove(uid) {
            table.take_out(&node, uid);
            self.tell(&table);
        }
    }

    /// The Pods of one node, now and as they change.
    pub fn on_node(&self, node: &str) -> watch::Receiver<NodePods> {
        self.locked().nodes.entry(node.to_owned()).or_default().subscribe()
    }

    /// The nodes that run at least one Pod, now and as they change.
    pub fn nodes(&self) -> watch::Receiver<BTreeSet<String>> {
        self.nodes.subscribe()
    }

    /// A Pod by its uid.
    pub fn pod(&self, uid: &str) -> Option<Arc<Placed>> {
        let table = self.locked();
        let node = table.nodes.get(table.node_of.get(uid)?)?;
        node.borrow().get(uid).cloned()
    }

    fn tell(&self, table: &Table) {
        self.nodes.send_if_modified(|known| {
            let busy = |pods: &watch::Sender<NodePods>| !pods.borrow().is_empty();
            let count = table.nodes.values().filter(|pods| busy(pods)).count();
            let same = known.len() == count && known.iter().all(|node| table.nodes.get(node).is_some_and(busy));
            if !same {
                *known = table.nodes.iter().filter(|(_, pods)| busy(pods)).map(|(node, _)| node.clone()).collect();
            }
            !same
        });
    }

    fn locked(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn take_out(&mut self, node: &str, uid: &str) {
        let Some(pods) = self.nodes.get(node) else { return };
        pods.send_if_modified(|pods| Arc::make_mut(pods).remove(uid).is_some());
        if pods.borrow().is_empty() && pods.receiver_count() == 0 {
            self.nodes.remove(node);
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Shape {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    namespace: String,
    uid: String,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<Address>>,
    #[serde(rename = "hostIP")]
    host_ip: Option<String>,
    #[serde(rename = "hostIPs")]
    host_ips: Option<Vec<Address>>,
    start_time: Option<String>,
    container_statuses: Option<Vec<ContainerStatus>>,
    init_container_statuses: Option<Vec<ContainerStatus>>,
    ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Address {
    ip: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    #[serde(rename = "containerID")]
    container_id: Option<String>,
    #[serde(rename = "imageID")]
    image_id: Option<String>,
}

/// Where a Pod is, read from its object; none for every other kind, and for a Pod that has not a Pod's form.
pub fn read(kind: &'static Kind, bytes: &[u8]) -> Option<Box<Placed>> {
    if *kind != POD {
        return None;
    }
    let Shape { metadata, spec, status } = serde_json::from_slice(bytes).ok()?;
    let addresses = Addresses {
        own: addresses(status.pod_ip.as_deref(), status.pod_ips.as_deref()),
        node: addresses(status.host_ip.as_deref(), status.host_ips.as_deref()),
        started: started(status.start_time.as_deref()),
    };
    let lists = [
        ("container", status.container_statuses),
        ("init", status.init_container_statuses),
        ("ephemeral", status.ephemeral_container_statuses),
    ];
    let containers = lists
        .into_iter()
        .flat_map(|(role, list)| list.unwrap_or_default().into_iter().map(move |status| container(role, &status)));
    let static_uid = metadata.annotations.unwrap_or_default().remove(STATIC_UID);
    (!metadata.uid.is_empty()).then(|| {
        Box::new(Placed {
            uid: clip(&metadata.uid),
            static_uid: static_uid.map(|uid| clip(&uid)),
            namespace: clip(&metadata.namespace),
            name: clip(&metadata.name),
            node: clip(&spec.node_name.unwrap_or_default()),
            owner: None,
            ended: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            containers: containers.take(CONTAINERS).collect(),
            addresses,
        })
    })
}

/// The one address of old and the list of now: each once, and no more than a Pod can have (one a family).
fn addresses(one: Option<&str>, all: Option<&[Address]>) -> Vec<IpAddr> {
    let texts = one.into_iter().chain(all.unwrap_or_default().iter().map(|address| address.ip.as_str()));
    let mut addresses: Vec<IpAddr> =
        texts.take(8).filter_map(|text| Some(text.parse::<IpAddr>().ok()?.to_canonical())).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

fn started(text: Option<&str>) -> UnixMillis {
    text.and_then(|text| text.parse::<jiff::Timestamp>().ok()).map_or(0, |at| at.as_millisecond())
}

fn container(role: &'static str, status: &ContainerStatus) -> PlacedContainer {
    let id = status.container_id.as_deref().unwrap_or_default();
    let image = status.image_id.as_deref().unwrap_or_default();
    PlacedContainer {
        name: clip(&status.name),
        id: clip(id.split_once("://").map_or(id, |(_, id)| id)),
        role,
        image: clip(image.rsplit_once('@').map_or("", |(_, digest)| digest)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(uid: &str, node: &str) -> Placed {
        let object = json!({"metadata": {"uid": uid, "name": uid, "namespace": "shop"}, "spec": {"nodeName": node}});
        *read(&POD, object.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_pod_is_read_with_its_containers_and_the_uid_that_its_cgroups_bear() {
        let object = json!({
            "metadata": {"uid": "u1", "name": "etcd-a", "namespace": "kube-system", "annotations": {STATIC_UID: "abc"}},
            "spec": {"nodeName": "a"},
            "status": {"phase": "Running", "startTime": "2026-11-22T20:00:00Z", "podIP": "10.0.0.7",
                "podIPs": [{"ip": "10.0.0.7"}, {"ip": "fd10::7"}, {"ip": "seven"}], "hostIP": "192.168.5.1",
                "containerStatuses": [{"name": "etcd", "containerID": "containerd://0123", "imageID": "reg/etcd@sha256:9f"}],
                "initContainerStatuses": [{"name": "wait"}]},
        });
        let placed = read(&POD, object.to_string().as_bytes()).unwrap();
        assert_eq!((placed.node.as_str(), placed.static_uid.as_deref()), ("a", Some("abc")));
        let of = |name: &str, id: &str, role, image: &str| PlacedContainer {
            name: name.into(),
            id: id.into(),
            role,
            image: image.into(),
        };
        assert_eq!(placed.containers, [of("etcd", "0123", "container", "sha256:9f"), of("wait", "", "init", "")]);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let Addresses { own, node, started } = placed.addresses;
        assert_eq!((own, node), (vec![ip("10.0.0.7"), ip("fd10::7")], vec![ip("192.168.5.1")]));
        assert_eq!(started, 1_795_377_600_000);
        assert_eq!(read(&POD, b"{\"metadata\": 3}"), None);
    }

    #[test]
    fn a_change_wakes_its_own_node_only_and_nodes_without_pods_are_none() {
        let places = Places::default();
        places.put(pod("u1", "a"));
        places.put(pod("u2", "b"));
        let (mut a, mut b, mut nodes) = (places.on_node("a"), places.on_node("b"), places.nodes());
        a.mark_unchanged();
        b.mark_unchanged();
        assert_eq!(*nodes.borrow_and_update(), ["a", "b"].map(str::to_owned).into());

        places.put(pod("u1", "a"));
        assert!(!a.has_changed().unwrap(), "nothing changed");
        places.put(pod("u3", "a"));
        assert!(a.has_changed().unwrap() && !b.has_changed().unwrap() && !nodes.has_changed().unwrap());
        places.put(Placed { ended: true, ..pod("u2", "b") });
        assert!(b.borrow_and_update().is_empty());
        assert_eq!(*nodes.borrow_and_update(), ["a"].map(str::to_owned).into());
        assert_eq!(places.pod("u2"), None);
        assert_eq!(places.pod("u3").unwrap().name, "u3");
        places.remove("u3");
        places.remove("u1");
        assert!(nodes.borrow_and_update().is_empty());
    }
}
