//! From a reading to what the node attests to: the requested Pods, with the names of their containers. PURE.

use std::collections::BTreeMap;

use holdfast_model::kernel::NodeStatement;
use holdfast_model::{ClusterId, Nonce, RetestId, UnixMillis};
use holdfast_proto::v1;

use super::Reading;

/// The Pods of this node, as the relay sends them.
#[derive(Debug, Default)]
pub struct NodePods {
    pods: BTreeMap<String, v1::Pod>,
}

impl NodePods {
    /// Applies an update of the relay.
    pub fn apply(&mut self, pods: v1::PodUpdate) {
        if pods.reset {
            self.pods.clear();
        }
        pods.removed.iter().for_each(|uid| drop(self.pods.remove(uid)));
        self.pods.extend(pods.pods.into_iter().map(|pod| (pod.uid.clone(), pod)));
    }

    /// The uid under which the cgroups know this Pod: another one for static Pods.
    fn cgroup_uid<'a>(&'a self, uid: &'a str) -> &'a str {
        self.pods.get(uid).map(|pod| pod.static_uid.as_str()).filter(|uid| !uid.is_empty()).unwrap_or(uid)
    }

    /// Why a control group cannot be attributed to one of these Pods: another Pod has the same uid there.
    fn claimed_twice(&self, pods: &[String]) -> Option<String> {
        let mut claims: BTreeMap<&str, usize> = BTreeMap::new();
        for uid in self.pods.keys() {
            *claims.entry(self.cgroup_uid(uid)).or_default() += 1;
        }
        let twice = pods.iter().find(|uid| claims.get(self.cgroup_uid(uid)).is_some_and(|&claims| claims > 1))?;
        Some(format!("two Pods claim the control group of Pod {twice}"))
    }

    fn container_name(&self, uid: &str, id: &str) -> Option<String> {
        let container = self.pods.get(uid)?.containers.iter().find(|container| container.id == id && !id.is_empty())?;
        Some(container.name.clone())
    }
}

/// A read request, and the node that answers it.
#[derive(Debug, Clone)]
pub struct ReadRequest {
    /// The retest.
    pub retest: RetestId,
    /// Its nonce.
    pub nonce: Nonce,
    /// The cluster, as the node's certificate names it.
    pub cluster: ClusterId,
    /// The node, as its certificate names it.
    pub node: String,
    /// The node's boot.
    pub boot: String,
    /// uids of the Pods, sorted, each once.
    pub pods: Vec<String>,
}

/// The statement about these Pods.
pub fn statement(request: ReadRequest, reading: Reading, node_pods: &NodePods, read_at: UnixMillis) -> NodeStatement {
    let ReadRequest { retest, nonce, cluster, node, boot, pods } = request;
    let wanted: BTreeMap<&str, &str> = pods.iter().map(|uid| (node_pods.cgroup_uid(uid), uid.as_str())).collect();
    let incomplete = reading.incomplete.or_else(|| node_pods.claimed_twice(&pods));
    let mut containers: Vec<_> = reading
        .containers
        .into_iter()
        .filter_map(|mut container| {
            let uid = *wanted.get(container.pod.as_str())?;
            container.pod = uid.to_owned();
            container.name = node_pods.container_name(uid, &container.id);
            Some(container)
        })
        .collect();
    containers.sort_by(|one, other| (&one.pod, &one.id).cmp(&(&other.pod, &other.id)));
    NodeStatement {
        form: NodeStatement::FORM.to_owned(),
        retest,
        nonce,
        cluster,
        node,
        boot,
        method: reading.method,
        pods,
        containers,
        host: reading.host,
        process_count: reading.seen,
        incomplete,
        read_at,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use holdfast_model::kernel::{Namespaces, RunningContainer, ViewMethod};

    use super::*;

    fn running(pod: &str, id: &str) -> RunningContainer {
        RunningContainer { pod: pod.into(), id: id.into(), ..RunningContainer::default() }
    }

    fn pod(uid: &str, static_uid: &str, containers: &[(&str, &str)]) -> v1::Pod {
        let container = |(name, id): &(&str, &str)| v1::PodContainer {
            name: (*name).into(),
            id: (*id).into(),
            ..v1::PodContainer::default()
        };
        let containers = containers.iter().map(container).collect();
        v1::Pod { uid: uid.into(), static_uid: static_uid.into(), containers, ..v1::Pod::default() }
    }

    #[test]
    fn only_the_pods_that_were_asked_about_are_stated_each_container_by_its_name() {
        let mut node_pods = NodePods::default();
        node_pods.apply(v1::PodUpdate { reset: true, pods: vec![pod("old", "", &[])], ..v1::PodUpdate::default() });
        let pods = vec![pod("u1", "", &[("web", "c1")]), pod("u2", "hash", &[("etcd", "c2")])];
        node_pods.apply(v1::PodUpdate { reset: true, pods, ..v1::PodUpdate::default() });
        let request = ReadRequest {
            retest: RetestId::from_bytes([1; 16]),
            nonce: Nonce::from_bytes([2; 16]),
            cluster: ClusterId::from_bytes([3; 16]),
            node: "a".into(),
            boot: "b".into(),
            pods: vec!["u1".into(), "u2".into(), "u9".into()],
        };
        let containers = vec![running("u3", "c3"), running("hash", "c2"), running("u1", "c1"), running("u1", "")];
        let reading = Reading {
            method: ViewMethod::TaskIterator,
            host: Namespaces::default(),
            seen: 9,
            containers,
            incomplete: None,
        };
        let statement = statement(request, reading, &node_pods, 5);
        let stated: Vec<_> =
            statement.containers.iter().map(|c| (c.pod.as_str(), c.id.as_str(), c.name.as_deref())).collect();
        assert_eq!(stated, [("u1", "", None), ("u1", "c1", Some("web")), ("u2", "c2", Some("etcd"))]);
        assert_eq!(statement.pods, ["u1", "u2", "u9"]);
    }

    #[test]
    fn a_control_group_that_two_pods_claim_is_nobodys() {
        let mut node_pods = NodePods::default();
        let pods = vec![pod("u1", "", &[]), pod("u2", "u1", &[]), pod("u3", "", &[])];
        node_pods.apply(v1::PodUpdate { reset: true, pods, ..v1::PodUpdate::default() });
        let request = |uid: &str| node_pods.claimed_twice(&[uid.to_owned()]);
        assert!(request("u1").is_some_and(|why| why.contains("u1")));
        assert!(request("u2").is_some());
        assert_eq!((request("u3"), request("u9")), (None, None));
    }

    #[test]
    fn what_has_gone_is_forgotten() {
        let mut node_pods = NodePods::default();
        node_pods.apply(v1::PodUpdate {
            reset: true,
            pods: vec![pod("u1", "", &[("web", "c1")])],
            ..v1::PodUpdate::default()
        });
        assert_eq!(node_pods.container_name("u1", "c1").as_deref(), Some("web"));
        node_pods.apply(v1::PodUpdate { removed: vec!["u1".into()], ..v1::PodUpdate::default() });
        assert_eq!(node_pods.container_name("u1", "c1"), None);
    }
}
