//! Deployments as real ones look: one to three containers, probes, resources, labels of the usual tools, and security
//! contexts of every quality. Drawn from a seed, so that every run measures the same bytes.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

/// Namespaces that the fixtures use.
pub const NAMESPACES: usize = 97;

/// The `i`th Namespace.
pub fn namespace(i: usize) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": format!("team-{i:02}") } })
}

/// The same sequence for ever.
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
        // The API server refuses the one without the other.
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

/// The `i`th Deployment as it stands in a cluster where nothing runs, and with every tenth one a Role and its binding.
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

/// How much is wrong with a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ails {
    /// One finding: an image by a tag that moves.
    Once,
    /// Ten: nothing was set that must be set.
    TenTimes,
    /// Thirty: all that a pod template can have wrong at once, and the Role beside it.
    ThirtyTimes,
}

impl Ails {
    /// Findings a workload.
    pub fn findings(self) -> usize {
        match self {
            Self::Once => 1,
            Self::TenTimes => 10,
            Self::ThirtyTimes => 30,
        }
    }
}

/// The `i`th workload with exactly so many findings.
pub fn ailing(ails: Ails, i: usize) -> Vec<Value> {
    match ails {
        Ails::Once => vec![simple(i, sound("shop.example/web:latest"))],
        Ails::TenTimes => {
            vec![simple(i, json!({ "containers": [{ "name": "web", "image": "shop.example/web:3.1" }] }))]
        }
        Ails::ThirtyTimes => vec![simple(i, unsound()), role(i, grasping())],
    }
}

/// The `i`th Deployment without a flaw.
pub fn flawless(i: usize) -> Value {
    simple(i, sound("shop.example/web:3.1"))
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

fn sound(image: &str) -> Value {
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

fn unsound() -> Value {
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

fn grasping() -> Value {
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
    use holdfast_controls::inventory::Answer;
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
    fn a_workload_ails_as_often_as_it_says() {
        for ails in [Ails::Once, Ails::TenTimes, Ails::ThirtyTimes] {
            let failing = failing(&ailing(ails, 7));
            assert_eq!(failing.len(), ails.findings(), "{failing:#?}");
        }
        assert_eq!(failing(&[flawless(7)]), Vec::<String>::new());
    }
}
