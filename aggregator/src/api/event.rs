//! `/events`: live changes as server-sent events. A reason to read again, not a record: nothing is replayed. The stream ends
//! with the token that opened it.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, StreamExt};
use holdfast_api_types::LiveEvent;
use holdfast_api_types::live::{ChangesMissed, ClusterChanged, FindingChanged, RetestAnswered};
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
    responses((status = OK, content_type = "text/event-stream", body = LiveEvent)))]
async fn watch(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
) -> Sse<impl Stream<Item = Result<Event, axum::Error>>> {
    let changes = BroadcastStream::new(state.live.watch()).map(event);
    Sse::new(changes.take_until(state.live.revocation(caller.id))).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

fn event(change: Result<LiveChange, BroadcastStreamRecvError>) -> Result<Event, axum::Error> {
    let event = typed(change);
    let data = event.data().map_err(axum::Error::new)?;
    Ok(Event::default().event(event.name()).data(data))
}

fn typed(change: Result<LiveChange, BroadcastStreamRecvError>) -> LiveEvent {
    match change {
        Ok(LiveChange::Finding { finding, cluster, status, severity }) => {
            LiveEvent::Finding(FindingChanged { finding_id: finding, cluster_id: cluster, status, severity })
        }
        Ok(LiveChange::Cluster { cluster }) => LiveEvent::Cluster(ClusterChanged { cluster_id: cluster }),
        Ok(LiveChange::Retest { retest, finding, verdict }) => {
            LiveEvent::Retest(RetestAnswered { retest_id: retest, finding_id: finding, verdict })
        }
        Err(BroadcastStreamRecvError::Lagged(changes)) => LiveEvent::Missed(ChangesMissed { changes }),
    }
}
