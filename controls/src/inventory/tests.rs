//! Ownership in any order of arrival, and what a change touches.

use std::sync::Arc;

use holdfast_model::{CoverageState, Resource};
use serde_json::{Value, json};

use super::{Dependency, Inventory, ObjectKey};
use crate::catalog::Control;
use crate::evaluate::Answer;
use crate::facts::{
    Facts, KINDS, Kind, Object, namespace, network_policy, project, role, role_binding, service_account, workload,
};
use crate::pod_security::Level;

fn object(kind: &'static Kind, name: &str, uid: &str, rest: Value) -> Object {
    let mut object = json!({"metadata": {"name": name, "uid": uid, "resourceVersion": uid}});
    if kind.namespaced {
        object["metadata"]["namespace"] = json!("shop");
    }
    for (field, value) in rest.as_object().unwrap() {
        match field.as_str() {
            "owner" => object["metadata"]["ownerReferences"] = json!([value]),
            "labels" | "generateName" => object["metadata"][field] = value.clone(),
            _ => object[field] = value.clone(),
        }
    }
    project(kind, object).unwrap()
}

fn owner(version: &str, kind: &str, name: &str, uid: &str) -> Value {
    json!({"owner": {"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": true}})
}

fn rollout() -> [Object; 3] {
    [
        object(&workload::DEPLOYMENT, "web", "d", json!({})),
        object(&workload::REPLICA_SET, "web-7d", "r", owner("apps/v1", "Deployment", "web", "d")),
        object(&workload::POD, "web-7d-x", "p", owner("apps/v1", "ReplicaSet", "web-7d", "r")),
    ]
}

fn subjects(inventory: &Inventory) -> Vec<String> {
    inventory.subjects().map(|subject| subject.to_string()).collect()
}

fn touched(inventory: &mut Inventory) -> Vec<String> {
    inventory.take_touched().iter().map(ToString::to_string).collect()
}

/// Everything of some objects is in, and what they touched is forgotten.
fn settled(objects: impl IntoIterator<Item = Object>) -> Inventory {
    let mut inventory = Inventory::complete();
    objects.into_iter().for_each(|object| inventory.apply(object));
    inventory.take_touched();
    inventory
}

#[test]
fn a_pod_belongs_to_its_deployment_in_any_order_of_arrival() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut inventory = Inventory::complete();
        for i in order {
            inventory.apply(rollout()[i].clone());
        }
        assert_eq!(subjects(&inventory), ["Deployment shop/web"], "{order:?}");
        assert_eq!(
            touched(&mut inventory),
            ["Deployment shop/web"],
            "{order:?}: reported under another name on the way"
        );
        let members = &inventory.members[&Resource::namespaced("apps", "Deployment", "shop", "web")];
        assert_eq!(members.len(), 3, "{order:?}");
    }
}

#[test]
fn a_pod_of_a_cron_job_belongs_to_it_through_its_job() {
    let inventory = settled([
        object(&workload::POD, "nightly-29-x", "p", owner("batch/v1", "Job", "nightly-29", "j")),
        object(&workload::JOB, "nightly-29", "j", owner("batch/v1", "CronJob", "nightly", "c")),
        object(&workload::CRON_JOB, "nightly", "c", json!({})),
    ]);
    assert_eq!(subjects(&inventory), ["CronJob shop/nightly"]);
}

#[test]
fn a_kind_that_may_not_be_read_is_named_by_the_reference_alone() {
    let [deployment, _, pod] = rollout();
    let mut inventory = Inventory::complete();
    inventory.set_coverage(&workload::REPLICA_SET, CoverageState::Forbidden);
    inventory.apply(deployment);
    inventory.apply(pod);
    assert_eq!(subjects(&inventory), ["Deployment shop/web", "ReplicaSet shop/web-7d"]);

    inventory.set_coverage(&workload::REPLICA_SET, CoverageState::Seen);
    inventory.apply(rollout()[1].clone());
    assert_eq!(subjects(&inventory), ["Deployment shop/web"], "the right came back");
}

