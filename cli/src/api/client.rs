//! One HTTP client for all commands: bearer token, pages, refusals turned into sentences.
//!
//! The token goes to one server, over TLS or to this machine itself, and follows no redirect. Answers are bounded: a
//! server is no more trusted than a cluster.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::StreamExt;
use holdfast_api_types::Page;
use holdfast_api_types::Problem;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// Rows asked for at once: the server's own limit.
const PAGE_ROWS: usize = 500;

/// Where to ask, and as whom.
#[derive(Clone)]
pub struct Endpoint {
    /// Address of the API.
    pub server: String,
    /// API token.
    pub token: String,
    /// PEM file of the API's certificate authority.
    pub ca_file: Option<PathBuf>,
}

/// Shows the server, never the token.
impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("server", &self.server).finish_non_exhaustive()
    }
}

/// A client of one aggregator.
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: String,
}

impl Client {
    /// A client of this endpoint. Refuses to send a token where others could read it.
    pub fn new(endpoint: Endpoint) -> anyhow::Result<Self> {
        let base = base_url(&endpoint.server)?;
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .read_timeout(Duration::from_secs(60));
        if is_loopback(&base) {
            http = http.no_proxy();
        }
        if let Some(file) = &endpoint.ca_file {
            let pem = std::fs::read(file).with_context(|| format!("{} is unreadable", file.display()))?;
            let authority = reqwest::Certificate::from_pem_bundle(&pem)
                .with_context(|| format!("{} holds no PEM certificate", file.display()))?;
            http = http.tls_certs_merge(authority);
        }
        Ok(Self { http: http.build().context("no HTTP client could be made")?, base, token: endpoint.token })
    }

    /// GET one thing.
    pub async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> anyhow::Result<T> {
        self.answer(self.request(Method::GET, path)?).await
    }

    /// GET one thing with a query.
    pub async fn get_with<T: DeserializeOwned>(&self, path: &[&str], query: &impl Serialize) -> anyhow::Result<T> {
        self.answer(self.request(Method::GET, path)?.query(query)).await
    }

    /// POST a body, read the answer.
    pub async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> anyhow::Result<T> {
        self.answer(self.request(Method::POST, path)?.json(body)).await
    }

    /// PUT a body, read the answer.
    pub async fn put<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> anyhow::Result<T> {
        self.answer(self.request(Method::PUT, path)?.json(body)).await
    }

    /// GET a list, page after page, up to `limit` rows. Answers whether there are more.
    pub async fn list<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        limit: Option<usize>,
    ) -> anyhow::Result<(Vec<T>, bool)> {
        let mut rows = Vec::new();
        let mut cursor = None;
        loop {
            let left = limit.map_or(PAGE_ROWS, |limit| limit.saturating_sub(rows.len()).min(PAGE_ROWS));
            if left == 0 {
                return Ok((rows, cursor.is_some()));
            }
            let mut query = query.to_vec();
            query.push(("limit", left.to_string()));
            query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let page: Page<T> = self.get_with(path, &query).await?;
            let stuck = page.items.is_empty();
            rows.extend(page.items);
            match page.next_cursor {
                Some(next) if !stuck => cursor = Some(next),
                _ => return Ok((rows, false)),
            }
        }
    }

    fn request(&self, method: Method, path: &[&str]) -> anyhow::Result<RequestBuilder> {
        let mut url = self.base.clone();
        let mut segments = url.path_segments_mut().map_err(|()| anyhow::anyhow!("{} can't be asked", self.base))?;
        segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        drop(segments);
        Ok(self.http.request(method, url).bearer_auth(&self.token))
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<T> {
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = response.status();
        let body = bounded_body(response).await?;
        if !status.is_success() {
            return Err(refusal(status, &body));
        }
        serde_json::from_slice(&body)
            .context("the server's answer has another form than this version of holdfast knows")
    }

    fn unreachable(&self, error: reqwest::Error) -> anyhow::Error {
        let hint = format!("{} does not answer: is `holdfast up` running, and is --server right?", self.base);
        anyhow::Error::new(error.without_url()).context(hint)
    }
}

fn base_url(server: &str) -> anyhow::Result<Url> {
    let url: Url = server.parse().with_context(|| format!("{server:?} is no address: write https://host:port"))?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => {
            bail!("{url} is not encrypted, and the token would travel readable: use https, or a loopback address")
        }
        other => bail!("{other}: is no scheme that holdfast speaks: use https"),
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

async fn bounded_body(response: Response) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk.context("the answer broke off")?);
        if body.len() > MAX_ANSWER_BYTES {
            bail!("the answer is larger than {MAX_ANSWER_BYTES} bytes: narrow it with a filter or --limit");
        }
    }
    Ok(body)
}

/// What the server refused, in its own words.
#[derive(Debug)]
pub struct Refusal {
    /// Stable, for programs: `not-found`, `unavailable`.
    pub code: String,
    text: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Refusal {}

fn refusal(status: StatusCode, body: &[u8]) -> anyhow::Error {
    let Ok(problem) = serde_json::from_slice::<Problem>(body) else {
        return anyhow::anyhow!("the server answered {status}: is this the address of a Holdfast aggregator?");
    };
    let text = match status {
        StatusCode::UNAUTHORIZED => format!("the server does not know this token: {}", problem.detail),
        _ => format!("{}: {} ({})", problem.title, problem.detail, problem.code),
    };
    Refusal { code: problem.code, text }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_sent_unencrypted_to_another_machine() {
        for server in ["http://holdfast.example.com", "http://10.0.0.1:80", "http://127.0.0.1.example.com", "ftp://x"] {
            assert!(base_url(server).is_err(), "{server}");
        }
        for server in ["https://holdfast.example.com", "http://127.0.0.1:8470", "http://[::1]:1", "http://localhost:1"]
        {
            assert!(base_url(server).is_ok(), "{server}");
        }
    }

    #[test]
    fn an_answer_of_something_else_is_told_from_a_refusal() {
        let error = refusal(StatusCode::BAD_GATEWAY, b"<html>").to_string();
        assert!(error.contains("is this the address"), "{error}");
    }
}
