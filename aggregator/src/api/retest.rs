//! `/retests`: the questions that were put to clusters, with their answers.

use axum::Json;
use axum::extract::State;
use holdfast_model::RetestId;
use holdfast_store::RetestState;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::extract::Id;
use super::problem::{ApiError, ApiResult};
use holdfast_api_types::{Retest, Time};

/// The routes of this noun.
pub fn reading() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get))
}

/// One retest. Ask again until `settled`, or watch `/events`.
#[utoipa::path(get, path = "/retests/{id}", tag = "retests",
    params(("id" = String, Path, description = "Retest id, `r_…`")),
    responses((status = OK, body = Retest), (status = NOT_FOUND, body = holdfast_api_types::Problem)))]
async fn get(State(state): State<AppState>, Id(id): Id<RetestId>) -> ApiResult<Json<Retest>> {
    let retest = state.store.retest(id).await?.ok_or_else(|| ApiError::not_found("retest", id))?;
    Ok(Json(view(retest)))
}

/// What the API says of a stored retest.
pub(super) fn view(retest: holdfast_store::Retest) -> Retest {
    Retest {
        id: retest.id,
        finding_id: retest.finding,
        cause: retest.cause.to_string(),
        requested_at: Time(retest.requested_at),
        answered_at: retest.answered_at.map(Time),
        attempts: retest.attempts,
        receipt: retest.verdict.is_some(),
        verdict: retest.verdict,
        reason: retest.reason,
        reach: retest.reach,
        settled: matches!(retest.state, RetestState::Answered | RetestState::Ended),
    }
}
