//! `/findings`: the list, the whole record of one, and the steps that an owner takes.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use holdfast_model::{ClusterId, FindingId, PatternId};
use holdfast_store::{Cursor, FindingFilter, Sort};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::extract::{Id, Params, limit, text, words};
use super::problem::{ApiError, ApiResult};
use holdfast_api_types::Problem;
use holdfast_api_types::{Finding, FindingRow, Page};

mod act;
mod show;

pub use act::working;

/// How many retests and events the whole record shows.
const MAX_SHOWN: u32 = 200;

/// What a token may read of this noun.
pub fn reading() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get))
}

/// Which findings, in which order, from where on.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Of these clusters: ids, separated by commas.
    cluster: Option<String>,
    /// In this namespace.
    namespace: Option<String>,
    /// Of this control.
    control: Option<String>,
    /// Of these severities, separated by commas.
    severity: Option<String>,
    /// Of these statuses, separated by commas.
    status: Option<String>,
    /// Of this owner.
    owner: Option<String>,
    /// Of this pattern.
    pattern: Option<String>,
    /// Resolved, but not proved so far for a stated reason.
    unverified: Option<bool>,
    /// Whose kind, namespace, name or control contains this.
    q: Option<String>,
    /// `severity`, worst first (the default), or `changed`, latest first.
    sort: Option<String>,
    /// Where the last page ended.
    cursor: Option<String>,
    /// Rows of a page, 1 to 500; 100 if not given.
    limit: Option<u32>,
}

impl ListQuery {
    fn filter(&mut self) -> ApiResult<FindingFilter> {
        Ok(FindingFilter {
            clusters: words::<ClusterId>(self.cluster.as_deref())?,
            namespace: text("namespace", self.namespace.take())?,
            control: text("control", self.control.take())?,
            archetype: None,
            severities: words(self.severity.as_deref())?,
            statuses: words(self.status.as_deref())?,
            owner: text("owner", self.owner.take())?,
            pattern: words::<PatternId>(self.pattern.as_deref())?.first().copied(),
            unverified: self.unverified,
            text: text("q", self.q.take())?,
        })
    }

    fn sort(&self) -> ApiResult<Sort> {
        match self.sort.as_deref() {
            None | Some("severity") => Ok(Sort::Severity),
            Some("changed") => Ok(Sort::Changed),
            Some(_) => Err(ApiError::invalid("sort is `severity` or `changed`")),
        }
    }

    fn cursor(&self) -> ApiResult<Option<Cursor>> {
        self.cursor.as_deref().map(str::parse).transpose().map_err(ApiError::invalid)
    }
}

/// A page of findings.
#[utoipa::path(get, path = "/findings", tag = "findings", params(ListQuery),
    responses((status = OK, body = Page<FindingRow>), (status = BAD_REQUEST, body = Problem)))]
async fn list(
    State(state): State<AppState>,
    Params(mut query): Params<ListQuery>,
) -> ApiResult<Json<Page<FindingRow>>> {
    let (sort, cursor, limit) = (query.sort()?, query.cursor()?, limit(query.limit)?);
    let page = state.store.findings(&query.filter()?, sort, cursor, limit).await?;
    let names = names(&state.store.clusters().await?);
    let items = page.findings.iter().map(|finding| show::row(finding, &names)).collect();
    Ok(Json(Page { items, next_cursor: page.next.map(|cursor| cursor.to_string()) }))
}

/// One finding with its evidence, fix, retests and history.
#[utoipa::path(get, path = "/findings/{id}", tag = "findings",
    params(("id" = String, Path, description = "Finding id, `f_…`")),
    responses((status = OK, body = Finding), (status = NOT_FOUND, body = Problem)))]
async fn get(State(state): State<AppState>, Id(id): Id<FindingId>) -> ApiResult<Json<Finding>> {
    let finding = state.store.finding(id).await?.ok_or_else(|| ApiError::not_found("finding", id))?;
    let filter =
        holdfast_store::EventFilter { cluster: Some(finding.key.cluster), finding: Some(id), ..Default::default() };
    let events = state.store.events(&filter, MAX_SHOWN).await?;
    let retests = state.store.retests(finding.key.cluster, id, MAX_SHOWN).await?;
    Ok(Json(show::whole(&finding, &names(&state.store.clusters().await?), events, retests)))
}

/// The names of clusters by id.
pub(super) type ClusterNames = BTreeMap<ClusterId, String>;

pub(super) fn names(clusters: &[holdfast_store::Cluster]) -> ClusterNames {
    clusters.iter().map(|cluster| (cluster.id, cluster.name.clone())).collect()
}

pub(super) use show::row;
