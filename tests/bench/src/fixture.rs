//! Deployments as real ones look: one to three containers, probes, resources, labels of the usual tools, and security
//! contexts of every quality. Drawn from a seed, so that every run measures the same bytes.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

/// The same sequence for ever.
pub fn source() -> StdRng {
    StdRng::seed_from_u64(0x0068_6f6c_6466_6173)
}

/// The `i`th Deployment.
pub fn deployment(rng: &mut StdRng, i: usize) -> Value {
    let name = format!("{}-{i:05}", ["cart", "checkout", "search", "mail", "ledger"][rng.random_range(0..5)]);
    let containers: Vec<_> = (0..rng.random_range(1..=3)).map(|at| container(rng, &name, at, i % 40 == 0)).collect();
    let checksum: String = (0..64).map(|_| char::from_digit(rng.random_range(0..16), 16).unwrap_or('0')).collect();
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": format!("team-{:02}", i % 97),
            "labels": { "app.kubernetes.io/name": name, "helm.sh/chart": format!("{name}-1.{}.0", i % 30) },
            "annotations": { "meta.helm.sh/release-name": name, "checksum/config": format!("sha256-{checksum}") },
        },
        "spec": {
            "replicas": rng.random_range(1..6),
            "revisionHistoryLimit": 10,
            "selector": { "matchLabels": { "app.kubernetes.io/name": name } },
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": 0 } },
            "template": {
                "metadata": { "labels": { "app.kubernetes.io/name": name } },
                "spec": {
                    "serviceAccountName": name,
                    "automountServiceAccountToken": rng.random_bool(0.4),
                    "securityContext": {
                        "runAsNonRoot": rng.random_bool(0.7),
                        "seccompProfile": { "type": "RuntimeDefault" },
                    },
                    "containers": containers,
                    "volumes": [{ "name": "config", "configMap": { "name": name } }],
                },
            },
        },
    })
}

fn container(rng: &mut StdRng, name: &str, at: usize, privileged: bool) -> Value {
    let mut context = json!({
        "allowPrivilegeEscalation": rng.random_bool(0.3),
        "readOnlyRootFilesystem": rng.random_bool(0.8),
        "capabilities": { "drop": ["ALL"] },
    });
    if privileged {
        context["privileged"] = Value::Bool(true);
    }
    let tag = if rng.random_bool(0.1) { "latest".to_owned() } else { format!("v{}.{}", at, rng.random_range(0..40)) };
    json!({
        "name": format!("c{at}"),
        "image": format!("registry.example.com/shop/{name}:{tag}"),
        "imagePullPolicy": "IfNotPresent",
        "args": ["--port=8080", "--config=/etc/app/config.yaml"],
        "env": [
            { "name": "LOG_LEVEL", "value": "info" },
            { "name": "POD_IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
        ],
        "ports": [{ "name": "http", "containerPort": 8080, "protocol": "TCP" }],
        "resources": { "requests": { "cpu": "100m", "memory": "128Mi" }, "limits": { "memory": "256Mi" } },
        "livenessProbe": { "httpGet": { "path": "/healthz", "port": "http" } },
        "securityContext": context,
        "volumeMounts": [{ "name": "config", "mountPath": "/etc/app" }],
    })
}
