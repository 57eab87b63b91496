//! The configuration of a real node's programs: containerd, its network plugins, the kubelet, kube-proxy.
//!
//! Paths are those of any node (`/run/containerd`, `/var/lib/kubelet`), inside the node's own mounts.

use serde_json::{Value, json};

/// The name server's address: by convention the tenth of the service range; the first is the API server's.
pub(crate) const NAME_SERVER: &str = "10.0.0.10";

/// containerd's `config.toml`.
pub(crate) fn containerd(folder: &str, sandbox_image: &str) -> String {
    format!(
        r#"version = 2
root = "{folder}/containerd"
state = "/run/containerd"
# These need file systems or kernel features that the machine may lack.
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
address = "/run/containerd/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{sandbox_image}"
# A machine without CAP_SYS_RESOURCE can't lower scores; runc then fails with "can't get final child's PID from pipe".
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{folder}/cni"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"#
    )
}

/// Pods are routed, not bridged, so that packets to a service which return to the same node pass the node's address
/// translation.
pub(crate) fn pod_network(pods: &str) -> Value {
    json!({
        "cniVersion": "0.4.0", "name": "lab",
        "plugins": [
            {"type": "ptp", "ipam": {"type": "host-local", "ranges": [[{"subnet": pods}]], "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

/// The kubelet's configuration.
pub(crate) fn kubelet(folder: &str, authority: &str, group: &str, address: &str) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "address": address,
        "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true}, "x509": {"clientCAFile": authority}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": format!("{folder}/kubelet.crt"),
        "tlsPrivateKeyFile": format!("{folder}/kubelet.key"),
        "readOnlyPort": 0,
        "healthzPort": 0,
        "staticPodPath": format!("{folder}/static-pods"),
        "clusterDNS": [NAME_SERVER], "clusterDomain": "cluster.local",
        "resolvConf": format!("{folder}/resolv.conf"),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs", "cgroupRoot": format!("/{group}"),
        "failCgroupV1": false, "failSwapOn": false, "enforceNodeAllocatable": [],
        // The lab must not evict Pods for the machine's disk, nor delete images.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
        "nodeStatusUpdateFrequency": "2s", "nodeLeaseDurationSeconds": 20,
        "syncFrequency": "5s",
        // A killed container is restarted within seconds, however often it has been killed.
        "featureGates": {"KubeletCrashLoopBackOffMax": true}, "crashLoopBackOff": {"maxContainerRestartPeriod": "2s"},
        "kubeAPIQPS": 200, "kubeAPIBurst": 400,
        "registryPullQPS": 0, "eventRecordQPS": 0,
    })
}

/// CoreDNS's `Corefile`.
pub(crate) fn name_server(kubeconfig: &str) -> String {
    format!(
        ".:53 {{
    bind {NAME_SERVER}
    errors
    cache 1
    kubernetes cluster.local {{
        kubeconfig {kubeconfig}
        ttl 1
    }}
}}
"
    )
}

/// kube-proxy's configuration.
pub(crate) fn proxy(kubeconfig: &str, whole: &str) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
        "mode": "iptables", "clusterCIDR": whole, "bindAddress": "0.0.0.0",
        "healthzBindAddress": "127.0.0.1:10256", "metricsBindAddress": "127.0.0.1:10249",
        "clientConnection": {"kubeconfig": kubeconfig},
        // The limits of connection tracking are the machine's, not a network namespace's.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "iptables": {"minSyncPeriod": "100ms"},
    })
}
