//! Which Pods run on which node, as the API server reports it: what the relay sends to each node, and whom a retest asks.
//!
//! Fed from the watch of Pods; a few names are kept of each object. Changes are collected by node, for whoever publishes
//! them. A Pod whose top owner has not been seen yet is indexed without one, and again when its owner arrives.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use holdfast_controls::inventory::ObjectKey;
use holdfast_model::Resource;

mod pod;

pub use pod::{PodContainer, ScheduledPod, read};

/// The most Pods that are remembered after their deletion; beyond it the oldest ones are forgotten.
const DEPARTED: usize = 4096;

/// The Pods of one node by uid.
pub type PodsByUid = Arc<BTreeMap<String, Arc<ScheduledPod>>>;

/// What is known of one node's Pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodePods {
    /// The Pods that the API server lists.
    pub listed: PodsByUid,
    /// Pods that it lists no more, and that may still have processes.
    pub departed: Arc<Vec<DepartedPod>>,
}

/// A Pod that is listed no more, and that its node has not yet been seen without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepartedPod {
    /// The uid under which cgroups know it.
    pub uid: String,
    /// The node that ran it.
    pub node: String,
    /// Its top owner.
    pub owner: Resource,
}

/// The Pods of the cluster by node.
#[derive(Debug, Default)]
pub struct PodIndex {
    nodes: HashMap<String, NodePods>,
    node_of: HashMap<String, String>,
    /// uids of static Pods by the one that their cgroups bear.
    of_cgroup: HashMap<String, String>,
    /// Node and uid of the departed, in the order of their departure.
    departures: VecDeque<(String, String)>,
    /// Pods whose top owner has not been seen yet.
    without_owner: BTreeMap<ObjectKey, Box<ScheduledPod>>,
    changed: BTreeSet<String>,
}

impl PodIndex {
    /// Takes in a Pod, new or changed, with the top owner that is known for it now. One without a node, or that has ended, is
    /// taken out.
    pub fn apply(&mut self, key: &ObjectKey, mut pod: Box<ScheduledPod>, owner: Option<Resource>) -> ScheduledPod {
        pod.owner = owner;
        match pod.owner {
            Some(_) => self.without_owner.remove(key),
            None => self.without_owner.insert(key.clone(), pod.clone()),
        };
        self.put((*pod).clone());
        *pod
    }

    /// Gives those Pods their owner whose owner has been seen meanwhile, and answers them.
    pub fn assign_owners(&mut self, owner_of: impl Fn(&ObjectKey) -> Option<Resource>) -> Vec<ScheduledPod> {
        let mut assigned = Vec::new();
        self.without_owner.retain(|key, pod| {
            let Some(owner) = owner_of(key) else { return true };
            assigned.push(ScheduledPod { owner: Some(owner), ..(**pod).clone() });
            false
        });
        assigned.iter().for_each(|pod| self.put(pod.clone()));
        assigned
    }

    /// Takes out a Pod that is deleted.
    pub fn delete(&mut self, key: &ObjectKey, uid: &str) {
        self.without_owner.remove(key);
        self.remove(uid);
    }

    /// A node was read completely, and has no process of this departed Pod.
    pub fn confirm_ended(&mut self, node: &str, uid: &str) {
        if self.forget_departed(node, uid) {
            self.departures.retain(|(of, gone)| of != node || gone != uid);
        }
    }

    /// Puts a Pod where it is now.
    pub fn put(&mut self, pod: ScheduledPod) {
        if !pod.is_scheduled() {
            return self.remove(&pod.uid);
        }
        let before = self.node_of.insert(pod.uid.clone(), pod.node.clone());
        if let Some(of_cgroup) = &pod.static_uid {
            self.of_cgroup.insert(of_cgroup.clone(), pod.uid.clone());
        }
        if let Some(before) = before.filter(|before| *before != pod.node) {
            self.take_out(&before, &pod.uid);
        }
        let node = self.nodes.entry(pod.node.clone()).or_default();
        if node.listed.get(&pod.uid).is_none_or(|known| **known != pod) {
            self.changed.insert(pod.node.clone());
            Arc::make_mut(&mut node.listed).insert(pod.uid.clone(), Arc::new(pod));
        }
    }