#[test]
fn an_awaited_owner_is_given_up_when_its_kind_can_no_longer_be_seen() {
    let mut inventory = settled([rollout()[2].clone()]);
    assert!(subjects(&inventory).is_empty());
    inventory.set_coverage(&workload::REPLICA_SET, CoverageState::Absent);
    assert_eq!(subjects(&inventory), ["ReplicaSet shop/web-7d"]);
}

#[test]
fn a_static_pod_is_one_subject_on_all_nodes() {
    let pod = |node: &str| {
        let name = format!("kube-proxy-{node}");
        object(&workload::POD, &name, node, owner("v1", "Node", node, "n"))
    };
    assert_eq!(subjects(&settled([pod("node-1"), pod("node-2")])), ["StaticPod shop/kube-proxy"]);
}

#[test]
fn a_foreign_controller_names_its_pods_but_not_a_deployment() {
    let rollout = owner("argoproj.io/v1alpha1", "Rollout", "web", "f");
    let inventory = settled([
        object(&workload::POD, "web-abc", "p", rollout.clone()),
        object(&workload::DEPLOYMENT, "web-main", "d", rollout),
    ]);
    assert_eq!(subjects(&inventory), ["Pod shop/web", "Deployment shop/web-main"]);
}

#[test]
fn runs_are_named_after_their_template_or_without_the_drawn_end() {
    let mut by_label = owner("argoproj.io/v1alpha1", "Workflow", "nightly-1699-x", "w");
    by_label["labels"] = json!({"workflows.argoproj.io/cron-workflow": "nightly"});
    let cases = [
        (object(&workload::POD, "a", "1", by_label), "Pod shop/nightly"),
        (object(&workload::POD, "b", "2", owner("tekton.dev/v1", "PipelineRun", "build-x7k2p", "t")), "Pod shop/build"),
        (
            object(&workload::POD, "c", "3", owner("tekton.dev/v1", "PipelineRun", "build-front", "t")),
            "Pod shop/build-front",
        ),
        (object(&workload::JOB, "migrate-x7k2p", "4", json!({"generateName": "migrate-"})), "Job shop/migrate"),
        (object(&workload::POD, "plain", "5", json!({})), "Pod shop/plain"),
    ];
    for (object, expected) in cases {
        assert_eq!(subjects(&settled([object])), [expected]);
    }
}

#[test]
fn the_same_name_with_a_new_uid_is_the_present_subject() {
    let mut inventory = settled(rollout());
    // The new ReplicaSet arrives before the Deployment that owns it.
    inventory.apply(object(&workload::REPLICA_SET, "web-9f", "r2", owner("apps/v1", "Deployment", "web", "d2")));
    assert_eq!(touched(&mut inventory), [""; 0]);
    inventory.apply(object(&workload::DEPLOYMENT, "web", "d2", json!({})));
    assert_eq!(touched(&mut inventory), ["Deployment shop/web"]);

    let key = ObjectKey::namespaced(&workload::DEPLOYMENT, "shop", "web");
    assert!(!inventory.remove(&key, "d"), "the deletion of the old one is late");
    assert_eq!(inventory.get(&key).unwrap().meta.uid, "d2");
    assert!(inventory.remove(&key, "d2"));
}

#[test]
fn a_pod_keeps_its_subject_while_its_owners_are_deleted() {
    let mut inventory = settled(rollout());
    let gone = |inventory: &mut Inventory, kind, name, uid| {
        assert!(inventory.remove(&ObjectKey::namespaced(kind, "shop", name), uid));
        subjects(inventory)
    };
    assert_eq!(gone(&mut inventory, &workload::DEPLOYMENT, "web", "d"), ["Deployment shop/web"]);
    assert_eq!(gone(&mut inventory, &workload::REPLICA_SET, "web-7d", "r"), ["Deployment shop/web"]);
    assert_eq!(gone(&mut inventory, &workload::POD, "web-7d-x", "p"), [""; 0]);
    assert_eq!(touched(&mut inventory), ["Deployment shop/web"]);
    assert!(inventory.evaluate(&Resource::namespaced("apps", "Deployment", "shop", "web")).is_none());
    assert!(inventory.children.is_empty() && inventory.members.is_empty() && inventory.objects.is_empty());
}

