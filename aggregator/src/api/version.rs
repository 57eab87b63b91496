//! `/version`: which program answers, and which root its receipts lead to.

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use holdfast_api_types::Version;

/// The routes of this noun.
pub fn reading() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get))
}

/// The aggregator's version and root.
#[utoipa::path(get, path = "/version", tag = "version", responses((status = OK, body = Version)))]
async fn get(State(state): State<AppState>) -> Json<Version> {
    Json(Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api: "v1".to_owned(),
        root_fingerprint: state.authority.fingerprint().to_string(),
    })
}
