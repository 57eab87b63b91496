//! Retests that look at processes: the objects pass, and what the nodes attest to decides.

use std::sync::Arc;

use holdfast_agent::node_views::{ViewAnswer, ViewRequest};
use holdfast_agent_core::pod_index::DepartedPod;
use holdfast_model::kernel::NodeStatement;
use holdfast_model::{Attestation, Method, Reach, Verdict};
use serde_json::{Value, json};

use crate::node_views::{FakeNodeViews, container, signed, statement};
use crate::{Harness, PRIVILEGED, deployment, web};

const BOTH: [Method; 2] = [Method::LiveRead, Method::RuntimeRecheck];

/// A Pod of the Deployment `web`, running on this node.
pub fn pod(name: &str, node: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "labels": {"app": "web"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "uid-rs",
                "controller": true}]},
        "spec": {"nodeName": node, "containers": [{"name": "app"}]},
        "status": {"phase": "Running", "containerStatuses": [{"name": "app", "containerID": "containerd://c1",
            "state": {"running": {"startedAt": "2026-11-22T10:00:00Z"}}}]},
    })
}

/// The ReplicaSet of the Deployment `web`.
pub fn replica_set() -> Value {
    json!({
        "metadata": {"name": "web-1", "namespace": "shop", "uid": "uid-rs", "labels": {"app": "web"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "uid-web",
                "controller": true}]},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"spec": {}}},
    })
}

/// A fixed Deployment with its ReplicaSet and these Pods, with these kernel views.
pub async fn harness_with(views: Option<Arc<FakeNodeViews>>, pods: &[Value]) -> Harness {
    let harness = Harness::seeing(views.map(|views| views as Arc<_>), &[deployment("web", false)]).await;
    harness.api.put("replicasets", replica_set());
    pods.iter().for_each(|pod| harness.api.put("pods", pod.clone()));
    harness.until_synced().await;
    harness
}

async fn verdict(
    script: impl Fn(&ViewRequest, &str, usize) -> ViewAnswer + Send + Sync + 'static,
    pods: &[Value],
) -> Attestation {
    let harness = harness_with(Some(Arc::new(FakeNodeViews::new(script))), pods).await;
    harness.verdict_with(1, &web(), PRIVILEGED, &BOTH).await
}

fn all_confined(request: &ViewRequest, node: &str) -> NodeStatement {
    statement(request, node, request.pods[node].iter().map(|pod| container(pod, false)).collect())
}

fn two_pods() -> [Value; 2] {
    [pod("web-a", "node-1"), pod("web-b", "node-2")]
}

#[tokio::test]
async fn a_fix_is_proved_to_the_processes_when_every_node_attests_to_it() {
    let attestation = verdict(|request, node, _| signed(&all_confined(request, node)), &two_pods()).await;
    assert_eq!((attestation.verdict, attestation.reach), (Verdict::Fixed, Reach::Running), "{}", attestation.reason);
    assert_eq!(attestation.methods, BOTH);
    assert_eq!(attestation.nodes.len(), 2, "both nodes' statements are in the attestation");
    assert!(
        attestation.reason.ends_with("2 processes in 2 containers on node-1, node-2 agree"),
        "{}",
        attestation.reason
    );
    let said: NodeStatement = serde_json::from_str(&attestation.nodes[1].statement).unwrap();
    assert_eq!((said.pods, said.nonce), (vec!["uid-web-b".to_owned()], attestation.nonce));
}

#[tokio::test]
async fn eleven_hundred_nodes_attest_in_one_attestation_though_it_is_larger_than_a_message() {
    let pods: Vec<_> = (0..1100).map(|n| pod(&format!("web-{n}"), &format!("node-{n}"))).collect();
    let attestation = verdict(|request, node, _| signed(&all_confined(request, node)), &pods).await;
    assert_eq!((attestation.verdict, attestation.reach), (Verdict::Fixed, Reach::Running), "{}", attestation.reason);
    assert_eq!(attestation.nodes.len(), 1100);
    let bytes = holdfast_model::canonical::bytes(&attestation).unwrap().len();
    assert!(bytes > holdfast_proto::limits::MESSAGE_BYTES, "{bytes} bytes fit a message: the test asks nothing");
}

