//! Generated clusters against three laws: what a change touches is all that a full evaluation finds changed; equal hashes mean
//! equal answers; a live read of its dependencies answers as the whole cluster does. Undeclared reads stop a test by themselves.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_model::{CoverageState, Resource};
use serde_json::{Value, json};

use super::Answer;
use crate::catalog;
use crate::facts::{KINDS, Kind, Object, project, role, role_binding};
use crate::inventory::tests::live_read;
use crate::inventory::{Inventory, ObjectKey};

/// xorshift64*: the same numbers for the same seed, on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    fn namespace(&mut self) -> &'static str {
        self.pick(&["shop", "shop", "bank", "kube-public"])
    }
}

fn pod_spec(random: &mut Random) -> Value {
    let context = json!({
        "privileged": random.pick(&[json!(null), json!(null), json!(true)]),
        "allowPrivilegeEscalation": random.pick(&[json!(null), json!(false)]),
        "seccompProfile": random.pick(&[json!(null), json!({"type": "RuntimeDefault"}), json!({"type": "Unconfined"})]),
        "seLinuxOptions": random.pick(&[json!(null), json!({"type": "container_engine_t"}), json!({"type": "spc_t"})]),
        "capabilities": random.pick(&[json!(null), json!({"drop": ["ALL"]})]),
    });
    json!({
        "serviceAccountName": random.pick(&[json!(null), json!("web"), json!("default")]),
        "automountServiceAccountToken": random.pick(&[json!(null), json!(null), json!(true), json!(false)]),
        "os": random.pick(&[json!(null), json!({"name": "windows"})]),
        "securityContext": {"sysctls": random.pick(&[
            json!(null), json!([{"name": "net.ipv4.tcp_rmem", "value": "1"}]), json!([{"name": "kernel.msgmax", "value": "1"}]),
        ])},
        "containers": [{"name": "c", "securityContext": context}],
    })
}

fn owner(random: &mut Random, choices: &[(&str, &str, &str)], namespace: &str) -> Value {
    let (version, kind, name) = random.pick(choices);
    if kind.is_empty() {
        return json!([]);
    }
    json!([{"apiVersion": version, "kind": kind, "name": name, "uid": format!("{kind} {namespace} {name} 0"), "controller": true}])
}

fn subjects(random: &mut Random) -> Value {
    let some = [
        json!({"kind": "ServiceAccount", "name": "web"}),
        json!({"kind": "ServiceAccount", "name": "default", "namespace": "shop"}),
        json!({"kind": "User", "name": "system:serviceaccount:bank:web"}),
        json!({"kind": "User", "name": "system:anonymous"}),
        json!({"kind": "Group", "name": "system:serviceaccounts"}),
        json!({"kind": "Group", "name": "system:serviceaccounts:shop"}),
        json!({"kind": "Group", "name": "system:authenticated"}),
        json!({"kind": "Group", "name": "system:unauthenticated"}),
    ];
    (0..random.below(3)).map(|_| random.pick(&some)).collect()
}

fn rules(random: &mut Random) -> Value {
    let rule = |verb, group, resource, names: Value| json!([{"verbs": [verb], "apiGroups": [group], "resources": [resource], "resourceNames": names}]);
    random.pick(&[
        rule("*", "*", "*", json!([])),
        rule("get", "", "configmaps", json!(["cluster-info"])),
        rule("get", "", "secrets", json!([])),
        json!([]),
    ])
}

/// The binding by which kubeadm lets anyone read one ConfigMap, and its role.
const CLUSTER_INFO: &str = "kubeadm:bootstrap-signer-clusterinfo";

