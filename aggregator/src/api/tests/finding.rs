//! Findings: listed page by page, shown whole, moved by their owners.

use futures::StreamExt;
use holdfast_model::{
    ClusterId, ControlId, FindingKey, Location, Observation, Origin, Read, Resource, Severity, Statement,
};
use holdfast_store::{Cluster, Connected};

use super::*;
use crate::live::LiveChange;
use crate::writer::{Batch, Stated};

const CONTROL: ControlId = ControlId::known("workload.privileged");

impl Harness {
    /// A cluster whose agent has reported these workloads as privileged.
    async fn with_failing(names: &[&str]) -> (Self, ClusterId, Vec<FindingKey>) {
        let harness = Self::start().await;
        let cluster = ClusterId::from_bytes([7; 16]);
        let mut tx = harness.store.begin().await.unwrap();
        tx.add_cluster(&Cluster::new(cluster, "prod-eu", NOW)).await.unwrap();
        tx.commit().await.unwrap();
        let said = Connected {
            fingerprint: "uid".into(),
            server_version: "v1.34.4".into(),
            agent_version: "0.1.0".into(),
            controls: vec!["workload.privileged@1".into()],
            clock_offset: 0,
        };
        let epoch = harness.writer.connect(cluster, said).await.unwrap();
        let resources = names.iter().map(|name| Resource::namespaced("apps", "Deployment", "shop", name));
        let keys: Vec<_> = resources.map(|resource| FindingKey { cluster, resource, control: CONTROL }).collect();
        let origin = Origin { owner: Some("team-a".into()), manager: Some("Helm".into()), ..Origin::default() };
        let batch = Batch {
            epoch,
            sequence: 1,
            reports: vec![(Read { uid: "u-1".into(), resource_version: "42".into(), hash: vec![1] }, origin)],
            stated: keys.iter().map(failing).collect(),
            ..Batch::default()
        };
        assert!(harness.writer.apply(cluster, batch).await.unwrap().outcome().await.unwrap());
        (harness, cluster, keys)
    }
}

fn failing(key: &FindingKey) -> Stated {
    let path = "spec.template.spec.containers[0].securityContext.privileged";
    let locations = vec![Location::field(path, "true").in_container("web")];
    let observation = Observation::Fail { severity: Severity::Critical, locations };
    let statement = Statement { control: CONTROL, control_version: 1, observation };
    Stated { id: key.finding_id(), key: key.clone(), statement, report: 0 }
}