#[tokio::test]
async fn one_process_that_disagrees_keeps_it_open_by_pod_node_and_process_though_another_node_is_silent() {
    let script = |request: &ViewRequest, node: &str, _| match node {
        "node-1" => ViewAnswer::Missing("not connected".into()),
        _ => signed(&statement(request, node, vec![container("uid-web-b", true)])),
    };
    let attestation = verdict(script, &two_pods()).await;
    assert_eq!(
        (attestation.verdict, attestation.reach),
        (Verdict::StillFailing, Reach::Running),
        "{}",
        attestation.reason
    );
    let place = &attestation.locations[0];
    assert_eq!(place.object.as_deref(), Some("Pod web-b on node node-2"));
    assert_eq!(place.container.as_deref(), Some("app"), "named by the API server's own word for the container's id");
    assert_eq!(place.path, "process nginx\\u{1b}[2J (pid 4711)", "and a process's name moves no cursor");
    assert!(place.value.starts_with("CapEff has CAP_SYS_ADMIN"), "{}", place.value);
    assert!(attestation.reason.contains("Pod web-b on node node-2, container app"), "{}", attestation.reason);
}

#[tokio::test]
async fn silence_blindness_and_statements_about_something_else_prove_nothing() {
    type Break = fn(&ViewRequest, &mut NodeStatement);
    let cases: [(&str, Break); 7] = [
        ("its view is not whole: no BTF", |_, it| it.incomplete = Some("no BTF".into())),
        ("its nonce is another than was asked for", |_, it| it.nonce = holdfast_model::Nonce::from_bytes([99; 16])),
        ("its cluster is another than was asked for", |_, it| {
            it.cluster = holdfast_model::ClusterId::from_bytes([99; 16])
        }),
        ("its node is another than was asked for", |_, it| it.node = "node-2".into()),
        ("its set of Pods is another than was asked for", |_, it| (it.pods, it.containers) = (Vec::new(), Vec::new())),
        ("its containers' Pod is another than was asked for", |_, it| {
            it.containers.push(container("uid-other", false))
        }),
        ("its form is \"holdfast.node.v9\", not", |_, it| it.form = "holdfast.node.v9".into()),
    ];
    for (why, change) in cases {
        let script = move |request: &ViewRequest, node: &str, _| {
            let mut stated = all_confined(request, node);
            change(request, &mut stated);
            signed(&stated)
        };
        let attestation = verdict(script, &[pod("web-a", "node-1")]).await;
        assert_eq!((attestation.verdict, attestation.reach), (Verdict::Inconclusive, Reach::Config), "{why}");
        assert!(
            attestation.reason.contains("node node-1") && attestation.reason.contains(why),
            "{}",
            attestation.reason
        );
        assert!(attestation.nodes.is_empty(), "what proves nothing is not evidence");
    }
    let silent = verdict(|_, _, _| ViewAnswer::Missing("not connected".into()), &[pod("web-a", "node-1")]).await;
    assert_eq!(silent.verdict, Verdict::Inconclusive);
    assert!(silent.reason.contains("node node-1: not connected"), "{}", silent.reason);
}

#[tokio::test]
async fn a_capability_that_was_lost_since_the_claim_makes_no_easier_pass() {
    let harness = harness_with(None, &two_pods()).await;
    let attestation = harness.verdict_with(1, &web(), PRIVILEGED, &BOTH).await;
    assert_eq!(
        (attestation.verdict, attestation.reach),
        (Verdict::Inconclusive, Reach::Config),
        "{}",
        attestation.reason
    );
    let attestation = harness.verdict_with(2, &web(), PRIVILEGED, &BOTH[..1]).await;
    assert_eq!((attestation.verdict, attestation.reach), (Verdict::Fixed, Reach::Config));
    assert!(attestation.reason.contains("what runs was not looked at"), "{}", attestation.reason);
}

