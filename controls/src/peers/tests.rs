//! Whose an address is: each word with its near misses, reuse, two families, and what stays when everything has gone.

use super::*;

const T: UnixMillis = 1_795_000_000_000;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

fn put(peers: &mut Peers, uid: &str, name: &str, own: &[&str], node: &str, host: &[&str], started: UnixMillis) {
    let workload = Some(Resource::namespaced("apps", "Deployment", "shop", "web"));
    let name = PodName { namespace: "shop".into(), name: name.into(), workload };
    peers.put_pod(uid, name, node, &Addresses { own: ips(own), node: ips(host), started });
}

fn service(cluster: &[&str], external: &[&str], balancer: &[&str]) -> Service {
    Service {
        cluster_ips: ips(cluster).into(),
        external_ips: external.iter().map(|text| (*text).into()).collect(),
        balancer_ips: ips(balancer).into(),
        ..Service::default()
    }
}

fn cluster() -> Peers {
    let mut peers = Peers::default();
    peers.set_complete(true);
    put(&mut peers, "u1", "web-1", &["10.244.1.7", "fd10:1::7"], "a", &["192.168.5.1", "fd99::1"], T);
    put(&mut peers, "u2", "web-2", &["10.244.2.7"], "b", &["192.168.5.2"], T);
    put(&mut peers, "u3", "proxy-a", &["192.168.5.1", "fd99::1"], "a", &["192.168.5.1", "fd99::1"], T);
    peers.put_service("default", "kubernetes", &service(&["10.96.0.1"], &[], &[]));
    peers.put_service("shop", "api", &service(&["10.96.7.7", "fd11::7"], &["198.51.100.9"], &["203.0.113.80"]));
    peers
}

fn is(peers: &Peers, to: &str, expected: &str) {
    let to = to.parse().unwrap_or_else(|_| SocketAddr::new(ip(to), 443));
    assert_eq!(peers.resolve(to, T).to_string(), expected, "{to}");
}

#[test]
fn each_address_is_whose_the_objects_say() {
    let peers = cluster();
    for (to, expected) in [
        ("10.244.1.7", "Pod shop/web-1 of Deployment shop/web"),
        ("fd10:1::7", "Pod shop/web-1 of Deployment shop/web"),
        ("::ffff:10.244.1.7", "Pod shop/web-1 of Deployment shop/web"),
        ("10.244.2.7", "Pod shop/web-2 of Deployment shop/web"),
        ("192.168.5.1", "node a"),
        ("fd99::1", "node a"),
        ("192.168.5.2", "node b"),
        ("10.96.0.1", "the API server"),
        ("10.96.7.7", "Service shop/api"),
        ("fd11::7", "Service shop/api"),
        ("198.51.100.9", "Service shop/api"),
        ("203.0.113.80", "Service shop/api"),
        ("127.0.0.53", "the Pod itself"),
        ("::1", "the Pod itself"),
        ("::ffff:127.0.0.1", "the Pod itself"),
        ("0.0.0.0", "the Pod itself"),
        ("203.0.113.7", "outside the cluster"),
        ("2001:db8::7", "outside the cluster"),
        ("192.168.77.1", "outside the cluster"),
    ] {
        is(&peers, to, expected);
    }
}

#[test]
fn what_the_objects_cannot_say_is_unknown() {
    let peers = cluster();
    let near = "unknown: no Pod or Service has this address now, and its network is theirs";
    for to in ["10.244.1.8", "10.244.200.1", "10.96.0.2", "fd10:1::8", "fd11::8"] {
        is(&peers, to, near);
    }
    is(&peers, "169.254.1.1", "unknown: an address of the node's own link");
    is(&peers, "fe80::1", "unknown: an address of the node's own link");
    is(&peers, "224.0.0.251", "unknown: an address of many");
    let empty = Peers::default();
    is(&empty, "203.0.113.7", "unknown: not all Pods and Services of the cluster can be seen");
    is(&empty, "169.254.169.254", "the metadata service of AWS, Azure, Google Cloud, OpenStack and others");
}

#[test]
fn metadata_services_are_told_from_what_stands_beside_them() {
    let mut peers = cluster();
    // Whoever may make a Service may claim any address; a metadata service stays one (CVE-2020-8554).
    peers.put_service("shop", "sly", &service(&[], &["169.254.169.254", "100.100.100.200"], &[]));
    let clouds = metadata_service::ALL;
    for metadata in clouds {
        let reported = peers.resolve(SocketAddr::new(metadata.address, 80), T);
        assert_eq!(reported, Peer::CloudMetadata(metadata));
        assert_eq!(metadata_service::service_at(SocketAddr::new(metadata.address, 80)), Some(metadata));
        assert_eq!(metadata_service::service_at(SocketAddr::new(metadata.address, 53)), None, "a name server");
        assert!(metadata.source.starts_with("https://"), "{}", metadata.address);
    }
    assert!(clouds.is_sorted_by(|a, b| a.cloud <= b.cloud), "by cloud");
    is(&peers, "[::ffff:169.254.169.254]:80", "the metadata service of AWS, Azure, Google Cloud, OpenStack and others");
    is(&peers, "168.63.129.16:32526", "the metadata service of Azure");
    is(&peers, "168.63.129.16:53", "outside the cluster");
    for (beside, expected) in [
        ("169.254.169.253", "unknown: an address of the node's own link"),
        ("169.254.170.23", "unknown: an address of the node's own link"),
        ("169.254.169.123", "unknown: an address of the node's own link"),
        ("fd00:ec2::23", "outside the cluster"),
        ("100.100.100.201", "outside the cluster"),
    ] {
        is(&peers, beside, expected);
    }
}

