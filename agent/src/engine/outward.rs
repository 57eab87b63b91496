//! Connections that leave the cluster, as evidence on the namespace that does not deny them: what a policy of its own would
//! have to allow, or would have stopped. Where egress is denied by default, a connection says nothing.

use holdfast_controls::Control;
use holdfast_controls::facts::namespace::NAMESPACE;
use holdfast_controls::peers::Peer;
use holdfast_model::Resource;
use holdfast_model::runtime_observation::{RuntimeObservation, SignalKind};

use super::Engine;
use crate::places::Placed;

const EGRESS: &str = "network.default-deny-egress";

impl Engine {
    /// Whose an address that a sensor saw was, when it was last used.
    pub fn peer(&self, observation: &RuntimeObservation) -> Option<Peer> {
        Some(self.peers.resolve(observation.address?, observation.last))
    }

    /// The namespace whose policy would have to allow this connection, with the fact in plain words.
    pub(super) fn outward(
        &self,
        observation: &RuntimeObservation,
        placed: &Placed,
    ) -> Option<(Resource, &'static Control, String)> {
        if observation.kind != SignalKind::Connect {
            return None;
        }
        let address =
            observation.address.filter(|to| to.port() != 0 && self.peer(observation) == Some(Peer::External))?;
        let namespace = Resource::cluster_scoped(NAMESPACE.group, NAMESPACE.kind, &placed.namespace);
        let control = Control::find(EGRESS).filter(|_| self.ledger.fails_on(&namespace, EGRESS))?;
        Some((namespace, control, format!("a connection to {address}, outside the cluster")))
    }
}

#[cfg(test)]
mod tests {
    use holdfast_controls::{KINDS, Kind};
    use holdfast_model::{ClusterId, CoverageState, UnixMillis, canonical};
    use serde_json::{Value, json};
    use tokio::sync::oneshot;

    use super::*;
    use crate::collect::{Event, decode};
    use crate::places;
    use crate::relay::NodeObservations;

    const NOW: UnixMillis = 1_795_377_700_000;

    fn seen(engine: &mut Engine, object: &Value) {
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let group = text("apiVersion").split_once('/').map_or("", |(group, _)| group);
        let (kind, bytes) = (Kind::find(group, text("kind")).unwrap(), object.to_string().into_bytes());
        engine.apply(Event::Seen(decode::object(kind, &bytes).unwrap(), places::read(kind, &bytes)), NOW);
    }

    fn pod(name: &str, address: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop", "uid": name},
            "spec": {"nodeName": "node-0", "containers": [{"name": "web", "image": "web:1"}]},
            "status": {"phase": "Running", "startTime": "2026-11-22T20:00:00Z", "podIP": address, "hostIP": "192.168.5.1",
                "containerStatuses": [{"name": "web", "containerID": format!("containerd://of-{name}")}]},
        })
    }

    /// A cluster of two Pods, all of it seen.
    fn cluster() -> Engine {
        let mut engine = Engine::new(ClusterId::from_bytes([1; 16]), "run", NOW);
        for kind in KINDS {
            let state = CoverageState::Seen;
            engine.apply(Event::Coverage { kind, state, reason: String::new() }, NOW);
        }
        let shop = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "uid": "n1"}});
        [shop, pod("web", "10.244.0.7"), pod("other", "10.244.0.8")]
            .iter()
            .for_each(|object| seen(&mut engine, object));
        engine.settle(NOW);
        engine
    }

    fn connects(engine: &mut Engine, to: &[(&str, u64)]) {
        let records = to.iter().map(|(to, count)| canonical::bytes(&connection(to, *count)).unwrap()).collect();
        let (node, run, kept) = ("node-0".to_owned(), "boot.1".to_owned(), oneshot::channel().0);
        engine.sight(NodeObservations { node, run, sequence: 1, records, kept }, NOW);
        engine.settle(NOW);
    }

    fn connection(to: &str, count: u64) -> RuntimeObservation {
        RuntimeObservation {
            kind: SignalKind::Connect,
            cgroup: 7,
            pod: "web".into(),
            container: "of-web".into(),
            pid: 4711,
            started: 1,
            name: "curl".into(),
            binary: "/bin/curl".into(),
            arguments: Vec::new(),
            path: String::new(),
            object: String::new(),
            address: Some(to.parse().unwrap()),
            count,
            first: NOW,
            last: NOW,
        }
    }

    /// What the next batch tells of detections: resource, control, count and facts.
    fn told(engine: &mut Engine) -> Vec<String> {
        let draft = engine.draft();
        let detections = draft
            .into_iter()
            .flat_map(|draft| draft.detection_batches)
            .flat_map(|detection_batch| detection_batch.detections);
        let mut told: Vec<String> = detections
            .map(|of| {
                let facts: Vec<_> = of.locations.iter().map(|place| place.value.as_str()).collect();
                let about =
                    of.resource.map(|resource| format!("{} {}", resource.kind, resource.name)).unwrap_or_default();
                format!("{about}: {} {}x {}", of.control, of.count, facts.join(" | "))
            })
            .collect();
        told.sort();
        told
    }

    #[test]
    fn a_connection_out_of_the_cluster_shows_what_the_namespace_does_not_deny() {
        let mut engine = cluster();
        connects(&mut engine, &[("203.0.113.7:443", 2), ("198.51.100.9:443", 1)]);
        let one = "a connection to 203.0.113.7:443, outside the cluster";
        let other = "a connection to 198.51.100.9:443, outside the cluster";
        assert_eq!(told(&mut engine), [format!("Namespace shop: network.default-deny-egress 3x {one} | {other}")]);
    }

    #[test]
    fn what_stays_in_the_cluster_or_may_do_so_is_no_evidence() {
        let mut engine = cluster();
        let inside = ["10.244.0.8:80", "10.244.0.9:80", "192.168.5.1:10250", "127.0.0.1:80", "169.254.169.254:80"];
        connects(&mut engine, &inside.map(|to| (to, 1)));
        assert_eq!(told(&mut engine), [""; 0]);
    }

    #[test]
    fn a_namespace_that_denies_it_is_told_nothing() {
        let mut engine = cluster();
        seen(
            &mut engine,
            &json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": {"name": "deny", "namespace": "shop", "uid": "p1"},
                "spec": {"podSelector": {}, "policyTypes": ["Egress"]},
            }),
        );
        engine.settle(NOW);
        connects(&mut engine, &[("203.0.113.7:443", 1)]);
        assert_eq!(told(&mut engine), [""; 0]);
    }
}
