//! Clusters: added, revoked, scoped.

use holdfast_model::{ClusterId, Coverage, CoverageState};

use super::*;

#[tokio::test]
async fn a_cluster_is_added_once_and_its_token_is_shown_once() {
    let harness = Harness::start().await;
    let new = json!({ "name": "prod-eu" });
    let (status, made) = harness.send(Method::POST, "/api/v1/clusters", &harness.admin, new.clone()).await;
    assert_eq!(status, StatusCode::CREATED);
    assert!(made["token"].as_str().unwrap().parse::<holdfast_model::JoinToken>().is_ok());
    let (status, body) = harness.send(Method::POST, "/api/v1/clusters", &harness.admin, new).await;
    assert_eq!((status, body["code"].as_str()), (StatusCode::CONFLICT, Some("conflict")));

    let (_, clusters) = harness.get("/api/v1/clusters").await;
    assert_eq!(clusters["items"][0]["name"], "prod-eu");
    assert_eq!(clusters["items"][0]["added_at"], "2026-11-22T14:05:29.123Z");
    let (_, activity) = harness.get("/api/v1/activity?limit=500").await;
    let secret = made["token"].as_str().unwrap().split('.').nth(1).unwrap();
    assert!(activity.to_string().contains("cluster-added") && !activity.to_string().contains(secret));

    let path = format!("/api/v1/clusters/{}/revoke", made["cluster_id"].as_str().unwrap());
    let (status, revoked) = harness.send(Method::POST, &path, &harness.admin, Value::Null).await;
    assert_eq!((status, revoked["connected"].as_bool()), (StatusCode::OK, Some(false)));
    assert!(revoked["revoked_at"].is_string());
}

#[tokio::test]
async fn what_cannot_be_seen_is_told_with_its_reason() {
    let harness = Harness::start().await;
    let (_, made) = harness.post("/api/v1/clusters", json!({ "name": "prod-eu" })).await;
    let id = made["cluster_id"].as_str().unwrap();
    let coverage = |subject: &str, state, reason: &str| Coverage {
        subject: subject.into(),
        state,
        reason: reason.into(),
        since: NOW,
    };
    let refusal = "deployments.apps is forbidden: User \"agent\" cannot list it";
    let reported =
        [coverage("deployments.apps", CoverageState::Forbidden, refusal), coverage("pods", CoverageState::Seen, "")];
    let mut tx = harness.store.begin().await.unwrap();
    tx.put_coverage(id.parse().unwrap(), 1, &reported).await.unwrap();
    tx.commit().await.unwrap();

    let (status, shown) = harness.get(&format!("/api/v1/clusters/{id}/coverage")).await;
    assert_eq!(status, StatusCode::OK);
    let since = "2026-11-22T14:05:29.123Z";
    assert_eq!(
        shown["items"],
        json!([
            { "subject": "deployments.apps", "state": "forbidden", "reason": refusal, "since": since },
            { "subject": "pods", "state": "seen", "reason": "", "since": since },
        ])
    );
    let (status, _) = harness.get(&format!("/api/v1/clusters/{}/coverage", ClusterId::from_bytes([9; 16]))).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn nodes_that_are_looked_into_are_counted_and_nobody_knows_of_those_of_an_agent_that_is_away() {
    let harness = Harness::start().await;
    let (_, made) = harness.post("/api/v1/clusters", json!({ "name": "prod-eu" })).await;
    let id = made["cluster_id"].as_str().unwrap().to_owned();
    let (_, shown) = harness.get(&format!("/api/v1/clusters/{id}")).await;
    assert_eq!(shown["nodes"], json!({ "expected": 0, "available": null }));
    let row = |subject: String, state| Coverage { subject, state, reason: String::new(), since: NOW };
    let rows = [("a", CoverageState::Seen), ("b", CoverageState::Failing)].map(|(node, sensors)| {
        let (view, sensing) =
            (holdfast_model::kernel::coverage_subject(node), holdfast_model::kernel::sensors_subject(node));
        [row(view, CoverageState::Seen), row(sensing, sensors)]
    });
    let mut tx = harness.store.begin().await.unwrap();
    tx.put_coverage(id.parse().unwrap(), 1, &rows.concat()).await.unwrap();
    tx.commit().await.unwrap();
    let nodes = async || harness.get("/api/v1/clusters").await.1["items"][0]["nodes"].clone();
    assert_eq!(nodes().await, json!({ "expected": 2, "available": null }));

    let _session = harness.sessions.open(id.parse().unwrap(), 1);
    assert_eq!(nodes().await, json!({ "expected": 2, "available": 1 }));
}
