//! A Pod as the index keeps it: where it is, its containers, its addresses; read from its object and nothing else kept of it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use holdfast_controls::Kind;
use holdfast_controls::facts::workload::POD;
use holdfast_controls::peers::{Addresses, PodName};
use holdfast_model::kernel::RunningContainer;
use holdfast_model::{Resource, UnixMillis};
use serde::Deserialize;

use crate::text::clip;

/// The most containers that are kept of a Pod.
const CONTAINERS: usize = 512;

/// The annotation that names the uid under which the kubelet, and so the cgroups, know a static Pod.
const STATIC_UID: &str = "kubernetes.io/config.hash";
/// What marks the API server's copy of a static Pod, with the same value. The kubelet deletes every other Pod that bears it.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// A Pod with its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledPod {
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
    /// Its top owner, which findings about it name; none while the owner has not been seen.
    pub owner: Option<Resource>,
    /// Whether all its containers have ended for good.
    pub ended: bool,
    /// Its containers.
    pub containers: Vec<PodContainer>,
    /// Its addresses and its node's.
    pub addresses: Addresses,
}

/// A container of a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodContainer {
    /// Its name in the Pod.
    pub name: String,
    /// The runtime's id, without the runtime's prefix; empty before it was created.
    pub id: String,
    /// `container`, `init` or `ephemeral`.
    pub role: &'static str,
    /// The digest of its image, where the runtime reports it.
    pub image: String,
    /// Whether it runs now, as the kubelet reports.
    pub is_running: bool,
}

impl ScheduledPod {
    /// Whether it runs, or will, on a node.
    pub fn is_scheduled(&self) -> bool {
        !self.node.is_empty() && !self.ended
    }

    /// Its name as the peer of a connection.
    pub fn peer(&self) -> PodName {
        PodName { namespace: self.namespace.clone(), name: self.name.clone(), workload: self.owner.clone() }
    }

    /// A running container under the names that the API server has for it. The kubelet's folder of a static Pod, and so its
    /// mounts, bear another uid.
    pub fn named_as_listed(&self, container: &RunningContainer) -> RunningContainer {
        let listed = self.containers.iter().find(|known| !known.id.is_empty() && known.id == container.id);
        RunningContainer {
            pod: self.static_uid.clone().unwrap_or_else(|| container.pod.clone()),
            name: listed.map(|known| known.name.clone()),
            ..container.clone()
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

/// Reads a Pod from its object; none for every other kind, and for an object that does not have a Pod's form: its projection
/// to facts fails as well, and names it.
pub fn read(kind: &'static Kind, bytes: &[u8]) -> Option<Box<ScheduledPod>> {
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
        Box::new(ScheduledPod {
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

/// `podIP` and `podIPs` (or `hostIP` and `hostIPs`): each address once, and no more than a Pod can have (one a family).
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

/// The annotation alone can be set by anybody who may create Pods, and would give a Pod the processes of another.
fn static_uid<'m>(metadata: &'m Metadata, node: &str) -> Option<&'m str> {
    let annotations = metadata.annotations.as_ref()?;
    let uid = annotations.get(STATIC_UID).filter(|uid| annotations.get(MIRROR) == Some(uid))?;
    let of_its_node = |owner: &Owner| owner.controller && owner.kind == "Node" && owner.name == node;
    metadata.owners.as_ref()?.iter().any(of_its_node).then_some(uid)
}

fn container(role: &'static str, status: &ContainerStatus) -> PodContainer {
    let id = status.container_id.as_deref().unwrap_or_default();
    let image = status.image_id.as_deref().unwrap_or_default();
    PodContainer {
        name: clip(&status.name),
        id: clip(id.split_once("://").map_or(id, |(_, id)| id)),
        role,
        image: clip(image.rsplit_once('@').map_or("", |(_, digest)| digest)),
        is_running: status.state.as_ref().is_some_and(|state| state.running.is_some()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
        let pod = read(&POD, object.to_string().as_bytes()).unwrap();
        assert_eq!((pod.node.as_str(), pod.static_uid.as_deref()), ("a", Some("abc")));
        let of = |name: &str, id: &str, role, image: &str| PodContainer {
            name: name.into(),
            id: id.into(),
            role,
            image: image.into(),
            is_running: !id.is_empty(),
        };
        assert_eq!(pod.containers, [of("etcd", "0123", "container", "sha256:9f"), of("wait", "", "init", "")]);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let Addresses { own, node, started } = pod.addresses;
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
}
