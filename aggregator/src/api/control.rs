//! `/controls`: the catalog that this aggregator carries.

use axum::Json;
use holdfast_controls::catalog;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::extract::Id;
use super::problem::{ApiError, ApiResult};
use holdfast_api_types::{Control, ControlRow, Page};

/// The routes of this noun.
pub fn reading() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get))
}

/// Every control of the catalog, by archetype and id.
#[utoipa::path(get, path = "/controls", tag = "controls", responses((status = OK, body = Page<ControlRow>)))]
async fn list() -> Json<Page<ControlRow>> {
    Json(Page::whole(catalog::all().map(ControlRow::from).collect()))
}

/// One control.
#[utoipa::path(get, path = "/controls/{id}", tag = "controls", params(("id" = String, Path, description = "Control id")),
    responses((status = OK, body = Control), (status = NOT_FOUND, body = holdfast_api_types::Problem)))]
async fn get(Id(id): Id<String>) -> ApiResult<Json<Control>> {
    let control = catalog::Control::find(&id).ok_or_else(|| ApiError::not_found("control", &id))?;
    Ok(Json(control.into()))
}
