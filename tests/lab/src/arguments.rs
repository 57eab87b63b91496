//! The command line arguments of each program of a control plane.

use crate::control_plane::ControlPlane;
use crate::manifests::SIMULATED;
use crate::pki::TO_KUBELETS;

/// The controllers that every cluster needs: default service accounts, aggregated roles, deletion of namespaces, garbage
/// collection, and the workload controllers.
const CONTROLLERS: &[&str] = &[
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "clusterrole-aggregation-controller",
    "namespace-controller",
    "garbage-collector-controller",
    "deployment-controller",
    "replicaset-controller",
    "replicationcontroller-controller",
    "daemonset-controller",
    "statefulset-controller",
    "job-controller",
    "cronjob-controller",
];

/// The controllers that a cluster with real nodes needs besides: node health, the root certificate and endpoints for Pods,
/// persistent volumes, deletion of Pods whose node is gone.
const NODE_CONTROLLERS: &[&str] = &[
    "node-lifecycle-controller",
    "taint-eviction-controller",
    "pod-garbage-collector-controller",
    "root-ca-certificate-publisher-controller",
    "endpoints-controller",
    "endpointslice-controller",
    "disruption-controller",
    "persistentvolume-binder-controller",
    "persistentvolume-protection-controller",
    "persistentvolumeclaim-protection-controller",
    "ephemeral-volume-controller",
];

impl ControlPlane {
    pub(crate) fn etcd_args(&self, client: u16, peer: u16) -> Vec<String> {
        vec![
            format!("--data-dir={}", self.folder().join("etcd").display()),
            format!("--listen-client-urls=http://127.0.0.1:{client}"),
            format!("--advertise-client-urls=http://127.0.0.1:{client}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
            "--quota-backend-bytes=8589934592".to_owned(),
            // A lab may lose its last second in a power cut; without fsync it starts and loads several times faster.
            "--unsafe-no-fsync".to_owned(),
        ]
    }

    pub(crate) fn apiserver_args(&self, etcd: u16, port: u16) -> Vec<String> {
        let mut args = vec![
            format!("--etcd-servers=http://127.0.0.1:{etcd}"),
            format!("--bind-address={}", self.address()),
            format!("--advertise-address={}", self.address()),
            format!("--secure-port={port}"),
            format!("--client-ca-file={}", self.pki.path("ca.crt")),
            format!("--tls-cert-file={}", self.pki.path("kube-apiserver.crt")),
            format!("--tls-private-key-file={}", self.pki.path("kube-apiserver.key")),
            format!("--service-account-key-file={}", self.pki.path("service-account.pub")),
            format!("--service-account-signing-key-file={}", self.pki.path("service-account.key")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/16".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--max-requests-inflight=2000".to_owned(),
            "--max-mutating-requests-inflight=1000".to_owned(),
        ];
        args.extend(if self.has_real_nodes() { self.for_real_nodes() } else { without_real_nodes() });
        args
    }

    /// Kubelets have the rights of their own node only, and the API server connects to kubelets.
    fn for_real_nodes(&self) -> Vec<String> {
        vec![
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            format!("--kubelet-certificate-authority={}", self.pki.path("ca.crt")),
            format!("--kubelet-client-certificate={}", self.pki.path(&format!("{TO_KUBELETS}.crt"))),
            format!("--kubelet-client-key={}", self.pki.path(&format!("{TO_KUBELETS}.key"))),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
        ]
    }

    pub(crate) fn controller_args(&self, without: &[&str]) -> Vec<String> {
        let of_nodes = if self.has_real_nodes() { NODE_CONTROLLERS } else { &[] };
        let controllers = CONTROLLERS.iter().chain(of_nodes).copied().filter(|name| !without.contains(name));
        let controllers: Vec<_> = controllers.collect();
        vec![
            format!("--kubeconfig={}", self.kubeconfig().display()),
            format!("--controllers={}", controllers.join(",")),
            format!("--service-account-private-key-file={}", self.pki.path("service-account.key")),
            format!("--root-ca-file={}", self.pki.path("ca.crt")),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
            "--kube-api-qps=500".to_owned(),
            "--kube-api-burst=1000".to_owned(),
        ]
    }

    pub(crate) fn scheduler_args(&self) -> Vec<String> {
        vec![
            format!("--kubeconfig={}", self.kubeconfig().display()),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ]
    }

    pub(crate) fn kwok_args(&self, port: u16) -> Vec<String> {
        vec![
            format!("--kubeconfig={}", self.kubeconfig().display()),
            // kwok must not manage the real nodes.
            "--manage-all-nodes=false".to_owned(),
            format!("--manage-nodes-with-annotation-selector={SIMULATED}=fake"),
            format!("--config={}", self.programs.kwok_settings().display()),
            format!("--server-address=127.0.0.1:{port}"),
        ]
    }
}

fn without_real_nodes() -> Vec<String> {
    vec![
        "--authorization-mode=RBAC".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        // It taints new nodes as not ready, and without a node lifecycle controller the taint would stay.
        "--disable-admission-plugins=TaintNodesByCondition".to_owned(),
    ]
}
