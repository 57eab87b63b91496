//! Connections that leave the cluster are evidence on the namespace that does not deny them.

use super::*;
use crate::tests::observation;

const NOW: UnixMillis = 1_795_377_700_000;

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
    let mut engine = Engine::new(ClusterId::from_bytes([1; 16]), "run", ObservationWindows::default(), NOW);
    see_every_kind(&mut engine, NOW);
    let shop = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "uid": "n1"}});
    for object in [shop, pod("web", "10.244.0.7"), pod("other", "10.244.0.8")] {
        see(&mut engine, &object, NOW);
    }
    engine.settle(NOW);
    engine
}

fn connect(engine: &mut Engine, to: &[(&str, u64)]) {
    let observations = to.iter().map(|(to, count)| connection(to, *count)).collect();
    engine.apply_batch(batch("node-0", "boot.1", 1, observations), NOW).unwrap();
    engine.settle(NOW);
}

fn connection(to: &str, count: u64) -> RuntimeObservation {
    RuntimeObservation {
        pod: "web".into(),
        container: "of-web".into(),
        address: Some(to.parse().unwrap()),
        ..observation(SignalKind::Connect, "", count, NOW)
    }
}

/// What the next batch holds of detections: resource, control, count and facts.
fn evidence(engine: &mut Engine) -> Vec<String> {
    let line = |of: RuntimeDetection| {
        let facts: Vec<_> = of.seen.locations.iter().map(|location| location.value.as_str()).collect();
        let resource = format!("{} {}", of.resource.kind, of.resource.name);
        format!("{resource}: {} {}x {}", of.control.as_str(), of.seen.count, facts.join(" | "))
    };
    let mut lines: Vec<String> = detections(engine).into_iter().map(line).collect();
    lines.sort();
    lines
}

#[test]
fn a_connection_out_of_the_cluster_shows_what_the_namespace_does_not_deny() {
    let mut engine = cluster();
    connect(&mut engine, &[("203.0.113.7:443", 2), ("198.51.100.9:443", 1)]);
    let one = "a connection to 203.0.113.7:443, outside the cluster";
    let other = "a connection to 198.51.100.9:443, outside the cluster";
    assert_eq!(evidence(&mut engine), [format!("Namespace shop: network.default-deny-egress 3x {one} | {other}")]);
}

#[test]
fn what_stays_in_the_cluster_or_may_do_so_is_no_evidence() {
    let mut engine = cluster();
    let inside = ["10.244.0.8:80", "10.244.0.9:80", "192.168.5.1:10250", "127.0.0.1:80", "169.254.169.254:80"];
    connect(&mut engine, &inside.map(|to| (to, 1)));
    assert_eq!(evidence(&mut engine), [""; 0]);
}

#[test]
fn a_namespace_that_denies_egress_gets_no_evidence() {
    let mut engine = cluster();
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "deny", "namespace": "shop", "uid": "p1"},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"]},
    });
    see(&mut engine, &policy, NOW);
    engine.settle(NOW);
    connect(&mut engine, &[("203.0.113.7:443", 1)]);
    assert_eq!(evidence(&mut engine), [""; 0]);
}