#[tokio::test]
async fn nothing_running_agrees_and_the_answer_says_so() {
    let nothing = |request: &ViewRequest, node: &str, _| signed(&statement(request, node, Vec::new()));
    let attestation = verdict(nothing, &[]).await;
    assert_eq!((attestation.verdict, attestation.reach, attestation.nodes.len()), (Verdict::Fixed, Reach::Running, 1));
    let said = "nothing of it is running: it has no Pods, and the kernel of node-1 shows none";
    assert!(attestation.reason.ends_with(said), "{}", attestation.reason);
    let attestation = verdict(|_, _, _| ViewAnswer::Missing("not connected".into()), &[]).await;
    assert_eq!(attestation.verdict, Verdict::Inconclusive, "a list that is empty is not a kernel's word");

    let mut ended = pod("web-a", "node-1");
    ended["status"]["phase"] = json!("Succeeded");
    let attestation = verdict(nothing, std::slice::from_ref(&ended)).await;
    assert_eq!((attestation.verdict, attestation.nodes.len()), (Verdict::Fixed, 1), "{}", attestation.reason);
    assert!(attestation.reason.ends_with("by its Pods and by the kernel of node-1"), "{}", attestation.reason);

    let undead =
        |request: &ViewRequest, node: &str, _| signed(&statement(request, node, vec![container("uid-web-a", true)]));
    let attestation = verdict(undead, &[ended]).await;
    assert_eq!(attestation.verdict, Verdict::StillFailing, "an ended Pod's process is looked at like any other");
}

#[tokio::test]
async fn a_pod_that_is_listed_no_more_and_runs_on_keeps_it_open() {
    let departed = DepartedPod { uid: "uid-gone".into(), node: "node-2".into(), owner: web() };
    let views = |script: fn(&ViewRequest, &str, usize) -> ViewAnswer| {
        Some(Arc::new(FakeNodeViews::new(script).without(departed.clone())))
    };
    let runs_on = |request: &ViewRequest, node: &str, _| {
        let containers = request.pods[node].iter().map(|uid| container(uid, uid == "uid-gone"));
        signed(&statement(request, node, containers.collect()))
    };
    for pods in [vec![], vec![pod("web-a", "node-1")]] {
        let harness = harness_with(views(runs_on), &pods).await;
        let attestation = harness.verdict_with(1, &web(), PRIVILEGED, &BOTH).await;
        assert_eq!(attestation.verdict, Verdict::StillFailing, "{}", attestation.reason);
        assert!(attestation.reason.contains("Pod uid-gone on node node-2"), "{}", attestation.reason);
    }
    let silent = |request: &ViewRequest, node: &str, _| match node {
        "node-1" => signed(&all_confined(request, node)),
        _ => ViewAnswer::Missing("not connected".into()),
    };
    let harness = harness_with(views(silent), &[pod("web-a", "node-1")]).await;
    let attestation = harness.verdict_with(1, &web(), PRIVILEGED, &BOTH).await;
    assert_eq!(attestation.verdict, Verdict::Inconclusive, "{}", attestation.reason);
    assert!(attestation.reason.contains("node node-2: not connected"), "{}", attestation.reason);
}

