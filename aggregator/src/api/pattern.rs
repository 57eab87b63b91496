//! `/patterns`: what repeats across the fleet.

use axum::Json;
use axum::extract::State;
use holdfast_controls::catalog::Control;
use holdfast_model::{Band, PatternId, Reading, Severity};
use holdfast_record::Finding;
use holdfast_record::calibration::{Factor, Step};
use holdfast_store::{FindingFilter, PatternFilter, Sort};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::extract::{Id, MAX_LIMIT, Params, limit, text};
use super::finding::{names, row};
use super::problem::{ApiError, ApiResult};
use crate::fleet::Judges;
use holdfast_api_types::Problem;
use holdfast_api_types::{Page, Pattern, PatternRow, Time};

/// What a token may read of this noun.
pub fn reading() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get))
}

/// Which patterns, from where on.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Of this control.
    control: Option<String>,
    /// In this band: isolated, several, widespread, systemic.
    band: Option<String>,
    /// Where the last page ended.
    cursor: Option<String>,
    /// Rows of a page, 1 to 500; 100 if not given.
    limit: Option<u32>,
}

/// A page of patterns that are active somewhere, most clusters first.
#[utoipa::path(get, path = "/patterns", tag = "patterns", params(ListQuery),
    responses((status = OK, body = Page<PatternRow>), (status = BAD_REQUEST, body = Problem)))]
async fn list(State(state): State<AppState>, Params(query): Params<ListQuery>) -> ApiResult<Json<Page<PatternRow>>> {
    let limit = limit(query.limit)?;
    let filter = PatternFilter {
        control: text("control", query.control)?,
        band: query.band.as_deref().map(str::parse::<Band>).transpose().map_err(ApiError::invalid)?,
        active_at_least: 1,
        after: query.cursor.as_deref().map(parse_cursor).transpose()?,
    };
    let mut patterns = state.store.patterns(&filter, limit + 1).await?;
    let more = patterns.len() > limit as usize;
    patterns.truncate(limit as usize);
    let next_cursor = patterns.last().filter(|_| more).map(|last| format!("{}.{}", last.active, last.id));
    let mut judges = Judges::load(&state.store).await?;
    let mut items = Vec::with_capacity(patterns.len());
    for pattern in &patterns {
        let worst = state.store.findings(&of(pattern.id), Sort::Severity, None, 1).await?.findings;
        items.push(view(pattern, worst.first(), &mut judges));
    }
    Ok(Json(Page { items, next_cursor }))
}

/// One pattern with the clusters that have it.
#[utoipa::path(get, path = "/patterns/{id}", tag = "patterns",
    params(("id" = String, Path, description = "Pattern id, `p_…`")),
    responses((status = OK, body = Pattern), (status = NOT_FOUND, body = Problem)))]
async fn get(State(state): State<AppState>, Id(id): Id<PatternId>) -> ApiResult<Json<Pattern>> {
    let pattern = state.store.pattern(id).await?.ok_or_else(|| ApiError::not_found("pattern", id))?;
    let findings = state.store.findings(&of(id), Sort::Severity, None, MAX_LIMIT).await?.findings;
    let mut judges = Judges::load(&state.store).await?;
    let names = names(&state.store.clusters().await?);
    let moved = findings.first().and_then(|worst| worst.state.calibration.as_ref());
    let is_fleet = |step: &&Step| matches!(step.reading, Factor::Fleet(_));
    let step = moved.and_then(|moved| moved.steps.iter().find(is_fleet));
    Ok(Json(Pattern {
        row: view(&pattern, findings.first(), &mut judges),
        band_since: pattern.band_since.map(Time),
        rule: step.map(|step| step.rule.clone()),
        approver: step.and(moved).map(|moved| moved.approver.clone()),
        remediation: Control::find(pattern.control.as_str()).map_or("", |control| control.remediation).to_owned(),
        findings: findings.iter().map(|finding| row(finding, &names)).collect(),
    }))
}

fn of(pattern: PatternId) -> FindingFilter {
    FindingFilter { pattern: Some(pattern), ..Default::default() }
}

fn view(pattern: &holdfast_store::Pattern, worst: Option<&Finding>, judges: &mut Judges) -> PatternRow {
    let control = pattern.control.as_str();
    let known = Control::find(control);
    let base = worst.map(|finding| finding.state.base_severity).or(known.map(|control| control.severity));
    let base_severity = base.unwrap_or(Severity::Info);
    let judging = judges.count(&pattern.control, &pattern.resource);
    let reading = Reading { clusters: count(pattern.active), judging };
    PatternRow {
        id: pattern.id,
        resource: pattern.resource.clone().into(),
        control_id: control.to_owned(),
        title: known.map_or(control, |control| control.title).to_owned(),
        base_severity,
        severity: worst.map_or(base_severity, Finding::severity),
        clusters_affected: reading.clusters,
        clusters_judging: reading.judging,
        share_percent: reading.share_percent(),
        band: pattern.band,
    }
}

fn count(many: u64) -> u32 {
    u32::try_from(many).unwrap_or(u32::MAX)
}

fn parse_cursor(text: &str) -> ApiResult<(u64, PatternId)> {
    let parts = text.split_once('.').and_then(|(active, id)| Some((active.parse().ok()?, id.parse().ok()?)));
    parts.ok_or_else(|| ApiError::invalid("this is no cursor of a patterns list"))
}
