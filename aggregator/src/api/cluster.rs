//! `/clusters`: who belongs to the fleet, how to join, what can be seen, what is left out.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use holdfast_model::ClusterId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Body, Id};
use super::problem::{ApiError, ApiResult};
use super::{AppState, Caller};
use crate::enrol::{NewToken, TokenTerms};
use holdfast_api_types::Problem;
use holdfast_api_types::{
    Cluster, Coverage, IssuedJoinToken, NewCluster, NewScope, NodeCoverage, Page, Scope, ScopeProposal, Time,
};

/// The most namespaces that a scope may leave out.
const MAX_EXCLUDED: usize = 5000;

/// What a token may read of this noun.
pub fn reading() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get)).routes(routes!(coverage)).routes(routes!(scope))
}

/// What runs clusters.
pub fn operating() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(add))
        .routes(routes!(new_token))
        .routes(routes!(revoke))
        .routes(routes!(set_scope))
}

/// Every cluster, by name.
#[utoipa::path(get, path = "/clusters", tag = "clusters", responses((status = OK, body = Page<Cluster>)))]
async fn list(State(state): State<AppState>) -> ApiResult<Json<Page<Cluster>>> {
    let clusters = state.store.clusters().await?;
    let coverage = state.store.node_coverage(None).await?;
    let coverage: BTreeMap<_, _> = coverage.into_iter().map(|coverage| (coverage.cluster, coverage)).collect();
    let views = clusters.into_iter().map(|cluster| {
        let coverage = coverage.get(&cluster.id).copied();
        view(&state, cluster, coverage)
    });
    Ok(Json(Page::whole(views.collect())))
}

/// One cluster.
#[utoipa::path(get, path = "/clusters/{id}", tag = "clusters", params(("id" = String, Path, description = "Cluster id")),
    responses((status = OK, body = Cluster), (status = NOT_FOUND, body = Problem)))]
async fn get(State(state): State<AppState>, Id(id): Id<ClusterId>) -> ApiResult<Json<Cluster>> {
    Ok(Json(one(&state, id).await?))
}

/// What can and cannot be seen of a cluster.
#[utoipa::path(get, path = "/clusters/{id}/coverage", tag = "clusters",
    params(("id" = String, Path, description = "Cluster id")),
    responses((status = OK, body = Page<Coverage>), (status = NOT_FOUND, body = Problem)))]
async fn coverage(State(state): State<AppState>, Id(id): Id<ClusterId>) -> ApiResult<Json<Page<Coverage>>> {
    known(&state, id).await?;
    let coverage = state.store.coverage(Some(id)).await?.into_iter().map(|of| Coverage {
        subject: of.coverage.subject,
        state: of.coverage.state,
        reason: of.coverage.reason,
        since: Time(of.coverage.since),
    });
    Ok(Json(Page::whole(coverage.collect())))
}

/// Which namespaces are left out, and what namespace labels propose.
#[utoipa::path(get, path = "/clusters/{id}/scope", tag = "clusters",
    params(("id" = String, Path, description = "Cluster id")),
    responses((status = OK, body = Scope), (status = NOT_FOUND, body = Problem)))]
async fn scope(State(state): State<AppState>, Id(id): Id<ClusterId>) -> ApiResult<Json<Scope>> {
    known(&state, id).await?;
    Ok(Json(present_scope(&state, id).await?))
}

/// Sets which namespaces are left out. Their findings retire as out of scope, or are looked at again.
#[utoipa::path(put, path = "/clusters/{id}/scope", tag = "clusters", request_body = NewScope,
    params(("id" = String, Path, description = "Cluster id")),
    responses((status = OK, body = Scope), (status = BAD_REQUEST, body = Problem), (status = NOT_FOUND, body = Problem)))]
async fn set_scope(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Id(id): Id<ClusterId>,
    Body(new): Body<NewScope>,
) -> ApiResult<Json<Scope>> {
    known(&state, id).await?;
    state.writer.set_scope(caller.actor(), id, namespaces(new)?).await?;
    Ok(Json(present_scope(&state, id).await?))
}