#[test]
fn owners_in_a_ring_stand_for_themselves() {
    let inventory = settled([
        object(&workload::JOB, "a", "1", owner("batch/v1", "Job", "b", "2")),
        object(&workload::JOB, "b", "2", owner("batch/v1", "Job", "a", "1")),
    ]);
    assert_eq!(subjects(&inventory), ["Job shop/a", "Job shop/b"]);
}

#[test]
fn a_status_update_touches_nothing() {
    let mut inventory = settled(rollout());
    let mut newer = rollout()[0].clone();
    newer.meta.resource_version = "d-2".to_owned();
    inventory.apply(newer);
    assert_eq!(touched(&mut inventory), [""; 0]);
    let key = ObjectKey::namespaced(&workload::DEPLOYMENT, "shop", "web");
    assert_eq!(inventory.get(&key).unwrap().meta.resource_version, "d-2");
}

fn binding(name: &str, role: (&str, &str), subject: Value) -> Object {
    let rest = json!({"roleRef": {"kind": role.0, "name": role.1}, "subjects": [subject]});
    object(&role_binding::ROLE_BINDING, name, name, rest)
}

#[test]
fn a_role_touches_the_bindings_that_reference_it() {
    let ann = || json!({"kind": "User", "name": "ann"});
    let mut inventory = settled([
        binding("one", ("Role", "reader"), ann()),
        binding("two", ("ClusterRole", "reader"), ann()),
        binding("three", ("Role", "other"), ann()),
    ]);
    inventory.apply(object(&role::ROLE, "reader", "r", json!({})));
    assert_eq!(touched(&mut inventory), ["Role shop/reader", "RoleBinding shop/one"]);
    inventory.apply(object(&role::CLUSTER_ROLE, "reader", "c", json!({})));
    assert_eq!(touched(&mut inventory), ["ClusterRole reader", "RoleBinding shop/two"]);
    inventory.remove(&ObjectKey::namespaced(&role::ROLE, "shop", "reader"), "r");
    assert_eq!(touched(&mut inventory), ["Role shop/reader", "RoleBinding shop/one"]);
}

#[test]
fn a_policy_and_the_first_and_last_workload_touch_their_namespace() {
    let mut inventory = settled([object(&namespace::NAMESPACE, "shop", "n", json!({}))]);
    let pod = |name: &str| object(&workload::POD, name, name, json!({}));
    let key = |name: &str| ObjectKey::namespaced(&workload::POD, "shop", name);

    inventory.apply(object(&network_policy::NETWORK_POLICY, "deny", "np", json!({"spec": {"podSelector": {}}})));
    assert_eq!(touched(&mut inventory), ["Namespace shop", "NetworkPolicy shop/deny"]);
    inventory.apply(pod("a"));
    assert_eq!(touched(&mut inventory), ["Namespace shop", "Pod shop/a"]);
    inventory.apply(pod("b"));
    assert_eq!(touched(&mut inventory), ["Pod shop/b"]);
    inventory.remove(&key("a"), "a");
    assert_eq!(touched(&mut inventory), ["Pod shop/a"]);
    inventory.remove(&key("b"), "b");
    assert_eq!(touched(&mut inventory), ["Namespace shop", "Pod shop/b"]);
}

#[test]
fn the_first_and_last_grant_to_an_account_touch_its_workloads() {
    let pod = |name: &str, account: &str| {
        object(&workload::POD, name, name, json!({"spec": {"serviceAccountName": account}}))
    };
    let mut inventory = settled([pod("a", "web"), pod("b", "other")]);
    let account = || json!({"kind": "ServiceAccount", "name": "web"});

    inventory.apply(object(&service_account::SERVICE_ACCOUNT, "web", "sa", json!({})));
    assert_eq!(touched(&mut inventory), ["Pod shop/a", "ServiceAccount shop/web"]);
    inventory.apply(binding("one", ("Role", "r"), account()));
    assert_eq!(touched(&mut inventory), ["Pod shop/a", "RoleBinding shop/one"]);
    inventory.apply(binding("two", ("Role", "r"), account()));
    assert_eq!(touched(&mut inventory), ["RoleBinding shop/two"], "it had one already");
    inventory.apply(binding("three", ("Role", "r"), json!({"kind": "Group", "name": "system:serviceaccounts:shop"})));
    assert_eq!(touched(&mut inventory), ["Pod shop/a", "Pod shop/b", "RoleBinding shop/three"]);
    for name in ["one", "two"] {
        inventory.remove(&ObjectKey::namespaced(&role_binding::ROLE_BINDING, "shop", name), name);
    }
    assert_eq!(touched(&mut inventory), ["Pod shop/a", "RoleBinding shop/one", "RoleBinding shop/two"]);
}

