//! The pod index, published: which Pods run on which node, for the relay, the retests and the runtime scan.
//!
//! The engine owns the index and publishes what changes. Each node's Pods are behind a channel of their own, so that a change
//! wakes its own node's stream and no other.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdfast_agent_core::pod_index::{DepartedPod, NodePods, ScheduledPod};
use holdfast_model::Resource;
use tokio::sync::watch;

/// The Pods of the cluster by node. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct PodDirectory {
    by_node: Arc<Mutex<HashMap<String, watch::Sender<NodePods>>>>,
    nodes: Arc<watch::Sender<BTreeSet<String>>>,
}

impl PodDirectory {
    /// Takes over what has changed.
    pub fn publish(&self, changes: Vec<(String, NodePods)>) {
        if changes.is_empty() {
            return;
        }
        let mut by_node = self.locked();
        let mut nodes = Vec::new();
        for (node, pods) in changes {
            let is_unused = pods == NodePods::default();
            nodes.push((node.clone(), !pods.listed.is_empty()));
            let channel = by_node.entry(node.clone()).or_default();
            channel.send_replace(pods);
            if is_unused && channel.receiver_count() == 0 {
                by_node.remove(&node);
            }
        }
        drop(by_node);
        self.nodes.send_if_modified(|known| {
            let changed = |(node, has_pods)| if has_pods { known.insert(node) } else { known.remove(&node) };
            nodes.into_iter().map(changed).fold(false, |any, changed| any | changed)
        });
    }

    /// The Pods of one node, now and as they change.
    pub fn on_node(&self, node: &str) -> watch::Receiver<NodePods> {
        self.locked().entry(node.to_owned()).or_default().subscribe()
    }

    /// The nodes that run at least one Pod, now and as they change.
    pub fn nodes(&self) -> watch::Receiver<BTreeSet<String>> {
        self.nodes.subscribe()
    }

    /// A Pod by its uid, wherever it runs.
    pub fn pod(&self, uid: &str) -> Option<Arc<ScheduledPod>> {
        self.locked().values().find_map(|pods| pods.borrow().listed.get(uid).cloned())
    }

    /// Pods of this owner that have left and may run on.
    pub fn departed_of(&self, owner: &Resource) -> Vec<DepartedPod> {
        let by_node = self.locked();
        by_node.values().flat_map(|pods| pods.borrow().departed_of(owner).cloned().collect::<Vec<_>>()).collect()
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<NodePods>>> {
        self.by_node.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use holdfast_agent_core::pod_index::{self, PodIndex};
    use holdfast_controls::facts::workload::POD;
    use serde_json::json;

    use super::*;

    fn pod(uid: &str, node: &str, phase: &str) -> ScheduledPod {
        let object = json!({
            "metadata": {"uid": uid, "name": uid, "namespace": "shop"}, "spec": {"nodeName": node}, "status": {"phase": phase},
        });
        *pod_index::read(&POD, object.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_change_wakes_its_own_node_only_and_nodes_without_pods_are_none() {
        let (directory, mut index) = (PodDirectory::default(), PodIndex::default());
        let mut put = |uid: &str, node: &str, phase: &str| {
            index.put(pod(uid, node, phase));
            directory.publish(index.take_changes());
        };
        put("u1", "a", "Running");
        put("u2", "b", "Running");
        let (mut a, mut b, mut nodes) = (directory.on_node("a"), directory.on_node("b"), directory.nodes());
        a.mark_unchanged();
        b.mark_unchanged();
        assert_eq!(*nodes.borrow_and_update(), ["a", "b"].map(str::to_owned).into());

        put("u1", "a", "Running");
        assert!(!a.has_changed().unwrap(), "nothing changed");
        put("u3", "a", "Running");
        assert!(a.has_changed().unwrap() && !b.has_changed().unwrap() && !nodes.has_changed().unwrap());
        put("u2", "b", "Succeeded");
        assert!(b.borrow_and_update().listed.is_empty());
        assert_eq!(*nodes.borrow_and_update(), ["a"].map(str::to_owned).into());
        assert_eq!(directory.pod("u2"), None);
        assert_eq!(directory.pod("u3").unwrap().name, "u3");
        put("u3", "a", "Failed");
        put("u1", "a", "Failed");
        assert!(nodes.borrow_and_update().is_empty());
        drop((a, b));
        put("u4", "c", "Running");
        put("u4", "c", "Failed");
        assert!(!directory.locked().contains_key("c"), "what nobody follows and holds nothing is not kept");
    }
}
