//! Which Pods run on which node, as the API server says it: what the relay tells each node, and whom a retest asks.
//!
//! Fed by the engine from the watch that it has anyway; no object is kept for it but a few names. Each node's Pods are one
//! shared map behind a watch channel, so that a change wakes its own node's stream and no other. Who is the top owner of a
//! Pod, the inventory knows; it may be told a moment later than the Pod itself. Its addresses go on to `controls::peers`.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdfast_controls::Kind;
use holdfast_controls::facts::workload::POD;
use holdfast_controls::peers::{Addresses, PodName};
use holdfast_model::kernel::RunningContainer;
use holdfast_model::{Resource, UnixMillis};
use serde::Deserialize;
use tokio::sync::watch;

use holdfast_agent_core::text::clip;

/// The most containers of a Pod that nodes are told of.
const CONTAINERS: usize = 512;

/// The most Pods that are remembered after they left; beyond it the first ones are forgotten.
const DEPARTED: usize = 4096;

/// The annotation that names the uid under which the kubelet, and so the cgroups, know a static Pod.
const STATIC_UID: &str = "kubernetes.io/config.hash";
/// What marks the API server's copy of a static Pod, with the same value. The kubelet deletes every other Pod that bears it.
const MIRROR: &str = "kubernetes.io/config.mirror";

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
    /// Whether it runs now, as the kubelet says.
    pub runs: bool,
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
    /// uids of static Pods by the one that their cgroups bear.
    of_cgroup: HashMap<String, String>,
    /// In the order in which they left.
    departed: VecDeque<Departed>,
}

/// A Pod that is listed no more, and that its node has not yet been seen without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departed {
    /// The uid under which cgroups know it.
    pub uid: String,
    /// The node that ran it.
    pub node: String,
    /// What findings about it are about.
    pub owner: Resource,
}