#[test]
fn a_namespaces_labels_speak_for_all_that_is_in_it() {
    let mut inventory = settled(rollout());
    inventory.apply(object(&namespace::NAMESPACE, "shop", "n", json!({"labels": {"holdfast.dev/owner": "team-shop"}})));
    assert_eq!(touched(&mut inventory), ["Namespace shop", "Deployment shop/web"]);
    let subject = Resource::namespaced("apps", "Deployment", "shop", "web");
    assert_eq!(inventory.evaluate(&subject).unwrap().origin.owner.as_deref(), Some("team-shop"));

    inventory.apply(object(&workload::DEPLOYMENT, "web", "d", json!({"labels": {"holdfast.dev/owner": "team-web"}})));
    let mut own = object(&workload::DEPLOYMENT, "web", "d", json!({"labels": {"holdfast.dev/owner": "team-web"}}));
    own.meta.resource_version = "d-2".to_owned();
    inventory.apply(own);
    assert_eq!(inventory.evaluate(&subject).unwrap().origin.owner.as_deref(), Some("team-web"));
}

fn answer(inventory: &Inventory, subject: &Resource, control: &str) -> Answer {
    let outcomes = inventory.evaluate(subject).unwrap().outcomes;
    outcomes.into_iter().find(|outcome| outcome.control.id == control).unwrap().answer
}

#[test]
fn the_widest_pod_of_a_workload_says_which_level_it_fits() {
    let template = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
    let web = template(json!({"containers": [{"name": "a"}]}));
    let mut inventory = settled([object(&workload::DEPLOYMENT, "web", "d", web)]);
    let subject = Resource::namespaced("apps", "Deployment", "shop", "web");
    assert_eq!(inventory.pod_security_level(&subject), Some(Level::Baseline));
    let mut old = owner("apps/v1", "Deployment", "web", "d");
    old["spec"] = json!({"hostPID": true, "containers": [{"name": "a"}]});
    inventory.apply(object(&workload::POD, "web-old", "p", old));
    assert_eq!(inventory.pod_security_level(&subject), Some(Level::Privileged));
    assert_eq!(inventory.pod_security_level(&Resource::cluster_scoped("", "Namespace", "shop")), None);
}

#[test]
fn what_reads_an_unseen_kind_is_unknown_until_it_is_seen() {
    let subject = Resource::cluster_scoped("", "Namespace", "shop");
    let mut inventory = settled([object(&namespace::NAMESPACE, "shop", "n", json!({})), rollout()[0].clone()]);
    let deny = "network.default-deny-ingress";
    assert!(matches!(answer(&inventory, &subject, deny), Answer::Fail(_)));
    inventory.set_coverage(&network_policy::NETWORK_POLICY, CoverageState::Forbidden);
    let reason = "networkpolicies.networking.k8s.io: forbidden".to_owned();
    assert_eq!(answer(&inventory, &subject, deny), Answer::Unknown(reason));
    assert!(touched(&mut inventory).contains(&subject.to_string()));
    assert!(matches!(answer(&inventory, &subject, "admission.psa-enforce"), Answer::Fail(_)), "it reads nothing else");
}

#[test]
fn a_template_that_holds_is_no_pass_while_its_pods_cannot_be_seen() {
    let subject = Resource::namespaced("apps", "Deployment", "shop", "web");
    let with = |privileged: bool| {
        let container = json!({"name": "c", "securityContext": {"privileged": privileged}});
        let rest = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        let mut inventory = settled([object(&workload::DEPLOYMENT, "web", "d", rest)]);
        inventory.set_coverage(&workload::POD, CoverageState::Forbidden);
        answer(&inventory, &subject, "workload.privileged")
    };
    assert_eq!(with(false), Answer::Unknown("pods: forbidden".to_owned()));
    assert!(matches!(with(true), Answer::Fail(_)), "what fails, fails whatever its pods do");
}

