//! The whole agent in one process, between a fake API server and a fake aggregator.

// The whole crate is a test; clippy only knows functions marked as one.
#![allow(clippy::unwrap_used)]

mod aggregator;
mod api_server;
mod node_views;
mod nodes;
mod replicas;
mod running;
mod watched;

use std::sync::Arc;
use std::time::{Duration, Instant};

use aggregator::{Aggregator, CLUSTER, Record};
use api_server::ApiServer;
use holdfast_agent::collect::Pace;
use holdfast_agent::node_views::NodeViews;
use holdfast_agent::retest::Limits;
use holdfast_agent::{AgentConfig, AgentStatus, KubeSource};
use holdfast_model::{CoverageState, Method, Observation, Resource, Verdict};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long anything may take on a machine that has much else to do. Timing is measured by benchmarks.
const PATIENCE: Duration = Duration::from_secs(60);
const PRIVILEGED: &str = "workload.privileged";

struct Harness {
    api: ApiServer,
    aggregator: Aggregator,
    state: TempDir,
    stop: CancellationToken,
    status: watch::Receiver<AgentStatus>,
    views: Option<Arc<dyn NodeViews>>,
    /// The interval of runtime scans: longer than any scenario that does not want them.
    runtime_scan: Duration,
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Harness {
    /// An agent in a cluster that holds these Deployments.
    async fn with(watch_list: bool, deployments: &[Value]) -> Self {
        Self::made(watch_list, None, deployments).await
    }

    /// The same with kernel views on its nodes.
    async fn seeing(views: Option<Arc<dyn NodeViews>>, deployments: &[Value]) -> Self {
        Self::made(true, views, deployments).await
    }

    async fn made(watch_list: bool, views: Option<Arc<dyn NodeViews>>, deployments: &[Value]) -> Self {
        let api = ApiServer::start(watch_list).await;
        deployments.iter().for_each(|deployment| api.put("deployments", deployment.clone()));
        let mut harness = Self {
            api,
            aggregator: Aggregator::start().await,
            state: tempfile::tempdir().unwrap(),
            stop: CancellationToken::new(),
            status: watch::channel(AgentStatus::default()).1,
            views,
            runtime_scan: Duration::from_secs(3600),
        };
        harness.start_agent();
        harness
    }

    fn start_agent(&mut self) {
        self.stop.cancel();
        self.stop = CancellationToken::new();
        let fast = Duration::from_millis(20);
        let source = KubeSource::Client(self.api.client.clone());
        let config = AgentConfig {
            join_token: Some(self.aggregator.token.clone()),
            retests: Limits { check_again: fast, ..Limits::default() },
            views: self.views.clone(),
            runtime_scan: self.runtime_scan,
            pace: Pace { retry: (fast, fast), refused: fast, watch_list: true, ..Pace::default() },
            ..AgentConfig::new(source, &self.aggregator.url, self.state.path())
        };
        let (tell, status) = holdfast_agent::status();
        self.status = status;
        let stop = self.stop.clone();
        tokio::spawn(async move { holdfast_agent::run(config, tell, stop).await.unwrap() });
    }

    async fn until(&self, what: &str, condition: impl Fn(&Record) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(&self.aggregator.record.lock().unwrap()) {
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}; {:?}", self.status.borrow().clone());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn until_synced(&self) {
        let mut status = self.status.clone();
        let synced = status.wait_for(|status| status.progress.synced && status.link.connected);
        tokio::time::timeout(PATIENCE, synced).await.unwrap().unwrap();
    }

    async fn verdict(&self, number: u8, resource: &Resource) -> holdfast_model::Attestation {
        self.verdict_with(number, resource, PRIVILEGED, &[Method::LiveRead]).await
    }

    async fn verdict_with(
        &self,
        number: u8,
        resource: &Resource,
        control: &str,
        methods: &[Method],
    ) -> holdfast_model::Attestation {
        self.aggregator.order(number, resource, control, methods).await;
        let of = |record: &Record| record.attestations.iter().find(|t| t.retest.as_bytes()[0] == number).cloned();
        self.until("an attestation", |record| of(record).is_some()).await;
        of(&self.aggregator.record.lock().unwrap()).unwrap()
    }
}

fn deployment(name: &str, privileged: bool) -> Value {
    let container = json!({"name": "app", "image": "app:1", "securityContext": {"privileged": privileged}});
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}")},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
        },
    })
}