/// The names of a kind, and the rest of one of its objects.
fn content(random: &mut Random, kind: &'static Kind, namespace: &str) -> (&'static str, Value) {
    const TOP: (&str, &str, &str) = ("", "", "");
    match kind.kind {
        "Role" | "RoleBinding" if namespace == "kube-public" => {
            let anonymous = [json!({"kind": "User", "name": "system:anonymous"})];
            let role = json!({"kind": "Role", "name": CLUSTER_INFO});
            (CLUSTER_INFO, json!({"rules": rules(random), "roleRef": role, "subjects": anonymous}))
        }
        "Namespace" => {
            let label = |name: &str| format!("pod-security.kubernetes.io/{name}");
            let mut labels = json!({"holdfast.dev/owner": random.pick(&["ann", "bob"])});
            if random.below(3) > 0 {
                labels[label("enforce")] = json!(random.pick(&["baseline", "restricted"]));
                labels[label("enforce-version")] = json!(random.pick(&["v1.18", "v1.26", "v1.31", "latest"]));
            }
            ("", json!({"metadata": {"labels": labels}}))
        }
        "ClusterRole" | "Role" => (random.pick(&["all", "other", CLUSTER_INFO]), json!({"rules": rules(random)})),
        "ClusterRoleBinding" | "RoleBinding" => {
            let name = random.pick(&["one", "two", "system:discovery", CLUSTER_INFO]);
            let role = json!({
                "kind": random.pick(&["ClusterRole", "ClusterRole", "Role"]),
                "name": random.pick(&["all", "all", "other", CLUSTER_INFO]),
            });
            (name, json!({"roleRef": role, "subjects": subjects(random)}))
        }
        "ServiceAccount" => {
            let automount = random.pick(&[json!(null), json!(true), json!(false)]);
            (random.pick(&["web", "default"]), json!({"automountServiceAccountToken": automount}))
        }
        "NetworkPolicy" => {
            let spec = random.pick(&[
                json!({"podSelector": {}}),
                json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}),
                json!({"podSelector": {}, "ingress": [{}]}),
                json!({"podSelector": {"matchLabels": {"app": "web"}}}),
            ]);
            (random.pick(&["deny", "allow"]), json!({"spec": spec}))
        }
        "Service" => ("web", json!({"spec": {"externalIPs": random.pick(&[json!(null), json!(["192.0.2.1"])])}})),
        "Ingress" => ("web", json!({"spec": {"rules": [{"host": random.pick(&["a.example", "b.example"])}]}})),
        "Pod" => {
            let choices = [
                TOP,
                ("apps/v1", "ReplicaSet", "web-1"),
                ("apps/v1", "ReplicaSet", "web-2"),
                ("batch/v1", "Job", "nightly-1"),
                ("argoproj.io/v1alpha1", "Workflow", "nightly"),
                ("v1", "Node", "node-1"),
            ];
            let owners = owner(random, &choices, namespace);
            let profile =
                random.pick(&[json!(null), json!({"seccomp.security.alpha.kubernetes.io/pod": "unconfined"})]);
            let generated = random.pick(&[json!(null), json!("run-")]);
            let metadata = json!({"ownerReferences": owners, "generateName": generated, "annotations": profile});
            (
                random.pick(&["run-a", "run-b", "proxy-node-1", "nightly"]),
                json!({"metadata": metadata, "spec": pod_spec(random)}),
            )
        }
        "CronJob" => {
            let template = json!({"spec": pod_spec(random)});
            ("nightly", json!({"spec": {"jobTemplate": {"spec": {"template": template}}}}))
        }
        other => {
            let (names, choices): (&[&'static str], _) = match other {
                "ReplicaSet" => (&["web-1", "web-2"], [TOP, ("apps/v1", "Deployment", "web")]),
                "Job" => (&["nightly-1", "nightly"], [TOP, ("batch/v1", "CronJob", "nightly")]),
                _ => (&["web"], [TOP, TOP]),
            };
            let owners = owner(random, &choices, namespace);
            let spec = json!({"template": {"spec": pod_spec(random)}});
            (random.pick(names), json!({"metadata": {"ownerReferences": owners}, "spec": spec}))
        }
    }
}

fn object(random: &mut Random) -> Object {
    let rights = [&role::ROLE, &role::CLUSTER_ROLE, &role_binding::ROLE_BINDING, &role_binding::CLUSTER_ROLE_BINDING];
    let kind = if random.below(3) == 0 { random.pick(&rights) } else { random.pick(KINDS) };
    let namespace = random.namespace();
    let (name, mut object) = content(random, kind, namespace);
    let name = if name.is_empty() { namespace } else { name };
    let generation = random.pick(&[0, 0, 0, 1]);
    object["metadata"]["name"] = json!(name);
    object["metadata"]["uid"] = json!(format!("{} {namespace} {name} {generation}", kind.kind));
    object["metadata"]["namespace"] = json!(kind.namespaced.then_some(namespace));
    project(kind, object).expect("a generated object has its kind's form")
}

/// What is compared of a judgement.
#[derive(Debug, Clone, PartialEq)]
struct Judged {
    hash: Vec<u8>,
    uid: String,
    owner: Option<String>,
    answers: BTreeMap<&'static str, Answer>,
    members: BTreeSet<ObjectKey>,
}

fn judge(inventory: &Inventory, subject: &Resource) -> Option<Judged> {
    let judgement = inventory.evaluate(subject)?;
    Some(Judged {
        hash: judgement.read.hash,
        uid: judgement.read.uid,
        owner: judgement.origin.owner,
        answers: judgement.outcomes.into_iter().map(|outcome| (outcome.control.id, outcome.answer)).collect(),
        members: inventory.members_of(subject).map(ObjectKey::of).collect(),
    })
}

