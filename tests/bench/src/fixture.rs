//! Realistic Deployments: one to three containers, probes, resources, labels of the usual tools, and security contexts of
//! every quality. Generated from a seed, so that every run measures the same bytes.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

/// Namespaces that the fixtures use.
pub const NAMESPACES: usize = 97;

/// The `i`th Namespace.
pub fn namespace(i: usize) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": format!("team-{i:02}") } })
}

/// The same sequence in every run.
pub fn source() -> StdRng {
    StdRng::seed_from_u64(0x0068_6f6c_6466_6173)
}

/// The `i`th Deployment.
pub fn deployment(rng: &mut StdRng, i: usize) -> Value {
    let name = format!("{}-{i:05}", ["cart", "checkout", "search", "mail", "ledger"][rng.random_range(0..5)]);
    let containers: Vec<_> =
        (0..rng.random_range(1..=3)).map(|at| container(rng, &name, at, i.is_multiple_of(40))).collect();
    let checksum: String = (0..64).map(|_| char::from_digit(rng.random_range(0..16), 16).unwrap_or('0')).collect();
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": team(i),
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
        // The API server refuses a privileged container without it.
        context["allowPrivilegeEscalation"] = Value::Bool(true);
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

fn team(i: usize) -> String {
    format!("team-{:02}", i % NAMESPACES)
}

/// The `i`th Deployment without replicas, and with every tenth one a Role and its binding.
pub fn idle_workload(rng: &mut StdRng, i: usize) -> Vec<Value> {
    let mut deployment = deployment(rng, i);
    deployment["spec"]["replicas"] = json!(0);
    let mut objects = vec![deployment];
    if i.is_multiple_of(10) {
        let verbs = if i.is_multiple_of(50) { json!(["*"]) } else { json!(["get", "list", "watch"]) };
        let resources = if i.is_multiple_of(30) { json!(["secrets"]) } else { json!(["configmaps", "services"]) };
        objects.push(role(i, json!([{ "apiGroups": [""], "resources": resources, "verbs": verbs }])));
        objects.push(role_binding(i));
    }
    objects
}

fn role(i: usize, rules: Value) -> Value {
    let metadata = json!({ "name": format!("role-{i:05}"), "namespace": team(i) });
    json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules })
}

fn role_binding(i: usize) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": { "name": format!("binding-{i:05}"), "namespace": team(i) },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": format!("role-{i:05}") },
        "subjects": [{ "kind": "ServiceAccount", "name": format!("account-{i:05}"), "namespace": team(i) }],
    })
}

/// How many findings each workload has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingsPerWorkload {
    /// One: a mutable image tag.
    One,
    /// Ten: every required field is missing.
    Ten,
    /// Thirty: everything that can fail on one pod template at once, and an over-privileged Role.
    Thirty,
}

impl FindingsPerWorkload {
    /// The number.
    pub fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Ten => 10,
            Self::Thirty => 30,
        }
    }
}

/// The `i`th workload with exactly so many findings.
pub fn failing_workload(findings: FindingsPerWorkload, i: usize) -> Vec<Value> {
    match findings {
        FindingsPerWorkload::One => vec![simple(i, compliant_spec("shop.example/web:latest"))],
        FindingsPerWorkload::Ten => {
            vec![simple(i, json!({ "containers": [{ "name": "web", "image": "shop.example/web:3.1" }] }))]
        }
        FindingsPerWorkload::Thirty => vec![simple(i, failing_spec()), role(i, over_privileged_rules())],
    }
}

/// The `i`th Deployment without a finding.
pub fn compliant(i: usize) -> Value {
    simple(i, compliant_spec("shop.example/web:3.1"))
}

fn simple(i: usize, spec: Value) -> Value {
    let labels = json!({ "app": format!("web-{i:05}") });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": format!("web-{i:05}"), "namespace": team(i) },
        "spec": {
            "replicas": 0,
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": spec },
        },
    })
}

fn compliant_spec(image: &str) -> Value {
    let some = json!({ "cpu": "100m", "memory": "128Mi" });
    json!({
        "automountServiceAccountToken": false,
        "containers": [{
            "name": "web",
            "image": image,
            "resources": { "requests": some, "limits": some },
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": { "drop": ["ALL"] },
                "readOnlyRootFilesystem": true,
                "runAsNonRoot": true,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
        }],
    })
}

fn failing_spec() -> Value {
    json!({
        "hostNetwork": true,
        "hostPID": true,
        "hostIPC": true,
        "securityContext": {
            "appArmorProfile": { "type": "Unconfined" },
            "seLinuxOptions": { "user": "root_u" },
        },
        "volumes": [
            { "name": "host", "hostPath": { "path": "/" } },
            { "name": "share", "nfs": { "server": "shop.example", "path": "/" } },
        ],
        "containers": [{
            "name": "web",
            "image": "shop.example/web:latest",
            "ports": [{ "containerPort": 8080, "hostPort": 8080 }],
            "livenessProbe": { "httpGet": { "host": "shop.example", "port": 8080 } },
            "securityContext": {
                "privileged": true,
                "runAsUser": 0,
                "capabilities": { "add": ["SYS_ADMIN"] },
                "seccompProfile": { "type": "Unconfined" },
            },
        }],
    })
}

fn over_privileged_rules() -> Value {
    let rule = |group: &str, resources: Value, verbs: Value| json!({ "apiGroups": [group], "resources": resources, "verbs": verbs });
    json!([
        rule("", json!(["secrets"]), json!(["get", "list"])),
        rule("", json!(["pods/exec", "pods/attach"]), json!(["create"])),
        rule("", json!(["serviceaccounts/token"]), json!(["create"])),
        rule("", json!(["serviceaccounts"]), json!(["impersonate"])),
        rule("", json!(["configmaps"]), json!(["*"])),
        rule("rbac.authorization.k8s.io", json!(["roles"]), json!(["escalate", "bind"])),
    ])
}

#[cfg(test)]
mod tests {
    use holdfast_controls::evaluate::Answer;
    use holdfast_controls::{Inventory, Kind, project};

    use super::*;

    fn failing(objects: &[Value]) -> Vec<String> {
        let mut inventory = Inventory::complete();
        for object in objects {
            let group = object["apiVersion"].as_str().unwrap().rsplit_once('/').map_or("", |(group, _)| group);
            let kind = Kind::find(group, object["kind"].as_str().unwrap()).unwrap();
            inventory.apply(project(kind, object).unwrap());
        }
        let judged = inventory.subjects().filter_map(|subject| inventory.evaluate(subject));
        let fails =
            judged.flat_map(|judgement| judgement.outcomes).filter(|outcome| matches!(outcome.answer, Answer::Fail(_)));
        let own = |id: &str| id.starts_with("workload.") || id.starts_with("rbac.");
        fails.map(|outcome| outcome.control.id.to_owned()).filter(|id| own(id)).collect()
    }

    #[test]
    fn a_workload_has_as_many_findings_as_requested() {
        for findings in [FindingsPerWorkload::One, FindingsPerWorkload::Ten, FindingsPerWorkload::Thirty] {
            let failing = failing(&failing_workload(findings, 7));
            assert_eq!(failing.len(), findings.count(), "{failing:#?}");
        }
        assert_eq!(failing(&[compliant(7)]), Vec::<String>::new());
    }
}
