//! A client of the aggregator's API: requests on keep-alive connections, and one stream of server-sent events.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use holdfast_tests::scenario::Scenario;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long one change may take before the run fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client with the administrator's token.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Client {
    /// A client of a scenario's aggregator.
    pub fn new(scenario: &Scenario) -> Result<Self> {
        Ok(Self { http: reqwest::Client::builder().build()?, url: scenario.api_url(), token: scenario.token()? })
    }

    /// Reads a path.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let request = self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.token);
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    /// Posts to a path.
    pub async fn post(&self, path: &str) -> Result<Value> {
        let request = self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.token);
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    /// Watches live changes from now on.
    pub async fn changes(&self) -> Result<Stream<(String, Value)>> {
        let request = self.http.get(format!("{}/events", self.url)).bearer_auth(&self.token);
        let mut body = request.send().await?.error_for_status()?.bytes_stream();
        let (sender, stream) = Stream::new();
        tokio::spawn(async move {
            let (mut text, mut name) = (Vec::new(), String::new());
            while let Some(Ok(bytes)) = body.next().await {
                text.extend_from_slice(&bytes);
                while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = text.drain(..=end).collect();
                    let line = String::from_utf8_lossy(&line);
                    if let Some(event) = line.strip_prefix("event:") {
                        name = event.trim().to_owned();
                    } else if let Some(Ok(data)) = line.strip_prefix("data:").map(serde_json::from_str) {
                        // The receiver is dropped when the measurement is over.
                        let _ = sender.send((Instant::now(), (name.clone(), data)));
                    }
                }
            }
        });
        Ok(stream)
    }
}

/// Received items, each with its time of arrival.
pub struct Stream<T> {
    arrived: mpsc::UnboundedReceiver<(Instant, T)>,
}

impl<T> Stream<T> {
    /// A stream and its sender.
    pub fn new() -> (mpsc::UnboundedSender<(Instant, T)>, Self) {
        let (sender, arrived) = mpsc::unbounded_channel();
        (sender, Self { arrived })
    }

    /// The time at which the first matching item arrived; earlier items are dropped.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&T) -> bool) -> Result<Instant> {
        let search = async {
            while let Some((at, item)) = self.arrived.recv().await {
                if wanted(&item) {
                    return Ok(at);
                }
            }
            bail!("the stream ended before {what}")
        };
        timeout(PATIENCE, search).await.with_context(|| format!("waiting for {what}"))?
    }
}
