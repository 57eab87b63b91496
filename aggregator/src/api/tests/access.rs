//! Who gets in, and what is refused with which words.

use futures::StreamExt;
use holdfast_model::ClusterId;

use super::*;
use crate::live::LiveChange;

/// Every path and method of the API, with its parameters filled in.
fn every_route() -> Vec<(Method, String)> {
    let document: Value = serde_json::to_value(openapi()).unwrap();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let method: Method = method.to_uppercase().parse().unwrap();
            routes.push((method, path.replace("{id}", "unknown")));
        }
    }
    routes
}

#[tokio::test]
async fn every_route_refuses_whoever_has_no_token() {
    let harness = Harness::start().await;
    let (id, _) = harness.admin.split_once('.').unwrap();
    let forged = format!("{id}.{}", "a".repeat(52));
    let routes = every_route();
    assert!(routes.len() > 15, "{}", routes.len());
    for (method, path) in routes {
        for token in ["", "hf_api_x.y", &forged] {
            let (status, body) = harness.send(method.clone(), &path, token, Value::Null).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path} with {token:?}");
            assert_eq!(body["code"], "unauthenticated");
        }
    }
}

#[tokio::test]
async fn an_auditor_may_change_nothing() {
    let harness = Harness::start().await;
    let auditor = harness.token(Role::Auditor).await;
    for (method, path) in every_route().into_iter().filter(|(method, _)| method != Method::GET) {
        let (status, body) = harness.send(method.clone(), &path, &auditor, json!({})).await;
        assert_eq!((status, &body["code"]), (StatusCode::FORBIDDEN, &json!("forbidden")), "{method} {path}");
    }
    assert_eq!(harness.send(Method::GET, "/api/v1/findings", &auditor, Value::Null).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_live_stream_ends_with_the_token_that_opened_it() {
    let harness = Harness::start().await;
    let watch = |token: &str| {
        let request = Request::get("/api/v1/events").header(header::AUTHORIZATION, format!("Bearer {token}"));
        harness.router.clone().oneshot(request.body(Body::empty()).unwrap())
    };
    let auditor = harness.token(Role::Auditor).await;
    let mut theirs = watch(&auditor).await.unwrap().into_body().into_data_stream();
    let mut mine = watch(&harness.admin).await.unwrap().into_body().into_data_stream();
    let (id, _) = auditor.split_once('.').unwrap();
    let path = format!("/api/v1/tokens/{id}/revoke");
    assert_eq!(harness.send(Method::POST, &path, &harness.admin, Value::Null).await.0, StatusCode::OK);
    assert!(theirs.next().await.is_none());
    harness.live.send(LiveChange::Cluster { cluster: ClusterId::from_bytes([7; 16]) });
    assert!(mine.next().await.is_some());
}

#[tokio::test]
async fn a_revoked_token_is_refused_from_the_next_request_on() {
    let harness = Harness::start().await;
    let new = json!({ "name": "ci", "role": "auditor" });
    let (status, made) = harness.send(Method::POST, "/api/v1/tokens", &harness.admin, new).await;
    assert_eq!(status, StatusCode::CREATED);
    let (text, id) = (made["token"].as_str().unwrap(), made["stored"]["id"].as_str().unwrap());
    assert_eq!(harness.send(Method::GET, "/api/v1/version", text, Value::Null).await.0, StatusCode::OK);
    let path = format!("/api/v1/tokens/{id}/revoke");
    assert_eq!(harness.send(Method::POST, &path, &harness.admin, Value::Null).await.0, StatusCode::OK);
    assert_eq!(harness.send(Method::GET, "/api/v1/version", text, Value::Null).await.0, StatusCode::UNAUTHORIZED);
    let (_, activity) = harness.get("/api/v1/activity").await;
    assert_eq!(activity["items"][0]["entry"]["event"], "api-token-revoked");
    let secret = text.split_once('.').unwrap().1;
    assert!(!activity.to_string().contains(secret));
    assert!(!harness.get("/api/v1/tokens").await.1.to_string().contains(secret));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_a_sentence() {
    let harness = Harness::start().await;
    let cases = [
        ("/api/v1/findings?limit=501", "a page has 1 to 500 rows"),
        ("/api/v1/findings?limit=0", "a page has 1 to 500 rows"),
        ("/api/v1/findings?severity=severe", "use one of info, low"),
        ("/api/v1/findings?severty=high", "unknown field"),
        ("/api/v1/findings?cursor=x", "no cursor"),
        ("/api/v1/findings?cluster=prod", "is not a cluster id"),
        ("/api/v1/findings/f_1", "is not a finding id"),
        ("/api/v1/patterns?band=huge", "is not a band"),
        ("/api/v1/activity?since=yesterday", "write it as"),
    ];
    for (path, expected) in cases {
        let (status, body) = harness.get(path).await;
        assert_eq!((status, &body["code"]), (StatusCode::BAD_REQUEST, &json!("invalid-request")), "{path}");
        assert!(body["detail"].as_str().unwrap().contains(expected), "{path}: {body}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_apart_from_what_may_not_be() {
    let harness = Harness::start().await;
    let unknown = holdfast_model::FindingId::from_bytes([1; 16]);
    let (status, body) = harness.get(&format!("/api/v1/findings/{unknown}")).await;
    assert_eq!((status, body["code"].as_str()), (StatusCode::NOT_FOUND, Some("not-found")));
    assert_eq!(harness.get("/api/v1/nothing").await.0, StatusCode::NOT_FOUND);
    let (status, body) = harness.send(Method::DELETE, "/api/v1/findings", &harness.admin, Value::Null).await;
    assert_eq!((status, body["code"].as_str()), (StatusCode::METHOD_NOT_ALLOWED, Some("method-not-allowed")));
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let harness = Harness::start().await;
    let new = json!({ "name": "x".repeat(300_000), "role": "admin" });
    let (status, body) = harness.send(Method::POST, "/api/v1/tokens", &harness.admin, new).await;
    assert_eq!((status, body["code"].as_str()), (StatusCode::PAYLOAD_TOO_LARGE, Some("too-large")));
}

#[tokio::test]
async fn probes_need_no_token_and_figures_do() {
    let harness = Harness::start().await;
    for path in ["/healthz", "/readyz", "/api/v1/openapi.json"] {
        assert_eq!(harness.send(Method::GET, path, "", Value::Null).await.0, StatusCode::OK, "{path}");
    }
    assert_eq!(harness.send(Method::GET, "/metrics", "", Value::Null).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(harness.get("/metrics").await.0, StatusCode::OK);
}

#[tokio::test]
async fn an_empty_fleet_answers_empty_lists() {
    let harness = Harness::start().await;
    for path in ["clusters", "findings", "patterns", "activity?event=none", "activity/log"] {
        let (status, body) = harness.get(&format!("/api/v1/{path}")).await;
        assert_eq!((status, body), (StatusCode::OK, json!({ "items": [], "next_cursor": null })), "{path}");
    }
    assert_eq!(harness.get("/api/v1/summary").await.1, json!({ "counts": [], "clusters": [] }));
}