/// Each name once, in order, and of the form that Kubernetes gives to namespaces (RFC 1123 label).
fn namespaces(new: NewScope) -> ApiResult<Vec<String>> {
    let fits = |name: &String| {
        let of_form = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        (1..=63).contains(&name.len()) && of_form
    };
    if new.excluded_namespaces.len() > MAX_EXCLUDED {
        return Err(ApiError::invalid(format!("a scope leaves out at most {MAX_EXCLUDED} namespaces")));
    }
    if let Some(odd) = new.excluded_namespaces.iter().find(|name| !fits(name)) {
        let shown: String = odd.chars().take(64).flat_map(char::escape_default).collect();
        return Err(ApiError::invalid(format!("\"{shown}\" is no name of a namespace")));
    }
    Ok(BTreeSet::from_iter(new.excluded_namespaces).into_iter().collect())
}

async fn present_scope(state: &AppState, id: ClusterId) -> ApiResult<Scope> {
    let proposals = state.store.scope_proposals(id).await?.into_iter().map(|proposal| ScopeProposal {
        namespace: proposal.namespace,
        proposal: format!("{}={}", proposal.label, proposal.value),
        since: Time(proposal.since),
    });
    let proposals = proposals.collect();
    Ok(Scope { excluded_namespaces: state.store.excluded_namespaces(id).await?, proposals })
}

/// Adds a cluster and makes the join token of its agent.
#[utoipa::path(post, path = "/clusters", tag = "clusters", request_body = NewCluster,
    responses((status = CREATED, body = IssuedJoinToken), (status = CONFLICT, body = Problem)))]
async fn add(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<NewCluster>,
) -> ApiResult<(StatusCode, Json<IssuedJoinToken>)> {
    let made = state.enrolments.add_cluster(&new.name, TokenTerms::default(), caller.actor()).await?;
    Ok((StatusCode::CREATED, Json(join_token(made, new.name))))
}

/// Makes another join token: for an agent that lost its credential, or never came.
#[utoipa::path(post, path = "/clusters/{id}/tokens", tag = "clusters",
    params(("id" = String, Path, description = "Cluster id")),
    responses((status = CREATED, body = IssuedJoinToken), (status = NOT_FOUND, body = Problem), (status = CONFLICT, body = Problem)))]
async fn new_token(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Id(id): Id<ClusterId>,
) -> ApiResult<(StatusCode, Json<IssuedJoinToken>)> {
    let cluster = known(&state, id).await?;
    let made = state.enrolments.add_token(id, TokenTerms::default(), caller.actor()).await?;
    Ok((StatusCode::CREATED, Json(join_token(made, cluster.name))))
}

/// Revokes a cluster: its agent is refused from now on, its record stays.
#[utoipa::path(post, path = "/clusters/{id}/revoke", tag = "clusters",
    params(("id" = String, Path, description = "Cluster id")),
    responses((status = OK, body = Cluster), (status = NOT_FOUND, body = Problem)))]
async fn revoke(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Id(id): Id<ClusterId>,
) -> ApiResult<Json<Cluster>> {
    state.enrolments.revoke_cluster(id, caller.actor()).await?;
    Ok(Json(one(&state, id).await?))
}

fn join_token(made: NewToken, cluster: String) -> IssuedJoinToken {
    IssuedJoinToken { cluster_id: made.cluster, cluster, token: made.token.reveal(), expires_at: Time(made.expires_at) }
}

/// The cluster with this id, which must be on record.
async fn known(state: &AppState, id: ClusterId) -> ApiResult<holdfast_store::Cluster> {
    state.store.cluster(id).await?.ok_or_else(|| ApiError::not_found("cluster", id))
}

async fn one(state: &AppState, id: ClusterId) -> ApiResult<Cluster> {
    let cluster = known(state, id).await?;
    let coverage = state.store.node_coverage(Some(id)).await?;
    Ok(view(state, cluster, coverage.first().copied()))
}

fn view(state: &AppState, cluster: holdfast_store::Cluster, coverage: Option<holdfast_store::NodeCoverage>) -> Cluster {
    let connected = state.sessions.is_connected(cluster.id);
    let (expected, available) = coverage.map_or((0, 0), |coverage| (coverage.nodes, coverage.available));
    Cluster {
        id: cluster.id,
        connected,
        nodes: NodeCoverage { expected, available: connected.then_some(available) },
        name: cluster.name,
        fingerprint: cluster.fingerprint,
        server_version: cluster.server_version,
        agent_version: cluster.agent_version,
        last_seen_at: cluster.last_seen_at.map(Time),
        added_at: Time(cluster.added_at),
        revoked_at: cluster.revoked_at.map(Time),
    }
}