#[test]
fn an_address_that_is_used_again_is_whose_it_was_then() {
    let mut peers = cluster();
    let at = |peers: &Peers, at| peers.resolve("10.244.1.7:80".parse().unwrap(), at).to_string();
    // The old Pod is still listed when the new one gets its address.
    put(&mut peers, "u4", "web-9", &["10.244.1.7"], "a", &["192.168.5.1"], T + 60_000);
    assert_eq!(at(&peers, T + 30_000), "Pod shop/web-1 of Deployment shop/web");
    assert_eq!(at(&peers, T + 60_000), "Pod shop/web-9 of Deployment shop/web");
    // A later word of the old one changes nothing.
    put(&mut peers, "u1", "web-1", &["10.244.1.7"], "a", &["192.168.5.1"], T);
    assert_eq!(at(&peers, T + 60_000), "Pod shop/web-9 of Deployment shop/web");
    // Ended: it is not answered any more, and the new one not in its place.
    peers.remove_pod("u1");
    assert_eq!(at(&peers, T + 30_000), "unknown: the Pod that has this address now started later");
    peers.remove_pod("u4");
    is(&peers, "10.244.1.7", "unknown: no Pod or Service has this address now, and its network is theirs");
}

#[test]
fn a_node_is_known_as_long_as_one_of_its_pods_is() {
    let mut peers = cluster();
    peers.remove_pod("u3");
    is(&peers, "192.168.5.1", "node a");
    peers.remove_pod("u1");
    is(&peers, "192.168.5.1", "outside the cluster");
    is(&peers, "192.168.5.2", "node b");
}

#[test]
fn a_service_that_changes_leaves_its_old_addresses() {
    let mut peers = cluster();
    peers.put_service("shop", "api", &service(&["10.96.7.8"], &["not an address"], &[]));
    is(&peers, "10.96.7.8", "Service shop/api");
    is(&peers, "203.0.113.80", "outside the cluster");
    is(&peers, "10.96.7.7", "unknown: no Pod or Service has this address now, and its network is theirs");
    peers.put_service("shop", "other", &service(&["10.96.7.8"], &[], &[]));
    is(&peers, "10.96.7.8", "unknown: several Services share this address");
}

#[test]
fn ten_thousand_pods_that_come_and_go_leave_nothing() {
    let mut peers = Peers::default();
    for round in 0..3u32 {
        for number in 0..10_000u32 {
            let own = IpAddr::V4((u32::from_be_bytes([10, 0, 0, 0]) + round * 4_000 + number).into()).to_string();
            let host = IpAddr::V4((u32::from_be_bytes([192, 168, 0, 0]) + number % 100).into()).to_string();
            let node = format!("node-{}", number % 100);
            put(&mut peers, &format!("uid-{number}"), &format!("web-{number}"), &[&own], &node, &[&host], T);
        }
        assert_eq!((peers.pods.len(), peers.of_pods.len(), peers.of_nodes.len()), (10_000, 10_000, 100));
    }
    for number in 0..10_000 {
        peers.remove_pod(&format!("uid-{number}"));
    }
    assert_eq!((peers.pods.len(), peers.of_pods.len(), peers.of_nodes.len(), peers.near.len()), (0, 0, 0, 0));
}

#[test]
fn addresses_of_a_service_are_read_from_its_spec_and_status() {
    let object = serde_json::json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "api", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.7.7", "clusterIPs": ["10.96.7.7", "fd11::7"], "externalIPs": ["198.51.100.9"]},
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.80"}, {"hostname": "lb.example.com"}]}},
    });
    let read = |object| match crate::project(&crate::facts::service::SERVICE, object).unwrap().facts {
        crate::facts::Facts::Service(service) => service,
        other => panic!("{other:?}"),
    };
    let facts = read(object);
    assert_eq!(facts.cluster_ips.to_vec(), ips(&["10.96.7.7", "fd11::7"]));
    assert_eq!(facts.balancer_ips.to_vec(), ips(&["203.0.113.80"]));
    let headless = serde_json::json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "api", "namespace": "shop"},
        "spec": {"clusterIP": "None", "clusterIPs": ["None"]}, "status": null,
    });
    assert!(read(headless).cluster_ips.is_empty());
}
