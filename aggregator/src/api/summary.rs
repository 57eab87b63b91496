//! `/summary`: the fleet at one glance, from counts that are kept with every write.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use holdfast_model::{ClusterId, Reach, Severity, Status};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::problem::ApiResult;
use holdfast_api_types::{ClusterCounts, Count, Summary};

/// The routes of this noun.
pub fn reading() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get))
}

/// How many findings there are, by severity, status and reach, of all clusters and of each.
#[utoipa::path(get, path = "/summary", tag = "summary", responses((status = OK, body = Summary)))]
async fn get(State(state): State<AppState>) -> ApiResult<Json<Summary>> {
    let counts = state.store.counts().await?;
    let of = |cluster: ClusterId| counts.iter().filter(move |count| count.cluster == cluster).map(view).collect();
    let clusters = state.store.clusters().await?.into_iter().map(|cluster| ClusterCounts {
        cluster_id: cluster.id,
        connected: state.sessions.is_connected(cluster.id),
        counts: of(cluster.id),
        cluster: cluster.name,
    });
    let sums = sums(&counts).into_iter();
    let total = sums.map(|((severity, status, reach), findings)| Count { severity, status, reach, findings }).collect();
    Ok(Json(Summary { counts: total, clusters: clusters.collect() }))
}

/// What findings are counted by.
pub type Group = (Severity, Status, Option<Reach>);

/// The counts of all clusters together, worst first.
pub fn sums(counts: &[holdfast_store::Count]) -> Vec<(Group, u64)> {
    let mut sums = BTreeMap::new();
    for count in counts {
        *sums.entry((Reverse(count.severity), count.status, count.reach)).or_insert(0) += count.findings;
    }
    let plain = |((Reverse(severity), status, reach), findings)| ((severity, status, reach), findings);
    sums.into_iter().map(plain).collect()
}

fn view(count: &holdfast_store::Count) -> Count {
    Count { severity: count.severity, status: count.status, reach: count.reach, findings: count.findings }
}
