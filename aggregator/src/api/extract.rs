//! Requests taken apart, with refusals that say what was expected. No handler sees a text that could have been an id.

use std::fmt::Display;
use std::str::FromStr;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::ApiError;

/// The one parameter of the path, parsed.
pub struct Id<T>(pub T);

impl<S: Send + Sync, T: FromStr<Err: Display>> FromRequestParts<S> for Id<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = path.map_err(|rejection| ApiError::invalid(rejection.body_text()))?;
        text.parse().map(Self).map_err(|error: T::Err| ApiError::invalid(error.to_string()))
    }
}

/// The query, parsed.
pub struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(params)| Self(params)).map_err(|rejection| ApiError::invalid(rejection.body_text()))
    }
}

/// The body, parsed.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(JsonRejection::BytesRejection(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(ApiError::too_large())
            }
            Err(rejection) => Err(ApiError::invalid(rejection.body_text())),
        }
    }
}

/// A list of words in one parameter, `high,critical`: all of them must be known.
pub fn words<T: FromStr<Err: Display>>(text: Option<&str>) -> Result<Vec<T>, ApiError> {
    let parts = text.unwrap_or_default().split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| part.parse().map_err(|error: T::Err| ApiError::invalid(error.to_string()))).collect()
}

/// The longest text that a filter or a note takes, in characters.
const MAX_TEXT: usize = 1000;

/// A text that is no longer than the API takes. U+0000 has no place in any database.
pub fn text(name: &str, text: Option<String>) -> Result<Option<String>, ApiError> {
    match text {
        Some(text) if text.chars().count() > MAX_TEXT => {
            Err(ApiError::invalid(format!("`{name}` is longer than {MAX_TEXT} characters")))
        }
        Some(text) if text.contains('\0') => Err(ApiError::invalid(format!("`{name}` contains U+0000"))),
        Some(text) if text.is_empty() => Ok(None),
        other => Ok(other),
    }
}

/// How many rows a page has when nobody says.
const DEFAULT_LIMIT: u32 = 100;
/// How many rows a page may have.
pub const MAX_LIMIT: u32 = 500;

/// The number of rows asked for, within bounds.
pub fn limit(asked: Option<u32>) -> Result<u32, ApiError> {
    match asked.unwrap_or(DEFAULT_LIMIT) {
        limit @ 1..=MAX_LIMIT => Ok(limit),
        other => Err(ApiError::invalid(format!("limit={other}: a page has 1 to {MAX_LIMIT} rows"))),
    }
}
