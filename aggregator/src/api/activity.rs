//! `/activity`: the append-only log, its signed heads, and the proofs that let anyone check it offline.

use axum::Json;
use axum::extract::State;
use data_encoding::HEXLOWER;
use holdfast_model::{ClusterId, FindingId};
use holdfast_store::{EventFilter, EventId, StoredEvent};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::extract::{Params, limit, text};
use super::problem::{ApiError, ApiResult};
use crate::activity;
use holdfast_api_types::Problem;
use holdfast_api_types::{Activity, ConsistencyProof, Entry, Head, InclusionProof, Leaf, Page, Time};

/// What a token may read of this noun.
pub fn reading() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(leaves))
        .routes(routes!(head))
        .routes(routes!(inclusion))
        .routes(routes!(consistency))
}

/// Which entries, from where on.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Of this cluster.
    cluster: Option<String>,
    /// Of this finding.
    finding: Option<String>,
    /// Of this kind, as `finding-verified`.
    event: Option<String>,
    /// Not older than this time.
    since: Option<String>,
    /// Where the last page ended.
    cursor: Option<String>,
    /// Rows of a page, 1 to 500; 100 if not given.
    limit: Option<u32>,
}

/// Entries, latest first. The latest may not have their place in the log yet.
#[utoipa::path(get, path = "/activity", tag = "activity", params(ListQuery),
    responses((status = OK, body = Page<Activity>), (status = BAD_REQUEST, body = Problem)))]
async fn list(State(state): State<AppState>, Params(query): Params<ListQuery>) -> ApiResult<Json<Page<Activity>>> {
    let limit = limit(query.limit)?;
    let parse = |text: &str| text.parse::<Time>().map_err(ApiError::invalid);
    let since = query.since.as_deref().map(parse).transpose()?;
    let filter = EventFilter {
        cluster: query.cluster.as_deref().map(str::parse::<ClusterId>).transpose().map_err(invalid)?,
        finding: query.finding.as_deref().map(str::parse::<FindingId>).transpose().map_err(invalid)?,
        event: text("event", query.event)?,
        before: query.cursor.as_deref().map(parse_cursor).transpose()?,
    };
    let events = state.store.events(&filter, limit).await?;
    let full = events.len() == limit as usize;
    let found = events.len();
    let kept: Vec<_> =
        events.into_iter().take_while(|event| since.is_none_or(|since| !is_older(event, since))).collect();
    let next_cursor = kept.last().filter(|_| full && kept.len() == found).map(|event| event.id.to_string());
    Ok(Json(Page { items: kept.into_iter().map(view).collect(), next_cursor }))
}

/// From which entry on, how many.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LeavesQuery {
    /// The first entry's place in the log; 0 if not given. A page's `next_cursor` is the next one's.
    cursor: Option<u64>,
    /// Rows of a page, 1 to 500; 100 if not given.
    limit: Option<u32>,
}

/// Entries in the order of the log: what a verifier reads.
#[utoipa::path(get, path = "/activity/log", tag = "activity", params(LeavesQuery),
    responses((status = OK, body = Page<Activity>), (status = BAD_REQUEST, body = Problem)))]
async fn leaves(State(state): State<AppState>, Params(query): Params<LeavesQuery>) -> ApiResult<Json<Page<Activity>>> {
    let limit = limit(query.limit)?;
    let events = state.store.events_from(query.cursor.unwrap_or_default(), limit).await?;
    let last = events.last().filter(|_| events.len() == limit as usize).and_then(|event| event.log_index);
    let next_cursor = last.map(|index| (index + 1).to_string());
    Ok(Json(Page { items: events.into_iter().map(view).collect(), next_cursor }))
}

/// The latest signed head.
#[utoipa::path(get, path = "/activity/head", tag = "activity",
    responses((status = OK, body = Head), (status = NOT_FOUND, body = Problem)))]
async fn head(State(state): State<AppState>) -> ApiResult<Json<Head>> {
    let head = state.store.log_head().await?.ok_or_else(|| ApiError::not_found("signed head", "yet"))?;
    Ok(Json(Head {
        size: head.size,
        root_hash: HEXLOWER.encode(&head.root),
        at: Time(head.at),
        signed: head.signed,
        signature: HEXLOWER.encode(&head.signature),
        certificate: HEXLOWER.encode(&head.certificate),
        root_certificate: HEXLOWER.encode(state.authority.root()),
    }))
}

/// Which entry, in the log of which size.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct InclusionQuery {
    /// The entry's place in the log.
    index: u64,
    /// The size of the log, as a signed head gives it.
    size: u64,
}

/// Proof that an entry is in the log of this size.
#[utoipa::path(get, path = "/activity/inclusion", tag = "activity", params(InclusionQuery),
    responses((status = OK, body = InclusionProof), (status = NOT_FOUND, body = Problem)))]
async fn inclusion(
    State(state): State<AppState>,
    Params(InclusionQuery { index, size }): Params<InclusionQuery>,
) -> ApiResult<Json<InclusionProof>> {
    let path = activity::inclusion(&state.store, index, size).await?;
    let path = path.ok_or_else(|| ApiError::not_found("entry", format!("{index} in a log of {size}")))?;
    Ok(Json(InclusionProof { index, size, hashes: hex(&path) }))
}

/// Which two sizes of the log.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ConsistencyQuery {
    /// The shorter log's size.
    first: u64,
    /// The longer log's size.
    second: u64,
}

/// Proof that the longer log continues the shorter one.
#[utoipa::path(get, path = "/activity/consistency", tag = "activity", params(ConsistencyQuery),
    responses((status = OK, body = ConsistencyProof), (status = NOT_FOUND, body = Problem)))]
async fn consistency(
    State(state): State<AppState>,
    Params(ConsistencyQuery { first, second }): Params<ConsistencyQuery>,
) -> ApiResult<Json<ConsistencyProof>> {
    let path = activity::consistency(&state.store, first, second).await?;
    let path = path.ok_or_else(|| ApiError::not_found("proof", format!("from {first} to {second} entries")))?;
    Ok(Json(ConsistencyProof { first, second, hashes: hex(&path) }))
}

fn hex(path: &[[u8; 32]]) -> Vec<String> {
    path.iter().map(|hash| HEXLOWER.encode(hash)).collect()
}

fn invalid(error: impl std::fmt::Display) -> ApiError {
    ApiError::invalid(error.to_string())
}

fn parse_cursor(text: &str) -> ApiResult<EventId> {
    let bytes = HEXLOWER.decode(text.as_bytes()).ok();
    let id = bytes.and_then(|bytes| EventId::from_slice(&bytes));
    id.ok_or_else(|| ApiError::invalid("this is no cursor of the activity log"))
}

/// Entries without a body keep their place whatever their time was.
fn is_older(event: &StoredEvent, since: Time) -> bool {
    event.activity.as_ref().is_some_and(|activity| activity.at < since.0)
}

fn view(event: StoredEvent) -> Activity {
    let entry = event.activity.map(|activity| Entry {
        at: Time(activity.at),
        actor: activity.actor.into(),
        event: activity.event,
        cluster_id: activity.cluster,
        finding_id: activity.finding,
        cause: activity.cause,
        detail: activity.detail,
    });
    Activity { index: event.log_index, leaf: Leaf { hash: HEXLOWER.encode(&event.leaf), bytes: event.body }, entry }
}