fn web() -> Resource {
    Resource::namespaced("apps", "Deployment", "shop", "web")
}

fn fails(record: &Record, resource: &Resource) -> bool {
    record.failing.contains_key(&(resource.clone(), PRIVILEGED.to_owned()))
}

fn ended(record: &Record, resource: &Resource) -> Vec<Observation> {
    let of = |(r, control, _): &&(Resource, String, Observation)| r == resource && control == PRIVILEGED;
    record.ended.iter().filter(of).map(|(_, _, observation)| observation.clone()).collect()
}

#[tokio::test]
async fn a_privileged_deployment_is_reported_fixed_and_proved_by_a_live_read() {
    let harness = Harness::with(true, &[deployment("web", true)]).await;
    harness.until("the finding", |record| fails(record, &web())).await;
    let attestation = harness.verdict(1, &web()).await;
    assert_eq!(attestation.verdict, Verdict::StillFailing);
    assert_eq!(attestation.locations[0].path, "spec.template.spec.containers[0].securityContext.privileged");
    harness.until_synced().await;

    harness.api.put("deployments", deployment("web", false));
    harness.until("the pass", |record| ended(record, &web()) == [Observation::Pass]).await;
    let attestation = harness.verdict(2, &web()).await;
    assert_eq!(
        (attestation.verdict, attestation.cluster, attestation.uid.as_str()),
        (Verdict::Fixed, CLUSTER, "uid-web")
    );
    assert_eq!(attestation.reads[0].path, "/apis/apps/v1/namespaces/shop/deployments/web");
    assert!(
        attestation.reads.iter().any(|read| read.path.starts_with("/api/v1/namespaces/shop/pods?")),
        "{attestation:?}"
    );
}

#[tokio::test]
async fn without_watch_list_everything_arrives_in_pages() {
    let many: Vec<_> = (0..7).map(|i| deployment(&format!("web{i}"), true)).collect();
    let harness = Harness::with(false, &many).await;
    harness
        .until("seven findings", |record| {
            record.failing.keys().filter(|(_, control)| control == PRIVILEGED).count() == 7
        })
        .await;
    assert!(!harness.api.requests("/deployments?limit=500&continue=").is_empty());
}

#[tokio::test]
async fn a_right_that_is_lost_is_told_in_the_servers_words_and_closes_nothing() {
    let harness = Harness::with(true, &[deployment("web", true)]).await;
    harness.until("the finding", |record| fails(record, &web())).await;
    harness.until_synced().await;
    harness.api.forbid("deployments", true);
    let state = |record: &Record| record.coverage.get("deployments.apps").map(|c| (c.state, c.reason.clone()));
    harness
        .until("the loss", |record| {
            state(record)
                .is_some_and(|(state, reason)| state == CoverageState::Forbidden && reason.contains("cannot do that"))
        })
        .await;
    assert_eq!(harness.verdict(1, &web()).await.verdict, Verdict::Inconclusive);

    harness.api.vanish("deployments", "shop", "web");
    harness.api.forbid("deployments", false);
    harness.until("proof of the deletion", |record| ended(record, &web()).contains(&Observation::Gone)).await;
    assert!(!harness.api.requests("/namespaces/shop/deployments/web").is_empty());
    assert!(!ended(&harness.aggregator.record.lock().unwrap(), &web()).contains(&Observation::Pass));
}

#[tokio::test]
async fn an_api_that_is_no_longer_served_is_absent_and_proves_nothing() {
    let harness = Harness::with(true, &[deployment("web", true)]).await;
    harness.until("the finding", |record| fails(record, &web())).await;
    harness.until_synced().await;
    harness.api.withdraw("deployments");
    harness
        .until("the loss", |record| {
            record.coverage.get("deployments.apps").is_some_and(|coverage| coverage.state == CoverageState::Absent)
        })
        .await;
    assert_eq!(harness.verdict(1, &web()).await.verdict, Verdict::Inconclusive);
    assert!(!ended(&harness.aggregator.record.lock().unwrap(), &web()).contains(&Observation::Gone));
}

