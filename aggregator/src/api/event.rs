//! `/events`: live changes as server-sent events. A nudge to read again, not a record: nothing is replayed. The stream ends
//! with the token that opened it.

use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, StreamExt};
use serde_json::{Value, json};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{AppState, Caller};
use crate::live::LiveChange;

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The routes of this noun.
pub fn reading() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(watch))
}

/// Live changes: `finding`, `cluster`, `retest`, and `missed` when this reader was too slow and should read again.
#[utoipa::path(get, path = "/events", tag = "events",
    responses((status = OK, content_type = "text/event-stream", body = String)))]
async fn watch(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let changes = BroadcastStream::new(state.live.watch()).map(|change| Ok(event(change)));
    Sse::new(changes.take_until(state.live.revocation(caller.id))).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

fn event(change: Result<LiveChange, BroadcastStreamRecvError>) -> Event {
    let (name, data) = named(change);
    Event::default().event(name).data(data.to_string())
}

fn named(change: Result<LiveChange, BroadcastStreamRecvError>) -> (&'static str, Value) {
    match change {
        Ok(LiveChange::Finding { finding, cluster, status, severity }) => {
            ("finding", json!({ "finding_id": finding, "cluster_id": cluster, "status": status, "severity": severity }))
        }
        Ok(LiveChange::Cluster { cluster }) => ("cluster", json!({ "cluster_id": cluster })),
        Ok(LiveChange::Retest { retest, finding, verdict }) => {
            ("retest", json!({ "retest_id": retest, "finding_id": finding, "verdict": verdict }))
        }
        Err(BroadcastStreamRecvError::Lagged(missed)) => ("missed", json!({ "changes": missed })),
    }
}