#[tokio::test]
async fn neither_a_sandbox_nor_a_container_that_calls_itself_one_speaks_for_a_container() {
    let sandbox = |name: &str, id: &str, started| {
        let mut sandbox = container("uid-web-a", true);
        sandbox.id = id.into();
        (sandbox.process_groups[0].name, sandbox.process_groups[0].started) = (name.into(), started);
        sandbox
    };
    let alone =
        move |request: &ViewRequest, node: &str, _| signed(&statement(request, node, vec![sandbox("pause", "s", 0)]));
    let attestation = verdict(alone, &[pod("web-a", "node-1")]).await;
    assert_eq!(attestation.verdict, Verdict::Inconclusive, "{}", attestation.reason);
    let said = "container app of Pod web-a runs by the API server, and shows no process on node node-1";
    assert!(attestation.reason.contains(said), "{}", attestation.reason);

    let mut waits = pod("web-a", "node-1");
    waits["status"]["containerStatuses"][0]["state"] = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    let attestation = verdict(alone, &[waits]).await;
    assert_eq!(attestation.verdict, Verdict::Inconclusive, "{}", attestation.reason);
    assert!(attestation.reason.contains("none of its containers runs now"), "{}", attestation.reason);

    let disguised = move |request: &ViewRequest, node: &str, _| {
        let all = vec![sandbox("pause", "s", 0), container("uid-web-a", false), sandbox("pause", "c2", 9)];
        signed(&statement(request, node, all))
    };
    let attestation = verdict(disguised, &[pod("web-a", "node-1")]).await;
    assert_eq!(attestation.verdict, Verdict::StillFailing, "{}", attestation.reason);
    assert!(attestation.reason.contains("c2 (not listed)"), "{}", attestation.reason);
}

#[tokio::test]
async fn a_pod_that_runs_and_shows_no_process_is_looked_at_again_and_is_never_agreement() {
    let nothing = |request: &ViewRequest, node: &str, _| signed(&statement(request, node, Vec::new()));
    let views = Arc::new(FakeNodeViews::new(nothing));
    let harness = harness_with(Some(views.clone()), &[pod("web-a", "node-1")]).await;
    let attestation = harness.verdict_with(1, &web(), PRIVILEGED, &BOTH).await;
    assert_eq!((attestation.verdict, views.reads()), (Verdict::Inconclusive, 3), "{}", attestation.reason);
    assert!(attestation.reason.contains("container app of Pod web-a runs by the API server"), "{}", attestation.reason);
}

#[tokio::test]
async fn a_process_that_ends_while_it_is_looked_at_is_forgiven_by_the_next_look() {
    let script = |request: &ViewRequest, node: &str, number| {
        let containers = request.pods[node].iter().map(|pod| container(pod, number == 1)).collect();
        signed(&statement(request, node, containers))
    };
    let attestation = verdict(script, &two_pods()).await;
    assert_eq!((attestation.verdict, attestation.reach), (Verdict::Fixed, Reach::Running), "{}", attestation.reason);
}

#[tokio::test]
async fn what_the_kernel_shows_is_told_once_as_evidence_on_the_finding_of_the_posture() {
    let script = |request: &ViewRequest, node: &str, _| {
        signed(&statement(request, node, request.pods[node].iter().map(|pod| container(pod, true)).collect()))
    };
    let views = Arc::new(FakeNodeViews::new(script));
    let mut harness = harness_with(Some(views.clone()), &[pod("web-a", "node-1")]).await;
    harness.runtime_scan = std::time::Duration::from_millis(10);
    harness.start_agent();
    let of_privileged = |record: &crate::aggregator::Record| {
        record
            .detections
            .iter()
            .filter(|detection| detection.control.as_str() == PRIVILEGED)
            .cloned()
            .collect::<Vec<_>>()
    };
    // The specification asks for no privilege: what runs is another finding than the posture's.
    let of_hardening = |record: &crate::aggregator::Record| {
        let wanted = |detection: &&holdfast_model::RuntimeDetection| {
            detection.control.as_str() == "workload.hardening-not-in-force" && detection.resource == web()
        };
        record.detections.iter().filter(wanted).cloned().collect::<Vec<_>>()
    };
    harness.until("the evidence", |record| !of_hardening(record).is_empty()).await;
    let looks = views.reads();
    while views.reads() < looks + 5 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let record = harness.aggregator.record.lock().unwrap();
    assert_eq!((of_hardening(&record).len(), of_privileged(&record).len()), (1, 0), "still there is not said again");
    let seen = &of_hardening(&record)[0].seen;
    assert_eq!(seen.locations[0].object.as_deref(), Some("Pod web-a on node node-1"));
}
