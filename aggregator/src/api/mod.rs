//! The REST API under /api/v1, and its table of contents.
//!
//! One file per noun: its routes, its queries, its short handlers. A handler reads the store or asks the record to change
//! something, and answers with a type of `holdfast_api_types`; it decides nothing. To add a noun: write its file and add its line below,
//! in the group of those who may use it.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use holdfast_model::UnixMillis;
use holdfast_store::Store;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;

use crate::authority::Authority;
use crate::enrol::Enrolments;
use crate::environment::SharedEnvironment;
use crate::jobs::Jobs;
use crate::live::Live;
use crate::sessions::Sessions;
use crate::writer::Writer;
use role::Access;

mod activity;
mod auth;
mod cluster;
mod control;
mod event;
mod extract;
mod finding;
mod health;
pub mod issue;
mod job;
mod metrics;
mod pattern;
pub mod problem;
mod receipt;
mod retest;
pub mod role;
mod shell;
mod summary;
#[cfg(test)]
mod tests;
mod token;
mod version;

pub use auth::Caller;

/// What handlers work with. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    /// The record on disk.
    pub store: Store,
    /// Names the installation and signs.
    pub authority: Arc<Authority>,
    /// Changes findings and scopes.
    pub writer: Writer,
    /// Who is connected.
    pub sessions: Sessions,
    /// Adds and revokes members.
    pub enrolments: Enrolments,
    /// What just changed.
    pub live: Live,
    /// Clock and randomness.
    pub environment: SharedEnvironment,
    /// Background work.
    pub jobs: Jobs,
}

impl AppState {
    /// Now.
    pub fn now(&self) -> UnixMillis {
        self.environment.now()
    }
}

#[derive(OpenApi)]
#[openapi(info(
    title = "Holdfast",
    description = "Kubernetes security findings that close only when a retest on the live cluster proves the fix. \
                   Every list is a page: `items` and `next_cursor`. Every refusal is application/problem+json with a stable `code`.",
    license(name = "Apache-2.0", identifier = "Apache-2.0")
))]
struct Document;

/// Everything that a token may read.
fn reading() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(summary::reading())
        .merge(cluster::reading())
        .merge(finding::reading())
        .merge(retest::reading())
        .merge(receipt::reading())
        .merge(pattern::reading())
        .merge(activity::reading())
        .merge(control::reading())
        .merge(event::reading())
        .merge(job::reading())
        .merge(version::reading())
}

/// What moves findings.
fn working() -> OpenApiRouter<AppState> {
    finding::working()
}

/// What runs clusters.
fn operating() -> OpenApiRouter<AppState> {
    cluster::operating()
}

/// What hands out access.
fn administering() -> OpenApiRouter<AppState> {
    token::administering()
}

/// The API as a service, with health and metrics beside it.
pub fn router(state: AppState) -> Router {
    let guarded = |routes: OpenApiRouter<AppState>, access: Access| {
        routes.route_layer(from_fn_with_state((state.clone(), access), auth::guard))
    };
    let api = OpenApiRouter::new()
        .merge(guarded(reading(), Access::Read))
        .merge(guarded(working(), Access::Work))
        .merge(guarded(operating(), Access::Operate))
        .merge(guarded(administering(), Access::Administer));
    let (api, _) = OpenApiRouter::new().nest("/api/v1", api).split_for_parts();
    let document = document_text();
    let open = Router::new()
        .route(
            "/api/v1/openapi.json",
            axum::routing::get(async move || ([(CONTENT_TYPE, "application/json")], document.clone())),
        )
        .merge(health::open())
        .merge(metrics::reading().route_layer(from_fn_with_state((state.clone(), Access::Read), auth::guard)));
    shell::wrap(api.merge(open).with_state(state))
}

/// The API's description as it is served: written once, shared by every answer.
fn document_text() -> Bytes {
    let text = openapi().to_json().expect("the document is made of texts, numbers and maps, which are JSON");
    Bytes::from(text)
}

/// The API's own description, as `aggregator/openapi.json` has it.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let groups = OpenApiRouter::new().merge(reading()).merge(working()).merge(operating()).merge(administering());
    let mut document = OpenApiRouter::with_openapi(Document::openapi()).nest("/api/v1", groups).into_openapi();
    let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    document.components.get_or_insert_default().security_schemes.insert("token".to_owned(), scheme.into());
    document.security = Some(vec![utoipa::openapi::SecurityRequirement::new("token", Vec::<String>::new())]);
    document
}
