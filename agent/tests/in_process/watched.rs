//! What takes time: retests of what was done and of what is never used, and the evidence of it over a workload's Pods. What a
//! node says it has watched is scripted; what follows from it is the agent's own.

use std::sync::Arc;
use std::time::Duration;

use holdfast_agent::node_views::{ViewAnswer, ViewRequest};
use holdfast_model::container_observation::{
    ContainerObservation, ObservationGap, ObservationWindows, ObservedBehavior,
};
use holdfast_model::kernel::RunningContainer;
use holdfast_model::{Method, RuntimeDetection, SignalKind, Verdict};

use crate::aggregator::Record;
use crate::node_views::{FakeNodeViews, container, signed, statement};
use crate::running::{harness_with, pod};
use crate::web;

const BOTH: [Method; 2] = [Method::LiveRead, Method::RuntimeRecheck];
const SHELL: &str = "workload.unexpected-shell";
const ROOT: &str = "workload.writable-root-unused";

/// ContainerObservation from its start for two days.
fn idle() -> ContainerObservation {
    ContainerObservation {
        since: 0,
        from_start: true,
        until: 2 * ObservationWindows::default().unused_after,
        gaps: Vec::new(),
        capabilities: 0,
        root_written: false,
        token_read: false,
        behaviors: Vec::new(),
    }
}

fn shells(count: u64) -> ContainerObservation {
    let (kind, last) = (SignalKind::Shell, idle().until - 5000);
    let done = ObservedBehavior { kind, object: String::new(), name: "sh".into(), pid: 7, count, first: 1, last };
    ContainerObservation { behaviors: vec![done], ..idle() }
}

/// A container of this Pod that may write to its root, and was watched so.
fn of(pod: &str, watched: Option<ContainerObservation>) -> RunningContainer {
    let mut running = container(pod, false);
    running.process_groups[0].privileges.root_read_only = Some(false);
    RunningContainer { observation: watched, ..running }
}

fn saying(what: impl Fn(&str) -> Option<ContainerObservation> + Send + Sync + 'static) -> FakeNodeViews {
    FakeNodeViews::new(move |request: &ViewRequest, node: &str, _| -> ViewAnswer {
        signed(&statement(request, node, request.pods[node].iter().map(|pod| of(pod, what(pod))).collect()))
    })
}

#[tokio::test]
async fn an_act_is_proved_over_only_where_what_runs_was_watched_from_its_start_and_kept_quiet() {
    let gap = ObservationGap { kinds: Vec::new(), reason: "behaviors of this container were lost".into() };
    let cases: [(&str, Option<ContainerObservation>, Verdict, &str); 6] = [
        ("quiet", Some(idle()), Verdict::Fixed, "agree"),
        (
            "it did",
            Some(shells(7)),
            Verdict::StillFailing,
            "Pod web-a on node node-1, container app, what it did: shell",
        ),
        (
            "too short",
            Some(ContainerObservation { until: 30_000, ..idle() }),
            Verdict::Inconclusive,
            "for 30 s of 10 min",
        ),
        (
            "too late",
            Some(ContainerObservation { from_start: false, ..idle() }),
            Verdict::Inconclusive,
            "not been watched from its",
        ),
        ("a gap", Some(ContainerObservation { gaps: vec![gap], ..idle() }), Verdict::Inconclusive, "were lost"),
        ("unwatched", None, Verdict::Inconclusive, "no sensor watches it"),
    ];
    for (name, watched, verdict, reason) in cases {
        let harness = harness_with(Some(Arc::new(saying(move |_| watched.clone()))), &[pod("web-a", "node-1")]).await;
        let attestation = harness.verdict_with(1, &web(), SHELL, &BOTH).await;
        assert_eq!(attestation.verdict, verdict, "{name}: {}", attestation.reason);
        assert!(attestation.reason.contains(reason), "{name}: {}", attestation.reason);
        assert_eq!(attestation.windows, Some(ObservationWindows::default()), "{name}: a receipt says how long it took");
    }
}

#[tokio::test]
async fn where_nothing_runs_nothing_was_watched() {
    let harness = harness_with(Some(Arc::new(saying(|_| Some(idle())))), &[]).await;
    for (number, control) in [(1, SHELL), (2, ROOT)] {
        let attestation = harness.verdict_with(number, &web(), control, &BOTH).await;
        assert_eq!(attestation.verdict, Verdict::Inconclusive, "{control}: {}", attestation.reason);
        assert!(attestation.reason.contains("nothing could be watched"), "{control}: {}", attestation.reason);
    }
}

#[tokio::test]
async fn what_one_pod_uses_is_used_and_what_none_uses_is_told_once_with_its_place_in_the_template() {
    for (used_by, reported) in [("nobody", 1), ("uid-web-b", 0)] {
        let views = Arc::new(saying(move |pod| Some(ContainerObservation { root_written: pod == used_by, ..idle() })));
        let pods = [pod("web-a", "node-1"), pod("web-b", "node-1")];
        let mut harness = harness_with(Some(views.clone()), &pods).await;
        harness.runtime_scan = Duration::from_millis(10);
        harness.start_agent();
        harness.until("some evidence", |record| !record.detections.is_empty()).await;
        let looks = views.reads();
        while views.reads() < looks + 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let record = harness.aggregator.record.lock().unwrap();
        let found = unused(&record);
        assert_eq!(found.len(), reported, "used by {used_by}");
        if let [one] = &found[..] {
            let place = &one.seen.locations[0];
            assert_eq!(place.path, "spec.template.spec.containers[0].securityContext.readOnlyRootFilesystem");
            assert_eq!((place.object.as_deref(), one.seen.locations.len()), (None, 1));
        }
    }
}

fn unused(record: &Record) -> Vec<RuntimeDetection> {
    record.detections.iter().filter(|found| found.control.as_str() == ROOT).cloned().collect()
}