fn judge_all(inventory: &Inventory) -> BTreeMap<Resource, Judged> {
    let subjects = inventory.subjects().map(|subject| Resource::clone(subject));
    subjects.filter_map(|subject| Some((subject.clone(), judge(inventory, &subject)?))).collect()
}

/// One change, and the key of the object that it was about.
enum Change {
    Object(ObjectKey),
    Version,
    Coverage,
}

fn change(random: &mut Random, inventory: &mut Inventory, there: &mut BTreeMap<ObjectKey, String>) -> Change {
    match random.below(40) {
        0 => {
            inventory.set_server_minor(random.pick(&[18, 27, 34]));
            Change::Version
        }
        1 => {
            let state = random.pick(&[CoverageState::Forbidden, CoverageState::Seen, CoverageState::Seen]);
            inventory.set_coverage(random.pick(KINDS), state);
            Change::Coverage
        }
        2..10 if !there.is_empty() => {
            let (key, uid) = there.iter().nth(random.below(there.len())).map(|(k, u)| (k.clone(), u.clone())).unwrap();
            there.remove(&key);
            assert!(inventory.remove(&key, &uid));
            Change::Object(key)
        }
        _ => {
            let object = object(random);
            let key = ObjectKey::of(&object);
            there.insert(key.clone(), object.meta.uid.clone());
            inventory.apply(object);
            Change::Object(key)
        }
    }
}

const SEEDS: u64 = 16;
const STEPS: usize = 100;

#[test]
fn what_a_change_touches_is_all_that_changes_and_equal_hashes_are_equal_answers() {
    let mut decided_elsewhere = BTreeSet::new();
    for seed in 1..=SEEDS {
        let mut random = Random(seed);
        let (mut inventory, mut there) = (Inventory::complete(), BTreeMap::new());
        let mut followed: BTreeMap<Resource, Judged> = BTreeMap::new();
        for step in 0..STEPS {
            let before = followed.clone();
            let change = change(&mut random, &mut inventory, &mut there);
            for subject in inventory.take_touched() {
                match judge(&inventory, &subject) {
                    Some(judged) => _ = followed.insert(Resource::clone(&subject), judged),
                    None => _ = followed.remove(&*subject),
                }
            }
            let all = judge_all(&inventory);
            for (subject, now) in &all {
                assert_eq!(followed.get(subject), Some(now), "seed {seed}, step {step}: {subject} was not touched");
                let Some(then) = before.get(subject).filter(|_| !matches!(change, Change::Coverage)) else { continue };
                assert!(
                    then.hash != now.hash || then.answers == now.answers,
                    "seed {seed}, step {step}: {subject} changes under one hash"
                );
                let is_own =
                    matches!(&change, Change::Object(key) if then.members.contains(key) || now.members.contains(key));
                if !is_own {
                    let changed = now.answers.iter().filter(|(id, answer)| then.answers.get(*id) != Some(answer));
                    decided_elsewhere.extend(changed.map(|(id, _)| *id));
                }
            }
            assert_eq!(followed.len(), all.len(), "seed {seed}, step {step}: a subject that is gone was not touched");
        }
    }
    let readers = catalog::all().filter(|control| !control.reads.is_empty()).map(|control| control.id);
    let idle: Vec<_> = readers.filter(|id| !decided_elsewhere.contains(id)).collect();
    assert!(idle.is_empty(), "no other object ever decided {idle:?}: the generator is too narrow");
}

#[test]
fn a_live_read_of_a_generated_cluster_answers_as_the_whole_of_it() {
    let mut compared = 0;
    for seed in 1..=SEEDS {
        let mut random = Random(seed);
        let objects: BTreeMap<ObjectKey, Object> =
            (0..80).map(|_| object(&mut random)).map(|object| (ObjectKey::of(&object), object)).collect();
        let mut server = Inventory::complete();
        server.set_server_minor(random.pick(&[18, 27, 34]));
        objects.into_values().for_each(|object| server.apply(object));
        for subject in server.subjects() {
            let judged = judge(&server, subject).expect("a subject is judged");
            let asked = |id: &str| id == "workload.privileged";
            for control in catalog::all().filter(|control| !control.reads.is_empty() || asked(control.id)) {
                let Some(answer) = judged.answers.get(control.id) else { continue };
                let (fresh, reads) = live_read(&server, subject, control);
                let live = judge(&fresh, subject).and_then(|mut judged| judged.answers.remove(control.id));
                assert_eq!(live.as_ref(), Some(answer), "seed {seed}: {subject} {}: {reads:#?}", control.id);
                compared += 1;
            }
        }
    }
    assert!(compared > 1000, "{compared}");
}
