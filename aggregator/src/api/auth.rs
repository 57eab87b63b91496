//! The door: every request under /api/v1 proves who asks, and is let through only to what its role may do.
//!
//! A group of routes is wrapped once, in the router; a handler cannot forget the check, and reads the caller from the request.

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use holdfast_api_types::Role;
use holdfast_model::Actor;
use holdfast_store::ApiToken;

use super::AppState;
use super::issue;
use super::problem::{ApiError, ApiResult};
use super::role::Access;

/// A use is noted this often: often enough for people, seldom enough for the database.
const NOTE_USE_EVERY_MILLIS: i64 = 10 * 60 * 1000;

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The token's id, which is what the activity log keeps.
    pub id: String,
    /// What it may do.
    pub role: Role,
}

impl Caller {
    /// As the record knows the caller.
    pub fn actor(&self) -> Actor {
        Actor::User(self.id.clone())
    }
}

/// Lets a request pass if its token is in force and its role may do this.
pub async fn guard(
    State((state, access)): State<(AppState, Access)>,
    mut request: Request,
    next: Next,
) -> ApiResult<Response> {
    let text = bearer(&request).ok_or_else(ApiError::unauthenticated)?;
    let found = issue::check(&state.store, text, state.now()).await?;
    let token = found.ok_or_else(ApiError::unauthenticated)?;
    let role: Role = token.role.parse().map_err(|_| ApiError::forbidden("this token's role is not known here"))?;
    if !access.is_granted_to(role) {
        return Err(ApiError::forbidden(format!("the role {role} may not {access}")));
    }
    note_use(&state, &token).await;
    request.extensions_mut().insert(Caller { id: token.id, role });
    Ok(next.run(request).await)
}

fn bearer(request: &Request) -> Option<&str> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, text) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(text.trim())
}

/// A note that fails is logged and refuses nobody.
async fn note_use(state: &AppState, token: &ApiToken) {
    let now = state.now();
    if token.last_used_at.is_some_and(|at| now - at < NOTE_USE_EVERY_MILLIS) {
        return;
    }
    let noted = async {
        let mut tx = state.store.begin().await?;
        tx.use_api_token(&token.id, now).await?;
        tx.commit().await
    };
    if let Err(error) = noted.await {
        tracing::warn!(token.id = token.id, error = %super::problem::chain(&error), "noting the use of a token failed");
    }
}