#[tokio::test]
async fn what_vanished_while_the_history_was_gone_is_proved_absent_by_name() {
    let harness = Harness::with(true, &[deployment("web", true), deployment("shop", true)]).await;
    harness.until("the finding", |record| fails(record, &web())).await;
    harness.until_synced().await;
    harness.api.forget_history(true);
    harness.api.vanish("deployments", "shop", "web");
    harness.api.cut("deployments");
    harness.until("the deletion", |record| ended(record, &web()) == [Observation::Gone]).await;
    assert_eq!(harness.verdict(1, &web()).await.verdict, Verdict::WorkloadDeleted);
    assert!(fails(&harness.aggregator.record.lock().unwrap(), &Resource { name: "shop".into(), ..web() }));
}

#[tokio::test]
async fn a_deletion_is_gone_and_a_new_object_of_the_name_is_the_present_subject() {
    let harness = Harness::with(true, &[deployment("web", true)]).await;
    harness.until("the finding", |record| fails(record, &web())).await;
    harness.until_synced().await;
    harness.api.delete("deployments", "shop", "web");
    harness.until("the deletion", |record| ended(record, &web()) == [Observation::Gone]).await;
    let mut again = deployment("web", true);
    again["metadata"]["uid"] = json!("another");
    harness.api.put("deployments", again);
    harness.until("the finding again", |record| fails(record, &web())).await;
    assert_eq!(harness.verdict(1, &web()).await.uid, "another");
}

#[tokio::test]
async fn after_a_lost_stream_agreement_sends_nothing_again() {
    let harness = Harness::with(true, &[deployment("web", true)]).await;
    harness.until("the finding", |record| fails(record, &web())).await;
    harness.until_synced().await;
    harness.until("all kinds seen", |record| record.coverage.values().all(|c| c.state == CoverageState::Seen)).await;
    let batches = harness.aggregator.record.lock().unwrap().batches;
    harness.aggregator.hang_up();
    harness.until("a second hello", |record| record.hellos.len() == 2).await;
    harness.verdict(1, &web()).await;
    let record = harness.aggregator.record.lock().unwrap();
    assert_eq!((record.batches, record.hellos[1].root_digest.len()), (batches, 32));
}

#[tokio::test]
async fn a_pass_that_was_never_acknowledged_is_said_again() {
    let harness = Harness::with(true, &[deployment("web", true)]).await;
    harness.until("the finding", |record| fails(record, &web())).await;
    harness.until_synced().await;
    harness.aggregator.acknowledge.store(false, std::sync::atomic::Ordering::SeqCst);
    harness.api.put("deployments", deployment("web", false));
    assert_eq!(harness.verdict(1, &web()).await.verdict, Verdict::Fixed);
    harness.aggregator.hang_up();
    harness.aggregator.acknowledge.store(true, std::sync::atomic::Ordering::SeqCst);
    harness.until("the pass", |record| ended(record, &web()) == [Observation::Pass]).await;
}

#[tokio::test]
async fn a_record_that_lost_a_finding_gets_its_bucket_again() {
    let harness = Harness::with(true, &[deployment("web", true), deployment("api", true)]).await;
    harness.until("both findings", |record| fails(record, &web()) && record.failing.len() >= 2).await;
    harness.until_synced().await;
    harness.aggregator.record.lock().unwrap().failing.remove(&(web(), PRIVILEGED.to_owned()));
    harness.aggregator.hang_up();
    harness
        .until("the finding again, its bucket complete", |record| fails(record, &web()) && !record.complete.is_empty())
        .await;
}

#[tokio::test]
async fn a_restarted_agent_is_the_same_cluster_without_enrolling_again() {
    let mut harness = Harness::with(true, &[deployment("web", true)]).await;
    harness.until("the finding", |record| fails(record, &web())).await;
    harness.start_agent();
    harness.until("a second hello", |record| record.hellos.len() >= 2).await;
    harness.until_synced().await;
    assert_eq!(harness.aggregator.record.lock().unwrap().enrolled, 1);
}

