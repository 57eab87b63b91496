//! The API from outside: the real router over a real store, asked in process.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use holdfast_model::Actor;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::authority::AuthoritySettings;
use crate::environment::testing::TestEnvironment;
use holdfast_api_types::Role;

mod access;
mod cluster;
mod finding;

const NOW: i64 = 1_795_356_329_123;

struct Harness {
    router: Router,
    store: Store,
    admin: String,
    writer: Writer,
    live: Live,
    sessions: Sessions,
    _folder: tempfile::TempDir,
}

impl Harness {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite:{}", folder.path().join("record.db").display())).await.unwrap();
        let authority = Arc::new(Authority::open(folder.path(), &AuthoritySettings::default(), NOW).unwrap());
        let admin = issue::issue(&store, "first", Role::Admin, Actor::Holdfast("test".into()), NOW).await.unwrap().text;
        let environment = TestEnvironment::at(NOW);
        let live = Live::default();
        let enrolments = Enrolments::new(store.clone(), authority.clone(), live.clone(), environment.clone());
        let sessions = Sessions::default();
        let policy = std::sync::Arc::new(crate::fleet::policy::shipped().unwrap());
        let (writer, _) = Writer::start(store.clone(), environment.clone(), policy, live.clone(), sessions.clone());
        let (watched, written) = (live.clone(), writer.clone());
        let open = sessions.clone();
        let jobs = Jobs::default();
        let parts = crate::jobs::Parts {
            store: store.clone(),
            writer: writer.clone(),
            authority: authority.clone(),
            environment: environment.clone(),
            policy: std::sync::Arc::new(crate::fleet::policy::shipped().unwrap()),
            recheck: Some(std::time::Duration::from_secs(3600)),
        };
        crate::jobs::all(parts).iter().for_each(|job| jobs.register(job.as_ref()));
        let state = AppState { store: store.clone(), authority, writer, sessions, enrolments, live, environment, jobs };
        Self { router: router(state), store, admin, writer: written, live: watched, sessions: open, _folder: folder }
    }

    async fn send(&self, method: Method, path: &str, token: &str, body: Value) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        assert_eq!(head.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "every answer is in its shell");
        let bytes = to_bytes(body, 1 << 20).await.unwrap();
        (head.status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send(Method::GET, path, &self.admin, Value::Null).await
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.send(Method::POST, path, &self.admin, body).await
    }

    async fn token(&self, role: Role) -> String {
        issue::issue(&self.store, role.as_str(), role, Actor::Holdfast("test".into()), NOW).await.unwrap().text
    }
}

#[tokio::test]
async fn background_work_is_listed_in_order_and_counted() {
    let harness = Harness::start().await;
    let (status, page) = harness.get("/api/v1/jobs").await;
    assert_eq!(status, StatusCode::OK);
    let names: Vec<_> = page["items"].as_array().unwrap().iter().map(|job| job["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["activity-log", "fleet-bands", "periodic-retests"]);
    let first = json!({
        "name": "activity-log", "period_seconds": 6, "passes": 0, "failures": 0, "last_at": null, "last_took_ms": 0,
        "last_did": null, "last_error": null,
    });
    assert_eq!(page["items"][0], first);
}

#[test]
fn the_committed_description_is_the_one_that_the_code_makes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let made = openapi().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(committed == made, "aggregator/openapi.json is behind: run the tests once with UPDATE_EXPECT=1");
}
