//! What wraps every answer: time and size limits, security headers, refusals in one form.

use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderValue, Uri};
use axum::middleware::{self, Next};
use axum::response::Response;

use super::problem::{ApiError, ApiResult};

/// The largest body: a scope with thousands of namespaces fits.
const MAX_BODY_BYTES: usize = 256 * 1024;
/// How long an answer may take to begin. A stream of events begins at once.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Nothing of ours may be framed, sniffed, cached or read across origins; there is no CORS.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// The router in its shell.
pub fn wrap(router: Router) -> Router {
    router
        .fallback(async |uri: Uri| ApiError::not_found("path", uri.path().chars().take(200).collect::<String>()))
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(in_time))
        .layer(middleware::map_response(guarded))
}

async fn in_time(request: Request, next: Next) -> ApiResult<Response> {
    tokio::time::timeout(TIMEOUT, next.run(request)).await.map_err(|_| ApiError::timeout())
}

async fn guarded(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
