//! `/tokens`: API tokens, made and revoked. A secret is answered once and never again.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use holdfast_api_types::{NewToken, Page, Time, Token, TokenSecret};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Body, Id, text};
use super::problem::{ApiError, ApiResult};
use super::{AppState, Caller, issue};

/// The routes of this noun.
pub fn administering() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(revoke))
}

/// Every API token, latest first, without secrets.
#[utoipa::path(get, path = "/tokens", tag = "tokens", responses((status = OK, body = Page<Token>)))]
async fn list(State(state): State<AppState>) -> ApiResult<Json<Page<Token>>> {
    let tokens = state.store.api_tokens().await?;
    Ok(Json(Page::whole(tokens.into_iter().map(view).collect::<ApiResult<_>>()?)))
}

/// Makes a token.
#[utoipa::path(post, path = "/tokens", tag = "tokens", request_body = NewToken,
    responses((status = CREATED, body = TokenSecret), (status = BAD_REQUEST, body = holdfast_api_types::Problem)))]
async fn add(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<NewToken>,
) -> ApiResult<(StatusCode, Json<TokenSecret>)> {
    let name = text("name", Some(new.name))?.ok_or_else(|| ApiError::invalid("a token needs a name"))?;
    let issued = issue::issue(&state.store, &name, new.role, caller.actor(), state.now()).await?;
    Ok((StatusCode::CREATED, Json(TokenSecret { token: issued.text, stored: view(issued.stored)? })))
}

/// Revokes a token, from the next request on; live streams that it opened end now.
#[utoipa::path(post, path = "/tokens/{id}/revoke", tag = "tokens",
    params(("id" = String, Path, description = "Token id, `hf_api_…`")),
    responses((status = OK, body = Token), (status = NOT_FOUND, body = holdfast_api_types::Problem)))]
async fn revoke(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Id(id): Id<String>,
) -> ApiResult<Json<Token>> {
    let revoked = issue::revoke(&state.store, &id, caller.actor(), state.now()).await?;
    let revoked = revoked.ok_or_else(|| ApiError::not_found("API token", &id))?;
    state.live.revoke(&revoked.id);
    Ok(Json(view(revoked)?))
}

fn view(token: holdfast_store::ApiToken) -> ApiResult<Token> {
    let role = token.role.parse().map_err(|problem| ApiError::damaged(format!("API token {}: {problem}", token.id)))?;
    Ok(Token {
        id: token.id,
        name: token.name,
        role,
        created_at: Time(token.created_at),
        last_used_at: token.last_used_at.map(Time),
        revoked_at: token.revoked_at.map(Time),
    })
}