/// A live read as the agent does it, against a full inventory in place of the API server.
pub(crate) fn live_read(server: &Inventory, subject: &Resource, control: &Control) -> (Inventory, Vec<Dependency>) {
    let (mut fresh, mut asked) = (Inventory::default(), Vec::new());
    while let Some(next) = fresh.dependencies(subject, control).into_iter().find(|need| !asked.contains(need)) {
        match &next {
            Dependency::Object(key) => server.get(key).cloned().into_iter().for_each(|object| fresh.apply(object)),
            Dependency::List { kind, namespace, limit, .. } => {
                let all =
                    server.of_kind(kind).filter(|object| namespace.is_none() || object.meta.namespace == *namespace);
                let some = all.take(limit.map_or(usize::MAX, |limit| limit as usize));
                some.cloned().for_each(|object| fresh.apply(object));
            }
            Dependency::ServerVersion => fresh.set_server_minor(server.server_minor()),
        }
        next.kind().into_iter().for_each(|kind| fresh.set_coverage(kind, CoverageState::Seen));
        asked.push(next);
    }
    (fresh, asked)
}

#[test]
fn a_live_read_of_its_dependencies_gives_the_same_answer_for_every_control_and_subject() {
    let all = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
    let mut objects = rollout().to_vec();
    objects.extend([
        object(
            &namespace::NAMESPACE,
            "shop",
            "n",
            json!({"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}),
        ),
        object(&network_policy::NETWORK_POLICY, "deny", "np", json!({"spec": {"podSelector": {}}})),
        object(&service_account::SERVICE_ACCOUNT, "default", "sa", json!({})),
        object(&role::ROLE, "all", "r1", json!({"rules": all})),
        object(&role::CLUSTER_ROLE, "all", "r2", json!({"rules": all})),
        binding("one", ("Role", "all"), json!({"kind": "Group", "name": "system:authenticated"})),
        binding("two", ("ClusterRole", "all"), json!({"kind": "ServiceAccount", "name": "default"})),
        object(&workload::CRON_JOB, "nightly", "c", json!({})),
        object(&workload::JOB, "nightly-29", "j", owner("batch/v1", "CronJob", "nightly", "c")),
        object(&workload::POD, "nightly-29-x", "p2", owner("batch/v1", "Job", "nightly-29", "j")),
        object(&workload::POD, "run-x", "p3", owner("tekton.dev/v1", "TaskRun", "run", "t")),
        object(&workload::POD, "proxy-node-1", "p4", owner("v1", "Node", "node-1", "n1")),
        object(&workload::POD, "plain", "p5", json!({"spec": {"hostPID": true}})),
    ]);
    let server = settled(objects);
    let mut compared = 0;
    for subject in server.subjects() {
        for outcome in server.evaluate(subject).unwrap().outcomes {
            let (fresh, asked) = live_read(&server, subject, outcome.control);
            let id = outcome.control.id;
            assert_eq!(answer(&fresh, subject, id), outcome.answer, "{subject} {id}: {asked:#?}");
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared}");
}

#[test]
fn a_live_read_asks_for_no_more_than_it_needs() {
    let server = settled(rollout());
    let subject = Resource::namespaced("apps", "Deployment", "shop", "web");
    let control = Control::find("workload.privileged").unwrap();
    let kinds =
        |asked: Vec<Dependency>| asked.iter().filter_map(|need| need.kind()).map(|kind| kind.kind).collect::<Vec<_>>();
    assert_eq!(kinds(live_read(&server, &subject, control).1), ["Deployment", "ReplicaSet", "Pod"]);
    let pod = settled([object(&workload::POD, "plain", "p", json!({}))]);
    let subject = Resource::namespaced("", "Pod", "shop", "plain");
    assert_eq!(kinds(live_read(&pod, &subject, control).1), ["Pod", "Pod"], "itself, and those that share its name");
}

#[test]
fn subjects_share_one_copy_of_their_name() {
    let inventory = settled(rollout());
    let subjects: Vec<_> = inventory.objects.values().filter_map(|entry| entry.subject.clone()).collect();
    assert!(subjects.windows(2).all(|pair| Arc::ptr_eq(&pair[0], &pair[1])));
    assert_eq!(KINDS.iter().filter(|kind| inventory.coverage(kind) != Some(CoverageState::Seen)).count(), 0);
}

#[test]
fn only_templates_that_are_judged_are_remembered() {
    let kept = |owned: Value| {
        let mut rest = owned;
        rest["spec"] = json!({"template": {"spec": {"containers": [{"name": "c"}]}}});
        let inventory = settled([object(&workload::REPLICA_SET, "web-7d", "r", rest)]);
        match &inventory.get(&ObjectKey::namespaced(&workload::REPLICA_SET, "shop", "web-7d")).unwrap().facts {
            Facts::Workload(workload) => workload.pod.containers.len(),
            _ => 0,
        }
    };
    assert_eq!(kept(owner("apps/v1", "Deployment", "web", "d")), 0);
    assert_eq!(kept(owner("argoproj.io/v1alpha1", "Rollout", "web", "f")), 1);
    assert_eq!(kept(json!({})), 1);
}

/// Whoever may create Pods may create one that holds and bears the name under which others are reported.
#[test]
fn a_pod_or_job_that_holds_does_not_hide_the_failing_runs_that_share_its_name() {
    let privileged = json!({"containers": [{"name": "c", "securityContext": {"privileged": true}}]});
    let drawn = json!({"generateName": "web-", "spec": privileged});
    let foreign = json!({"spec": privileged, "owner": owner("argoproj.io/v1alpha1", "Workflow", "web", "w")["owner"]});
    let of_job = json!({"spec": privileged, "owner": owner("batch/v1", "Job", "web-x", "j")["owner"]});
    let decoy = |kind| object(kind, "web", "decoy", json!({}));
    let run = object(&workload::JOB, "web-x", "j", json!({"generateName": "web-"}));
    let cases = [
        (vec![decoy(&workload::POD), object(&workload::POD, "web-x", "x", drawn)], "Pod"),
        (vec![decoy(&workload::POD), object(&workload::POD, "web-y", "y", foreign)], "Pod"),
        (vec![decoy(&workload::JOB), run, object(&workload::POD, "web-x-z", "z", of_job)], "Job"),
    ];
    let control = Control::find("workload.privileged").unwrap();
    for (objects, kind) in cases {
        let server = settled(objects);
        let subject = server.subjects().find(|subject| subject.kind == kind).unwrap().as_ref().clone();
        assert_eq!((subject.name.as_str(), server.subjects().count()), ("web", 1));
        assert!(matches!(answer(&server, &subject, control.id), Answer::Fail(_)), "{subject}");
        let (fresh, _) = live_read(&server, &subject, control);
        assert!(matches!(answer(&fresh, &subject, control.id), Answer::Fail(_)), "{subject}, read live");
    }
}

/// The garbage collector deletes what names an owner that is gone, but not what names one of an API that nobody serves.
#[test]
fn an_owner_of_a_version_that_is_not_served_is_not_waited_for() {
    let pod = object(&workload::POD, "web", "p", owner("apps/v0", "ReplicaSet", "none", "no"));
    assert_eq!(subjects(&settled([pod])), ["Pod shop/none"]);
}

#[test]
fn an_owner_with_a_name_that_no_object_can_have_is_no_owner() {
    let long = "n".repeat(5000);
    let pod = object(&workload::POD, "web", "p", owner("example.com/v1", "Thing", &long, "u"));
    let annotations = json!({"meta.helm.sh/release-name": long});
    let mut raw = json!({"metadata": {"name": "d", "namespace": "shop", "uid": "d", "annotations": annotations}});
    let deployment = project(&workload::DEPLOYMENT, raw.clone()).unwrap();
    raw["metadata"]["annotations"] = json!({"argocd.argoproj.io/tracking-id": long});
    let tracked = project(&workload::DEPLOYMENT, raw).unwrap();
    assert_eq!((deployment.meta.origin.release, tracked.meta.origin.release), (None, None));
    assert_eq!(subjects(&settled([pod])), ["Pod shop/web"]);
}
