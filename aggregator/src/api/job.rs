//! `/jobs`: background work, in its order, and how each part fares.

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use crate::jobs::JobStatus;
use holdfast_api_types::{Job, Page, Time};

/// The routes of this noun.
pub fn reading() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Every job of this process.
#[utoipa::path(get, path = "/jobs", tag = "jobs", responses((status = OK, body = Page<Job>)))]
async fn list(State(state): State<AppState>) -> Json<Page<Job>> {
    Json(Page::whole(state.jobs.statuses().into_iter().map(view).collect()))
}

fn view(status: JobStatus) -> Job {
    let JobStatus { name, period, passes, failures, last_at, last_took, last_did, last_error } = status;
    Job {
        name: name.to_owned(),
        // Rounded up: a period of half a second is no period of none.
        period_seconds: period.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX),
        passes,
        failures,
        last_at: last_at.map(Time),
        last_took_ms: last_took.as_millis().try_into().unwrap_or(u64::MAX),
        last_did,
        last_error,
    }
}