#[tokio::test]
async fn a_certificate_is_renewed_before_it_ends_and_the_new_one_is_put_to_use() {
    let mut harness = Harness::with(true, &[]).await;
    harness.until_synced().await;
    harness.stop.cancel();
    harness.state = tempfile::tempdir().unwrap();
    harness.aggregator.life.store(3_000, std::sync::atomic::Ordering::SeqCst);
    harness.start_agent();
    harness.until("a renewal and a stream with it", |record| record.renewed >= 1 && record.hellos.len() >= 3).await;
    harness
        .until("the old certificate's end", |_| {
            let kept = std::fs::read_to_string(harness.state.path().join("credential.json")).unwrap();
            serde_json::from_str::<Value>(&kept).unwrap()["next"].is_null()
        })
        .await;
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_named_and_holds_back_a_pass_beside_it() {
    let harness = Harness::with(true, &[deployment("web", true)]).await;
    harness.until("the finding", |record| fails(record, &web())).await;
    harness.until_synced().await;
    let mut broken = deployment("broken", false);
    broken["spec"] = json!("no object");
    harness.api.put("deployments", broken);
    let named = |record: &Record| record.coverage.contains_key("deployments.apps shop/broken");
    harness.until("the unreadable object by name", named).await;
    harness.api.put("deployments", deployment("web", false));
    assert_eq!(harness.verdict(1, &web()).await.verdict, Verdict::Fixed);
    assert_eq!(ended(&harness.aggregator.record.lock().unwrap(), &web()), []);
    harness.api.put("deployments", deployment("broken", false));
    harness.until("the pass", |record| ended(record, &web()) == [Observation::Pass]).await;
}

#[tokio::test]
async fn what_a_namespaces_label_asks_for_is_handed_on() {
    let harness = Harness::with(true, &[]).await;
    harness.until_synced().await;
    let shop = |labels: Value| json!({"metadata": {"name": "shop", "uid": "s", "labels": labels}});
    harness.api.put("namespaces", shop(json!({"holdfast.dev/scope": "out"})));
    harness
        .until("the proposal", |record| record.proposals.iter().any(|p| p.namespace == "shop" && p.value == "out"))
        .await;
    harness.api.put("namespaces", shop(json!({})));
    harness
        .until("its end", |record| record.proposals.iter().any(|p| p.namespace == "shop" && p.value.is_empty()))
        .await;
}

#[tokio::test]
async fn a_deleted_deployment_is_gone_before_what_it_made_is_collected() {
    let harness = Harness::with(true, &[deployment("web", true)]).await;
    let mut replicas = deployment("web-1", false);
    replicas["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "uid-web", "controller": true}]);
    harness.api.put("replicasets", replicas);
    harness.until("the finding", |record| fails(record, &web())).await;
    harness.until_synced().await;
    harness.api.delete("deployments", "shop", "web");
    harness.until("the deletion", |record| ended(record, &web()) == [Observation::Gone]).await;
}

#[tokio::test]
async fn an_upgraded_api_server_is_the_new_measure_after_the_next_connection() {
    const PINNED: &str = "admission.psa-version-pinned-old";
    let harness = Harness::with(true, &[]).await;
    harness.until_synced().await;
    harness.api.become_minor(27);
    harness.aggregator.hang_up();
    harness
        .until("a hello of the older server", |record| record.hellos.last().unwrap().server_version == "v1.27.4")
        .await;
    let labels = json!({"pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/enforce-version": "v1.26"});
    harness.api.put("namespaces", json!({"metadata": {"name": "shop", "uid": "s", "labels": labels}}));
    let shop = Resource::cluster_scoped("", "Namespace", "shop");
    let order = |number| harness.aggregator.order(number, &shop, PINNED, &[Method::LiveRead]);
    let verdict = |record: &Record, number| {
        record.attestations.iter().find(|t| t.retest.as_bytes()[0] == number).map(|t| t.verdict)
    };
    order(1).await;
    harness.until("a verdict by the older server", |record| verdict(record, 1) == Some(Verdict::Fixed)).await;

    harness.api.become_minor(34);
    harness.aggregator.hang_up();
    let fails = |record: &Record| record.failing.contains_key(&(shop.clone(), PINNED.to_owned()));
    harness.until("the finding by the newer server", fails).await;
    order(2).await;
    harness.until("a verdict by the newer server", |record| verdict(record, 2) == Some(Verdict::StillFailing)).await;
}

#[tokio::test]
async fn a_deployment_that_fails_everywhere_is_said_in_messages_that_fit() {
    let container = |number: usize| {
        let name = format!("{number:03}{}", "c".repeat(60));
        json!({"name": name, "image": format!("registry.example.com/{}", "i".repeat(1000)), "stdin": true,
            "securityContext": {"privileged": true, "procMount": "Unmasked", "runAsUser": 0,
                "allowPrivilegeEscalation": true, "capabilities": {"add": ["SYS_ADMIN", "NET_RAW"]},
                "seccompProfile": {"type": "Unconfined"}, "appArmorProfile": {"type": "Unconfined"},
                "windowsOptions": {"hostProcess": true}, "seLinuxOptions": {"type": "s".repeat(1000), "user": "u"}},
            "ports": [{"hostPort": 80, "containerPort": 80}],
            "livenessProbe": {"httpGet": {"host": "h".repeat(1000), "port": 80}}})
    };
    let pods = |count: usize| {
        let path = |n| json!({"name": format!("v{n}"), "hostPath": {"path": "/p".repeat(500)}});
        let sysctl = |n| json!({"name": format!("kernel.{n}{}", "k".repeat(200)), "value": "1"});
        json!({
            "containers": (0..count).map(container).collect::<Vec<_>>(),
            "hostPID": true, "hostIPC": true, "hostNetwork": true,
            "volumes": (0..count).map(path).collect::<Vec<_>>(),
            "securityContext": {"sysctls": (0..count).map(sysctl).collect::<Vec<_>>()},
        })
    };
    // Small ones that fill a message to different heights, each time before a large one.
    let heights = [1, 2, 3, 4, 5, 6].into_iter().flat_map(|small| std::iter::repeat_n(12, small).chain([250]));
    let all: Vec<_> = (0..)
        .zip(heights)
        .map(|(number, count)| {
            let mut one = deployment(&format!("web{number:02}"), true);
            one["spec"]["template"]["spec"] = pods(count);
            one
        })
        .collect();
    let harness = Harness::with(true, &all).await;
    let of = |number: usize| Resource::namespaced("apps", "Deployment", "shop", &format!("web{number:02}"));
    harness.until("all of them", |record| (0..all.len()).all(|number| fails(record, &of(number)))).await;
    harness.until_synced().await;
    assert_eq!(harness.aggregator.record.lock().unwrap().hellos.len(), 1);
}

/// Names of roles have no limit but the size of the object.
#[tokio::test]
async fn an_object_with_a_name_too_long_to_send_is_named_as_unreadable_and_stops_nothing() {
    let harness = Harness::with(true, &[deployment("web", true)]).await;
    let all = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
    let role = json!({"metadata": {"name": "n".repeat(5000), "namespace": "shop", "uid": "r"}, "rules": all});
    harness.api.put("roles", role);
    let named = |record: &Record| {
        record.coverage.keys().any(|subject| subject.starts_with("roles.rbac") && subject.contains("shop/nnn"))
    };
    harness.until("the role by the start of its name", named).await;
    harness.until("the finding", |record| fails(record, &web())).await;
    let record = harness.aggregator.record.lock().unwrap();
    assert!(record.coverage.keys().all(|subject| subject.len() <= 1024));
    assert!(record.failing.keys().all(|(resource, _)| resource.name.len() < 4096));
}

/// What a record forgot, restored from an older copy, is said again.
#[tokio::test]
async fn every_session_begins_with_the_whole_coverage() {
    let harness = Harness::with(true, &[]).await;
    harness.until_synced().await;
    harness
        .until("coverage", |record| record.coverage.values().filter(|c| c.state == CoverageState::Seen).count() > 10)
        .await;
    let before = std::mem::take(&mut harness.aggregator.record.lock().unwrap().coverage);
    harness.aggregator.hang_up();
    harness.until("it again", |record| record.coverage.len() == before.len()).await;
}