impl Places {
    /// Takes in a Pod, new or changed. One without a node, or that has ended, is nowhere.
    pub fn put(&self, pod: Placed) {
        if !pod.is_anywhere() {
            return self.remove(&pod.uid);
        }
        let mut table = self.locked();
        let before = table.node_of.insert(pod.uid.clone(), pod.node.clone());
        if let Some(of_cgroup) = &pod.static_uid {
            table.of_cgroup.insert(of_cgroup.clone(), pod.uid.clone());
        }
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

    /// Pods of this owner that have left and may run on. A node on which no Pod is listed any more, not even the one that
    /// looks, is gone with everything that ran there.
    pub fn departed_of(&self, owner: &Resource) -> Vec<Departed> {
        let table = self.locked();
        let there = |gone: &&Departed| gone.owner == *owner && table.is_busy(&gone.node);
        table.departed.iter().filter(there).cloned().collect()
    }

    /// uids of Pods that have left this node and may run on.
    pub fn departed_from(&self, node: &str) -> Vec<String> {
        let table = self.locked();
        table.departed.iter().filter(|gone| gone.node == node).map(|gone| gone.uid.clone()).collect()
    }

    /// Its node was asked, and shows no process of it.
    pub fn has_ended(&self, node: &str, uid: &str) {
        self.locked().departed.retain(|gone| gone.node != node || gone.uid != uid);
    }

    /// The Pod whose cgroups bear this uid: its own, or that of a static Pod's file on its node.
    pub fn of_cgroup(&self, uid: &str) -> Option<Arc<Placed>> {
        let of_static = || self.locked().of_cgroup.get(uid).cloned();
        self.pod(uid).or_else(|| self.pod(&of_static()?))
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
    fn is_busy(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|pods| !pods.borrow().is_empty())
    }

    fn take_out(&mut self, node: &str, uid: &str) {
        let Some(pods) = self.nodes.get(node) else { return };
        let mut left = None;
        pods.send_if_modified(|pods| {
            left = Arc::make_mut(pods).remove(uid);
            left.is_some()
        });
        if let Some(of_cgroup) = left.as_ref().and_then(|pod| pod.static_uid.as_ref())
            && self.of_cgroup.get(of_cgroup).is_some_and(|known| known == uid)
        {
            self.of_cgroup.remove(of_cgroup);
        }
        let departed = left.and_then(|pod| {
            let (owner, uid) = (pod.owner.clone()?, pod.static_uid.clone().unwrap_or_else(|| pod.uid.clone()));
            Some(Departed { uid, node: pod.node.clone(), owner })
        });
        self.departed.extend(departed);
        if self.departed.len() > DEPARTED {
            self.departed.pop_front();
        }
        let Some(pods) = self.nodes.get(node) else { return };
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
    #[serde(rename = "ownerReferences")]
    owners: Option<Vec<Owner>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Owner {
    kind: String,
    name: String,
    controller: bool,
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
    state: Option<State>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct State {
    running: Option<serde::de::IgnoredAny>,
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
    let node = spec.node_name.unwrap_or_default();
    let static_uid = static_uid(&metadata, &node).map(clip);
    (!metadata.uid.is_empty()).then(|| {
        Box::new(Placed {
            uid: clip(&metadata.uid),
            static_uid,
            namespace: clip(&metadata.namespace),
            name: clip(&metadata.name),
            node: clip(&node),
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

/// The annotation alone is anybody's to write, and would put another Pod's processes in the place of one's own.
fn static_uid<'m>(metadata: &'m Metadata, node: &str) -> Option<&'m str> {
    let annotations = metadata.annotations.as_ref()?;
    let uid = annotations.get(STATIC_UID).filter(|uid| annotations.get(MIRROR) == Some(uid))?;
    let of_its_node = |owner: &Owner| owner.controller && owner.kind == "Node" && owner.name == node;
    metadata.owners.as_ref()?.iter().any(of_its_node).then_some(uid)
}

fn container(role: &'static str, status: &ContainerStatus) -> PlacedContainer {
    let id = status.container_id.as_deref().unwrap_or_default();
    let image = status.image_id.as_deref().unwrap_or_default();
    PlacedContainer {
        name: clip(&status.name),
        id: clip(id.split_once("://").map_or(id, |(_, id)| id)),
        role,
        image: clip(image.rsplit_once('@').map_or("", |(_, digest)| digest)),
        runs: status.state.as_ref().is_some_and(|state| state.running.is_some()),
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
            "metadata": {"uid": "u1", "name": "etcd-a", "namespace": "kube-system",
                "annotations": {STATIC_UID: "abc", MIRROR: "abc"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "a", "uid": "n", "controller": true}]},
            "spec": {"nodeName": "a"},
            "status": {"phase": "Running", "startTime": "2026-11-22T20:00:00Z", "podIP": "10.0.0.7",
                "podIPs": [{"ip": "10.0.0.7"}, {"ip": "fd10::7"}, {"ip": "seven"}], "hostIP": "192.168.5.1",
                "containerStatuses": [{"name": "etcd", "containerID": "containerd://0123", "imageID": "reg/etcd@sha256:9f",
                    "state": {"running": {"startedAt": "2026-11-22T10:00:00Z"}}}],
                "initContainerStatuses": [{"name": "wait"}]},
        });
        let placed = read(&POD, object.to_string().as_bytes()).unwrap();
        assert_eq!((placed.node.as_str(), placed.static_uid.as_deref()), ("a", Some("abc")));
        let of = |name: &str, id: &str, role, image: &str| PlacedContainer {
            name: name.into(),
            id: id.into(),
            role,
            image: image.into(),
            runs: !id.is_empty(),
        };
        assert_eq!(placed.containers, [of("etcd", "0123", "container", "sha256:9f"), of("wait", "", "init", "")]);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let Addresses { own, node, started } = placed.addresses;
        assert_eq!((own, node), (vec![ip("10.0.0.7"), ip("fd10::7")], vec![ip("192.168.5.1")]));
        assert_eq!(started, 1_795_377_600_000);
        assert_eq!(read(&POD, b"{\"metadata\": 3}"), None);
    }

    #[test]
    fn only_the_kubelets_own_copy_of_a_static_pod_bears_another_uid() {
        let read_with = |annotations: serde_json::Value, owner: serde_json::Value| {
            let metadata = json!({"uid": "u1", "annotations": annotations, "ownerReferences": [owner]});
            let object = json!({"metadata": metadata, "spec": {"nodeName": "a"}});
            read(&POD, object.to_string().as_bytes()).unwrap().static_uid
        };
        let node = |name: &str, controller| json!({"kind": "Node", "name": name, "controller": controller});
        let both = json!({STATIC_UID: "victim", MIRROR: "victim"});
        assert_eq!(read_with(both.clone(), node("a", true)).as_deref(), Some("victim"));
        assert_eq!(read_with(json!({STATIC_UID: "victim"}), node("a", true)), None);
        assert_eq!(read_with(json!({STATIC_UID: "victim", MIRROR: "other"}), node("a", true)), None);
        assert_eq!(read_with(both.clone(), node("b", true)), None);
        assert_eq!(read_with(both.clone(), node("a", false)), None);
        assert_eq!(read_with(both, json!({"kind": "ReplicaSet", "name": "a", "controller": true})), None);
    }

    #[test]
    fn a_static_pod_is_found_by_the_uid_of_its_cgroups_and_takes_nobody_elses_place() {
        let places = Places::default();
        let of = |uid: &str, of_cgroup: &str| Placed { static_uid: Some(of_cgroup.into()), ..pod(uid, "a") };
        places.put(of("u1", "hash"));
        places.put(pod("u2", "a"));
        places.put(of("u3", "u2"));
        let found = |uid: &str| places.of_cgroup(uid).map(|pod| pod.uid.clone());
        assert_eq!(found("hash").as_deref(), Some("u1"));
        assert_eq!(found("u2").as_deref(), Some("u2"), "a Pod's own uid comes first");
        places.put(of("u4", "hash"));
        places.remove("u1");
        assert_eq!(found("hash").as_deref(), Some("u4"), "its file has come again");
        places.remove("u4");
        assert_eq!(found("hash"), None);
    }

    #[test]
    fn a_pod_that_left_is_remembered_until_its_node_is_seen_without_it_or_is_gone() {
        let owner = |name: &str| Resource {
            group: "apps".into(),
            kind: "Deployment".into(),
            namespace: Some("shop".into()),
            name: name.into(),
        };
        let owned = |uid: &str, node: &str| Placed { owner: Some(owner("web")), ..pod(uid, node) };
        let places = Places::default();
        for (uid, node) in [("u1", "a"), ("u2", "a"), ("u3", "b"), ("u4", "a")] {
            places.put(owned(uid, node));
        }
        places.remove("u1");
        places.put(Placed { ended: true, ..owned("u2", "a") });
        places.remove("u3");
        let left = |name: &str| places.departed_of(&owner(name)).into_iter().map(|gone| gone.uid).collect::<Vec<_>>();
        assert_eq!(left("web"), ["u1", "u2"], "nothing is listed on node b any more");
        assert!(left("other").is_empty());
        assert_eq!(places.departed_from("a"), ["u1", "u2"]);
        places.has_ended("b", "u1");
        places.has_ended("a", "u2");
        assert_eq!(left("web"), ["u1"]);
        for n in 0..2 * DEPARTED {
            places.put(owned(&format!("n{n}"), "a"));
            places.remove(&format!("n{n}"));
        }
        assert_eq!(left("web").len(), DEPARTED);
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
