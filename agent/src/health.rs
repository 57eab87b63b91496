//! Two answers for the kubelet: whether the process lives, and whether it does its work. Nothing else is served, and no
//! path, header or body of a request is looked at beyond that.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// How a part of the agent is doing, for `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It does its work, or stands by for it.
    Ready,
    /// It does not, for this reason.
    NotReady(String),
}

/// What each part says of itself.
pub type Parts = Arc<Vec<(&'static str, watch::Receiver<Readiness>)>>;

/// Begins to listen. Gives the address, and what serves until it is dropped.
pub async fn listen(address: SocketAddr, parts: Parts) -> Result<(SocketAddr, impl Future<Output = ()>)> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("cannot listen at {address} for health checks"))?;
    let address = listener.local_addr()?;
    let router = Router::new().route("/healthz", get(|| async { "alive\n" })).route("/readyz", get(ready));
    let serving = async move {
        if let Err(error) = axum::serve(listener, router.with_state(parts)).await {
            tracing::error!(%error, "health checks are not answered any more");
        }
    };
    Ok((address, serving))
}

async fn ready(State(parts): State<Parts>) -> (StatusCode, String) {
    let not = parts.iter().filter_map(|(part, readiness)| match &*readiness.borrow() {
        Readiness::Ready => None,
        Readiness::NotReady(why) => Some(format!("{part}: {why}\n")),
    });
    let not: String = not.collect();
    if not.is_empty() { (StatusCode::OK, "ready\n".to_owned()) } else { (StatusCode::SERVICE_UNAVAILABLE, not) }
}