    fn remove(&mut self, uid: &str) {
        if let Some(node) = self.node_of.remove(uid) {
            self.take_out(&node, uid);
        }
    }

    /// The nodes whose Pods have changed since the last call, with their Pods now.
    pub fn take_changes(&mut self) -> Vec<(String, NodePods)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|node| (node.clone(), self.on_node(&node))).collect()
    }

    /// The Pods of one node.
    pub fn on_node(&self, node: &str) -> NodePods {
        self.nodes.get(node).cloned().unwrap_or_default()
    }

    /// A Pod by its uid.
    pub fn pod(&self, uid: &str) -> Option<&Arc<ScheduledPod>> {
        self.nodes.get(self.node_of.get(uid)?)?.listed.get(uid)
    }

    /// The Pod whose cgroups bear this uid: its own, or that of a static Pod's file on its node.
    pub fn of_cgroup(&self, uid: &str) -> Option<&Arc<ScheduledPod>> {
        self.pod(uid).or_else(|| self.pod(self.of_cgroup.get(uid)?))
    }

    fn take_out(&mut self, node: &str, uid: &str) {
        let Some(pods) = self.nodes.get_mut(node) else { return };
        let Some(pod) = Arc::make_mut(&mut pods.listed).remove(uid) else { return };
        self.changed.insert(node.to_owned());
        if let Some(of_cgroup) = &pod.static_uid
            && self.of_cgroup.get(of_cgroup).is_some_and(|known| known == uid)
        {
            self.of_cgroup.remove(of_cgroup);
        }
        if let Some(owner) = &pod.owner {
            let uid = pod.static_uid.clone().unwrap_or_else(|| pod.uid.clone());
            self.departures.push_back((node.to_owned(), uid.clone()));
            let departed = DepartedPod { uid, node: node.to_owned(), owner: owner.clone() };
            Arc::make_mut(&mut pods.departed).push(departed);
        }
        if self.departures.len() > DEPARTED
            && let Some((node, uid)) = self.departures.pop_front()
        {
            self.forget_departed(&node, &uid);
        }
        self.drop_if_unused(node);
    }

    /// Whether there was one.
    fn forget_departed(&mut self, node: &str, uid: &str) -> bool {
        let Some(pods) = self.nodes.get_mut(node) else { return false };
        let Some(position) = pods.departed.iter().position(|gone| gone.uid == uid) else { return false };
        Arc::make_mut(&mut pods.departed).remove(position);
        self.changed.insert(node.to_owned());
        self.drop_if_unused(node);
        true
    }

    fn drop_if_unused(&mut self, node: &str) {
        if self.nodes.get(node).is_some_and(|pods| pods.listed.is_empty() && pods.departed.is_empty()) {
            self.nodes.remove(node);
        }
    }
}

impl NodePods {
    /// Pods of this owner that have left and may run on. A node on which no Pod is listed any more, not even the agent's own,
    /// is gone with everything that ran there.
    pub fn departed_of<'a>(&'a self, owner: &'a Resource) -> impl Iterator<Item = &'a DepartedPod> {
        self.departed.iter().filter(move |gone| !self.listed.is_empty() && gone.owner == *owner)
    }
}

#[cfg(test)]
mod tests {
    use holdfast_controls::facts::workload::POD;
    use serde_json::json;

    use super::*;

    fn pod(uid: &str, node: &str) -> ScheduledPod {
        let object = json!({"metadata": {"uid": uid, "name": uid, "namespace": "shop"}, "spec": {"nodeName": node}});
        *read(&POD, object.to_string().as_bytes()).unwrap()
    }

    fn owner(name: &str) -> Resource {
        Resource::namespaced("apps", "Deployment", "shop", name)
    }