#[tokio::test]
async fn pages_follow_each_other_without_a_gap_or_a_repeat() {
    let names: Vec<_> = (0..7).map(|i| format!("web-{i}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let (harness, ..) = Harness::with_failing(&names).await;
    let mut seen = Vec::new();
    let mut path = "/api/v1/findings?limit=3".to_owned();
    loop {
        let (status, page) = harness.get(&path).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        let items = page["items"].as_array().unwrap();
        assert!((1..=3).contains(&items.len()));
        seen.extend(items.iter().map(|row| row["resource"]["name"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/v1/findings?limit=3&cursor={cursor}");
    }
    seen.sort();
    assert_eq!(seen, names);
}

#[tokio::test]
async fn filters_narrow_and_never_widen() {
    let (harness, cluster, _) = Harness::with_failing(&["web", "api"]).await;
    let cases = [
        (format!("cluster={cluster}"), 2),
        (format!("cluster={}", ClusterId::from_bytes([8; 16])), 0),
        ("namespace=shop&severity=critical,low&status=open,resolved".into(), 2),
        ("namespace=shop2".into(), 0),
        ("severity=low".into(), 0),
        ("owner=team-a&q=WE".into(), 1),
        ("q=%25".into(), 0),
        ("control=workload.privileged&status=verified".into(), 0),
    ];
    for (query, expected) in cases {
        let (status, page) = harness.get(&format!("/api/v1/findings?{query}")).await;
        assert_eq!((status, page["items"].as_array().unwrap().len()), (StatusCode::OK, expected), "{query}");
    }
}

#[tokio::test]
async fn a_finding_is_shown_with_its_evidence_its_fix_and_the_line_that_repeats_the_check() {
    let (harness, _, keys) = Harness::with_failing(&["web"]).await;
    let (status, finding) = harness.get(&format!("/api/v1/findings/{}", keys[0].finding_id())).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(finding["title"], "Containers do not run privileged");
    assert_eq!(finding["cluster"], "prod-eu");
    assert_eq!(finding["evidence"]["locations"][0]["container"], "web");
    assert_eq!(finding["evidence"]["uid"], "u-1");
    assert_eq!(finding["fix"]["json_patch"][0]["path"], "/spec/template/spec/containers/0/securityContext/privileged");
    assert!(finding["fix"]["kubectl"].as_str().unwrap().starts_with("kubectl patch --namespace=shop --type=json"));
    assert!(finding["fix"]["warning"].as_str().unwrap().contains("Helm"));
    assert!(finding["check_again"].as_str().unwrap().contains("deployment.apps web"));
    assert_eq!(finding["history"][0]["event"], "finding-opened");
    assert!(!finding["reason"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn a_claim_closes_nothing_and_asks_for_the_proof() {
    let (harness, _, keys) = Harness::with_failing(&["web"]).await;
    let path = format!("/api/v1/findings/{}", keys[0].finding_id());
    let (status, started) = harness.post(&format!("{path}/start"), Value::Null).await;
    assert_eq!((status, &started["finding"]["status"]), (StatusCode::OK, &json!("in-progress")));
    let (status, claimed) = harness.post(&format!("{path}/resolve"), json!({ "note": "patched" })).await;
    assert_eq!((status, &claimed["finding"]["status"]), (StatusCode::OK, &json!("resolved")));

    let (status, retest) = harness.get(&format!("/api/v1/retests/{}", claimed["retest_id"].as_str().unwrap())).await;
    assert_eq!((status, &retest["settled"], &retest["cause"]), (StatusCode::OK, &json!(false), &json!("claim")));
    let (status, refused) = harness.post(&format!("{path}/start"), Value::Null).await;
    assert_eq!((status, &refused["code"]), (StatusCode::CONFLICT, &json!("conflict")));

    let (_, finding) = harness.get(&path).await;
    let claim = finding["history"].as_array().unwrap().iter().find(|event| event["event"] == "finding-resolved");
    assert_eq!(claim.unwrap()["actor"]["kind"], "user");
    let (status, withdrawn) = harness.post(&format!("{path}/withdraw"), Value::Null).await;
    assert_eq!((status, &withdrawn["finding"]["status"]), (StatusCode::OK, &json!("in-progress")));
}

#[tokio::test]
async fn a_namespace_out_of_scope_retires_its_findings_and_is_never_a_fix() {
    let (harness, cluster, keys) = Harness::with_failing(&["web"]).await;
    let path = format!("/api/v1/clusters/{cluster}/scope");
    let out = json!({ "excluded_namespaces": ["shop", "shop"] });
    let (status, scope) = harness.send(Method::PUT, &path, &harness.admin, out).await;
    assert_eq!((status, &scope["excluded_namespaces"]), (StatusCode::OK, &json!(["shop"])), "{scope}");
    let (_, finding) = harness.get(&format!("/api/v1/findings/{}", keys[0].finding_id())).await;
    assert_eq!((&finding["status"], &finding["retired_reason"]), (&json!("retired"), &json!("out-of-scope")));
    let odd = json!({ "excluded_namespaces": ["Shop\u{1b}"] });
    assert_eq!(harness.send(Method::PUT, &path, &harness.admin, odd).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn counts_and_patterns_follow_what_is_written() {
    let (harness, _, keys) = Harness::with_failing(&["web", "api"]).await;
    let (_, summary) = harness.get("/api/v1/summary").await;
    assert_eq!(summary["counts"], json!([{ "severity": "critical", "status": "open", "reach": null, "findings": 2 }]));
    let (_, patterns) = harness.get("/api/v1/patterns?limit=1").await;
    assert_eq!(patterns["items"][0]["clusters_affected"], 1);
    assert!(patterns["next_cursor"].is_string());
    let (status, pattern) = harness.get(&format!("/api/v1/patterns/{}", keys[0].pattern_id())).await;
    assert_eq!((status, &pattern["share_percent"]), (StatusCode::OK, &json!(100)));
    assert_eq!(pattern["findings"][0]["id"], keys[0].finding_id().to_string());
    let request = Request::get("/metrics").header(header::AUTHORIZATION, format!("Bearer {}", harness.admin));
    let response = harness.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let text = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("holdfast_findings{severity=\"critical\",status=\"open\"} 2\n"), "{text}");
}

#[tokio::test]
async fn whoever_watches_is_told_what_changed() {
    let harness = Harness::start().await;
    let request = Request::get("/api/v1/events").header(header::AUTHORIZATION, format!("Bearer {}", harness.admin));
    let response = harness.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    let cluster = ClusterId::from_bytes([7; 16]);
    harness.live.send(LiveChange::Cluster { cluster });
    let first = response.into_body().into_data_stream().next().await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&first), format!("event: cluster\ndata: {{\"cluster_id\":\"{cluster}\"}}\n\n"));
}
