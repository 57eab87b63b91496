//! `/healthz` and `/readyz`: for probes, without a token, and without a word about what is inside.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Json, Router, routing};

use super::AppState;
use holdfast_api_types::Health;

/// The routes, open to everybody.
pub fn open() -> Router<AppState> {
    Router::new().route("/healthz", routing::get(alive)).route("/readyz", routing::get(ready))
}

async fn alive() -> Json<Health> {
    Json(Health { status: "ok".to_owned() })
}

/// Ready is who can read the record.
async fn ready(State(state): State<AppState>) -> (StatusCode, Json<Health>) {
    match state.store.ping().await {
        Ok(()) => (StatusCode::OK, Json(Health { status: "ok".to_owned() })),
        Err(error) => {
            tracing::warn!(error = %super::problem::chain(&error), "not ready: the store does not answer");
            (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "the store does not answer".to_owned() }))
        }
    }
}