    #[test]
    fn a_static_pod_is_found_by_the_uid_of_its_cgroups_and_never_instead_of_another_pod() {
        let mut index = PodIndex::default();
        let of = |uid: &str, of_cgroup: &str| ScheduledPod { static_uid: Some(of_cgroup.into()), ..pod(uid, "a") };
        index.put(of("u1", "hash"));
        index.put(pod("u2", "a"));
        index.put(of("u3", "u2"));
        let found = |index: &PodIndex, uid: &str| index.of_cgroup(uid).map(|pod| pod.uid.clone());
        assert_eq!(found(&index, "hash").as_deref(), Some("u1"));
        assert_eq!(found(&index, "u2").as_deref(), Some("u2"), "a Pod's own uid comes first");
        index.put(of("u4", "hash"));
        index.remove("u1");
        assert_eq!(found(&index, "hash").as_deref(), Some("u4"), "its file has come again");
        index.remove("u4");
        assert_eq!(found(&index, "hash"), None);
    }

    #[test]
    fn a_deleted_pod_is_remembered_until_its_node_is_seen_without_it_or_is_gone() {
        let owned = |uid: &str, node: &str| ScheduledPod { owner: Some(owner("web")), ..pod(uid, node) };
        let mut index = PodIndex::default();
        for (uid, node) in [("u1", "a"), ("u2", "a"), ("u3", "b"), ("u4", "a")] {
            index.put(owned(uid, node));
        }
        index.remove("u1");
        index.put(ScheduledPod { ended: true, ..owned("u2", "a") });
        index.remove("u3");
        let left = |index: &PodIndex, name: &str| {
            let nodes = ["a", "b"].map(|node| index.on_node(node));
            let of = owner(name);
            nodes.iter().flat_map(|node| node.departed_of(&of)).map(|gone| gone.uid.clone()).collect::<Vec<_>>()
        };
        assert_eq!(left(&index, "web"), ["u1", "u2"], "nothing is listed on node b any more");
        assert!(left(&index, "other").is_empty());
        let departed: Vec<_> = index.on_node("a").departed.iter().map(|gone| gone.uid.clone()).collect();
        assert_eq!(departed, ["u1", "u2"]);
        index.confirm_ended("b", "u1");
        index.confirm_ended("a", "u2");
        assert_eq!(left(&index, "web"), ["u1"]);
        for n in 0..2 * DEPARTED {
            index.put(owned(&format!("n{n}"), "a"));
            index.remove(&format!("n{n}"));
        }
        assert_eq!((left(&index, "web").len(), index.departures.len()), (DEPARTED, DEPARTED));
    }

    #[test]
    fn a_change_names_its_own_node_only_and_the_same_again_is_none() {
        let mut index = PodIndex::default();
        index.put(pod("u1", "a"));
        index.put(pod("u2", "b"));
        let changes = |index: &mut PodIndex| -> Vec<(String, usize)> {
            index.take_changes().into_iter().map(|(node, pods)| (node, pods.listed.len())).collect()
        };
        assert_eq!(changes(&mut index), [("a".to_owned(), 1), ("b".to_owned(), 1)]);
        index.put(pod("u1", "a"));
        assert_eq!(changes(&mut index), []);
        index.put(pod("u3", "a"));
        assert_eq!(changes(&mut index), [("a".to_owned(), 2)]);
        index.put(ScheduledPod { ended: true, ..pod("u2", "b") });
        assert_eq!(changes(&mut index), [("b".to_owned(), 0)]);
        assert_eq!(index.pod("u2"), None);
        index.put(pod("u3", "c"));
        assert_eq!(changes(&mut index), [("a".to_owned(), 1), ("c".to_owned(), 1)], "it was scheduled anew");
        assert_eq!(index.pod("u3").unwrap().name, "u3");
    }

    #[test]
    fn an_owner_that_arrives_after_its_pod_is_assigned_once() {
        let mut index = PodIndex::default();
        let key = ObjectKey::namespaced(&POD, "shop", "u1");
        index.apply(&key, Box::new(pod("u1", "a")), None);
        assert_eq!(index.pod("u1").unwrap().owner, None);
        assert_eq!(index.assign_owners(|_| Some(owner("web"))).len(), 1);
        assert_eq!(index.pod("u1").unwrap().owner, Some(owner("web")));
        assert!(index.assign_owners(|_| Some(owner("web"))).is_empty());
    }
}
