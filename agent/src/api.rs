//! The API server as plain HTTP: a path in, a status and a body out, and what a refusal means.
//!
//! `kube::Client` is used for what it is best at (kubeconfig, authentication, TLS) and for nothing else: bodies are read
//! here, as they arrive, so that no list is ever held as a whole and the exact bytes of a retest's read can be hashed.
//! This file knows no kind and no path; collectors and retests bring both.

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use kube::client::Body;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use holdfast_agent_core::text;

/// The largest answer that is taken in as a whole: an object (1.5 MiB in etcd), or an error.
const WHOLE_BYTES: usize = 16 * 1024 * 1024;

/// A connection to one API server.
#[derive(Clone)]
pub struct Api {
    client: kube::Client,
}

/// An answer that was read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// The body, byte for byte.
    pub body: Bytes,
}

/// Why the API server did not give what was asked for. The text is for people and carries no object's contents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 403: a right is missing.
    #[error("{0}")]
    Forbidden(String),
    /// 404: this API, or this resource of it, is not served.
    #[error("{0}")]
    NotServed(String),
    /// 410: the version or the continuation asked for is compacted away.
    #[error("{0}")]
    Expired(String),
    /// Another 4xx: the request itself is not understood.
    #[error("{0}")]
    NotUnderstood(String),
    /// No answer, a broken one, 401, 429 or 5xx: worth trying again.
    #[error("{0}")]
    Failing(String),
}

/// `meta.k8s.io/v1 Status`, as far as it is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    kind: String,
    reason: Option<String>,
    message: Option<String>,
    code: Option<u16>,
    details: Option<StatusDetails>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StatusDetails {
    name: Option<String>,
}

impl Api {
    /// Speaks through this client.
    pub fn new(client: kube::Client) -> Self {
        Self { client }
    }

    /// Reads one path to its end, whatever the status.
    pub async fn get(&self, path: &str) -> Result<Answer, Refusal> {
        self.get_as(path, "application/json").await
    }

    /// The same, in the form that `accept` asks for.
    pub async fn get_as(&self, path: &str, accept: &str) -> Result<Answer, Refusal> {
        let response = self.send(path, accept).await?;
        let status = response.status();
        Ok(Answer { status, body: whole(response.into_body()).await? })
    }

    /// Reads the object at a path.
    pub async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, Refusal> {
        self.get(path).await?.object()
    }

    /// Replaces the object at a path: the agent's own Lease and Secret, and nothing else. `None` where somebody has written it
    /// since it was read.
    pub async fn replace<T: Serialize + DeserializeOwned>(&self, path: &str, object: &T) -> Result<Option<T>, Refusal> {
        let answer = self.write(Method::PUT, path, object).await?;
        if answer.status == StatusCode::CONFLICT { Ok(None) } else { answer.object().map(Some) }
    }

    /// Asks for a review, which is a POST that keeps nothing, and gives it with its status.
    pub async fn review<T: Serialize + DeserializeOwned>(&self, path: &str, review: &T) -> Result<T, Refusal> {
        self.write(Method::POST, path, review).await?.object()
    }

    async fn write(&self, method: Method, path: &str, body: &impl Serialize) -> Result<Answer, Refusal> {
        let broken = |error: String| Refusal::NotUnderstood(format!("{}: {error}", text::line(path)));
        let body = serde_json::to_vec(body).map_err(|error| broken(error.to_string()))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .map_err(|error| broken(error.to_string()))?;
        let response = self.client.send(request).await.map_err(|error| Refusal::Failing(chain(&error)))?;
        let status = response.status();
        Ok(Answer { status, body: whole(response.into_body()).await? })
    }

    /// Opens one path for reading as it arrives. A status other than 200 is a refusal, read and explained.
    pub async fn open(
        &self,
        path: &str,
        accept: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, Refusal>> + Send + Unpin + use<>, Refusal> {
        let response = self.send(path, accept).await?;
        let status = response.status();
        if !status.is_success() {
            return Err(refusal(&Answer { status, body: whole(response.into_body()).await? }));
        }
        Ok(response.into_body().into_data_stream().map_err(|error| Refusal::Failing(chain(&error))).boxed())
    }

    async fn send(&self, path: &str, accept: &str) -> Result<http::Response<Body>, Refusal> {
        let request = Request::get(path)
            .header(header::ACCEPT, accept)
            .body(Body::empty())
            .map_err(|error| Refusal::NotUnderstood(format!("{}: {error}", text::line(path))))?;
        self.client.send(request).await.map_err(|error| Refusal::Failing(chain(&error)))
    }
}

impl Answer {
    /// Whether the API server, by name, says that this object does not exist: a `Status` of reason `NotFound` that repeats
    /// the name. A 404 without it means that the API is gone, which proves nothing about the object.
    pub fn proves_absence_of(&self, name: &str) -> bool {
        let names_it = |status: Status| {
            status.reason.as_deref() == Some("NotFound")
                && status.details.is_some_and(|details| details.name.as_deref() == Some(name))
        };
        self.status == StatusCode::NOT_FOUND && self.status_object().is_some_and(names_it)
    }

