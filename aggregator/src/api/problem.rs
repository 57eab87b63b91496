//! Every refusal of the API, as problem+json (RFC 9457): a status, a stable machine code and a sentence that says what to do.
//!
//! The only place that maps to HTTP statuses. A failure of ours is logged here once, with its whole chain; the client
//! reads nothing of its inside.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use holdfast_api_types::Problem;
use holdfast_record::Refused;
use holdfast_store::StoreError;

use super::issue::IssueError;
use crate::activity::ActivityError;
use crate::enrol::EnrolError;
use crate::writer::WriteError;

/// A refusal on its way out.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, title, detail: detail.into() }
    }

    /// The request makes no sense: a malformed id, an unknown word, a cursor of another list.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-request", "The request is malformed", detail)
    }

    /// No token, or none that is known.
    pub fn unauthenticated() -> Self {
        let detail = "send `Authorization: Bearer hf_api_…` with a token that has not been revoked";
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Who is asking is not known", detail)
    }

    /// The token's role may not do this.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "This token may not do that", detail)
    }

    /// There is no such thing.
    pub fn not_found(what: &str, id: impl std::fmt::Display) -> Self {
        let detail = format!("there is no {what} {id}");
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    /// It contradicts what is there: a name taken, a step that the lifecycle does not have.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "It does not fit what is there", detail)
    }

    /// The body is larger than any request needs.
    pub fn too_large() -> Self {
        let detail = "the body is larger than the API takes";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large", detail)
    }

    /// The path exists, the method on it doesn't.
    pub fn method_not_allowed() -> Self {
        let detail = "this path does not take that method; /api/v1/openapi.json lists what it takes";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", detail)
    }

    /// The client may try again later.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available right now", detail)
    }

    /// It took too long.
    pub fn timeout() -> Self {
        let detail = "the request took longer than the server allows; narrow it with a filter or a smaller limit";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", "It took too long", detail)
    }

    /// What is stored cannot be read: logged, and answered without its inside.
    pub fn damaged(what: String) -> Self {
        let error: Box<dyn std::error::Error + Send + Sync> = what.into();
        Self::internal(error.as_ref())
    }

    /// A failure of ours: logged with its chain, answered without it.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = %chain(error), "request failed");
        let detail = "the server could not answer; its log has the reason";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Problem {
            kind: format!("urn:holdfast:problem:{}", self.code),
            title: self.title.to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            code: self.code.to_owned(),
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// An error with all its sources, for the log.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What a handler answers.
pub type ApiResult<T> = Result<T, ApiError>;

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::internal(&error)
    }
}

impl From<EnrolError> for ApiError {
    fn from(error: EnrolError) -> Self {
        match &error {
            EnrolError::UnknownCluster(id) => Self::not_found("cluster", id),
            EnrolError::UnknownToken => Self::not_found("join token", "with this id"),
            EnrolError::Name
            | EnrolError::NodeName
            | EnrolError::Terms
            | EnrolError::NoFingerprint
            | EnrolError::Request(_) => Self::invalid(error.to_string()),
            EnrolError::NameTaken(_)
            | EnrolError::ClusterRevoked(_)
            | EnrolError::TokenRevoked(_)
            | EnrolError::TokenExpired(_)
            | EnrolError::TokenUsedUp(_)
            | EnrolError::OtherFingerprint(_)
            | EnrolError::FingerprintTaken(_) => Self::conflict(error.to_string()),
            EnrolError::Store(_) | EnrolError::Authority(_) | EnrolError::Event(_) => Self::internal(&error),
        }
    }
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        match &error {
            WriteError::Refused(Refused::Unknown) => Self::not_found("finding", "with this id"),
            WriteError::NoCluster => Self::not_found("cluster", "with this id that is a member"),
            WriteError::Refused(_) => Self::conflict(error.to_string()),
            WriteError::Stopped => Self::unavailable("the aggregator is shutting down; ask again in a moment"),
            _ => Self::internal(&error),
        }
    }
}

impl From<IssueError> for ApiError {
    fn from(error: IssueError) -> Self {
        Self::internal(&error)
    }
}

impl From<ActivityError> for ApiError {
    fn from(error: ActivityError) -> Self {
        Self::internal(&error)
    }
}
