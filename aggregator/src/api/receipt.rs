//! `/receipts`: the signed evidence of a verdict, byte for byte as it was signed.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use holdfast_model::RetestId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::extract::Id;
use super::problem::{ApiError, ApiResult};

/// The routes of this noun.
pub fn reading() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get))
}

/// The receipt of a retest. It verifies offline, from the root's fingerprint alone.
#[utoipa::path(get, path = "/receipts/{id}", tag = "receipts",
    params(("id" = String, Path, description = "Retest id, `r_…`")),
    responses((status = OK, content_type = "application/json", body = Object, description = "holdfast.receipt.v1"),
        (status = NOT_FOUND, body = holdfast_api_types::Problem), (status = SERVICE_UNAVAILABLE, body = holdfast_api_types::Problem)))]
async fn get(State(state): State<AppState>, Id(id): Id<RetestId>) -> ApiResult<Response> {
    let found = state.store.receipt(id).await?.ok_or_else(|| ApiError::not_found("receipt of retest", id))?;
    let receipt = found.receipt.ok_or_else(|| {
        ApiError::unavailable(
            "the attestation is recorded and waits for its place in the activity log; ask again in a moment",
        )
    })?;
    Ok(([(header::CONTENT_TYPE, "application/json")], receipt).into_response())
}
