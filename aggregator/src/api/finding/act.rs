//! The steps that an owner takes: start, resolve, withdraw, retest. The record decides whether a step exists.

use axum::extract::State;
use axum::{Extension, Json};
use holdfast_model::FindingId;
use holdfast_record::RetestCause;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{names, row};
use crate::api::extract::{Body, Id, text};
use crate::api::problem::{ApiError, ApiResult};
use crate::api::{AppState, Caller};
use crate::writer::Action;
use holdfast_api_types::Problem;
use holdfast_api_types::{ActionResult, Note};

/// What moves findings.
pub fn working() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(start))
        .routes(routes!(resolve))
        .routes(routes!(withdraw))
        .routes(routes!(retest))
}

type Answer = ApiResult<Json<ActionResult>>;

/// The owner works on it.
#[utoipa::path(post, path = "/findings/{id}/start", tag = "findings",
    params(("id" = String, Path, description = "Finding id")),
    responses((status = OK, body = ActionResult), (status = NOT_FOUND, body = Problem), (status = CONFLICT, body = Problem)))]
async fn start(State(state): State<AppState>, Extension(caller): Extension<Caller>, Id(id): Id<FindingId>) -> Answer {
    act(&state, &caller, id, Action::Start).await
}

/// The owner says that it is fixed. A retest is requested by itself; only its verdict closes the finding.
#[utoipa::path(post, path = "/findings/{id}/resolve", tag = "findings", request_body = Note,
    params(("id" = String, Path, description = "Finding id")),
    responses((status = OK, body = ActionResult), (status = NOT_FOUND, body = Problem), (status = CONFLICT, body = Problem)))]
async fn resolve(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Id(id): Id<FindingId>,
    Body(note): Body<Note>,
) -> Answer {
    let note = text("note", note.note)?.unwrap_or_default();
    act(&state, &caller, id, Action::Claim(note)).await
}

/// The owner takes the claim back.
#[utoipa::path(post, path = "/findings/{id}/withdraw", tag = "findings",
    params(("id" = String, Path, description = "Finding id")),
    responses((status = OK, body = ActionResult), (status = NOT_FOUND, body = Problem), (status = CONFLICT, body = Problem)))]
async fn withdraw(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Id(id): Id<FindingId>,
) -> Answer {
    act(&state, &caller, id, Action::WithdrawClaim).await
}

/// Someone wants a fresh look, whatever the status. An offline agent gets the question when it returns.
#[utoipa::path(post, path = "/findings/{id}/retest", tag = "findings",
    params(("id" = String, Path, description = "Finding id")),
    responses((status = OK, body = ActionResult), (status = NOT_FOUND, body = Problem), (status = CONFLICT, body = Problem)))]
async fn retest(State(state): State<AppState>, Extension(caller): Extension<Caller>, Id(id): Id<FindingId>) -> Answer {
    act(&state, &caller, id, Action::RequestRetest(RetestCause::User)).await
}

async fn act(state: &AppState, caller: &Caller, id: FindingId, action: Action) -> Answer {
    let before = state.store.finding(id).await?.ok_or_else(|| ApiError::not_found("finding", id))?;
    let finding = state.writer.act(caller.actor(), before.key.cluster, id, action).await?;
    let names = names(&state.store.clusters().await?);
    Ok(Json(ActionResult { finding: row(&finding, &names), retest_id: finding.state.retest }))
}