    /// The body as an object of this type, where the answer is a success.
    fn object<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        if !self.status.is_success() {
            return Err(refusal(self));
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| Refusal::Failing(format!("the answer is unreadable: {}", text::line(&error.to_string()))))
    }

    /// The body as a `Status`, where it is one.
    fn status_object(&self) -> Option<Status> {
        serde_json::from_slice::<Status>(&self.body).ok().filter(|status| status.kind == "Status")
    }
}

/// What an answer that is no success means.
pub fn refusal(answer: &Answer) -> Refusal {
    let message = match answer.status_object().and_then(|status| status.message) {
        Some(message) => text::line(&message),
        None => format!("the API server answered {}", answer.status),
    };
    by_code(answer.status.as_u16(), message)
}

impl Status {
    /// What this status means when it arrives inside a watch, where there is no HTTP status.
    pub fn into_refusal(self) -> Refusal {
        let message = self.message.as_deref().map_or_else(|| "the watch ended with an error".to_owned(), text::line);
        match self.reason.as_deref() {
            Some("Expired" | "Gone") => Refusal::Expired(message),
            _ => by_code(self.code.unwrap_or(500), message),
        }
    }
}

fn by_code(code: u16, message: String) -> Refusal {
    match code {
        403 => Refusal::Forbidden(message),
        404 => Refusal::NotServed(message),
        410 => Refusal::Expired(message),
        401 | 408 | 429 => Refusal::Failing(message),
        400..=499 => Refusal::NotUnderstood(message),
        _ => Refusal::Failing(message),
    }
}

async fn whole(body: Body) -> Result<Bytes, Refusal> {
    let mut parts = body.into_data_stream();
    let mut all = Vec::new();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|error| Refusal::Failing(chain(&error)))?;
        if all.len() + part.len() > WHOLE_BYTES {
            return Err(Refusal::Failing(format!("the answer is larger than {WHOLE_BYTES} bytes")));
        }
        all.extend_from_slice(&part);
    }
    Ok(all.into())
}

/// An error with all its causes, in one line. Errors of the client carry addresses and reasons, never credentials.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut sentence = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !sentence.contains(&cause_text) {
            sentence.push_str(": ");
            sentence.push_str(&cause_text);
        }
        next = cause.source();
    }
    text::line(&sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status: StatusCode::from_u16(status).unwrap(), body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    #[test]
    fn only_a_status_that_repeats_the_name_proves_absence() {
        let named = r#"{"kind":"Status","reason":"NotFound","code":404,"details":{"name":"web","kind":"pods"}}"#;
        assert!(answer(404, named).proves_absence_of("web"));
        assert!(!answer(404, named).proves_absence_of("shop"));
        assert!(!answer(404, "404 page not found\n").proves_absence_of("web"));
        assert!(!answer(404, r#"{"kind":"Status","reason":"NotFound","details":{}}"#).proves_absence_of("web"));
        assert!(!answer(403, named).proves_absence_of("web"));
    }

    #[test]
    fn a_refusal_repeats_the_servers_message_in_one_line() {
        let forbidden = answer(403, r#"{"kind":"Status","reason":"Forbidden","message":"pods is\nforbidden"}"#);
        assert_eq!(refusal(&forbidden), Refusal::Forbidden("pods is\\nforbidden".into()));
        assert!(matches!(refusal(&answer(404, "404 page not found")), Refusal::NotServed(_)));
        assert!(matches!(refusal(&answer(410, "")), Refusal::Expired(_)));
        assert!(matches!(refusal(&answer(422, "")), Refusal::NotUnderstood(_)));
        assert!(matches!(refusal(&answer(429, "")), Refusal::Failing(_)));
    }
}
