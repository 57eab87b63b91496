//! `/metrics`: few figures of low cardinality, as Prometheus text. Counts are the fleet's, so a token is needed here too.

use std::fmt::Write;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::{Router, routing};

use super::AppState;
use super::problem::ApiResult;
use crate::jobs::{JobStatus, Jobs};

/// The route; the router guards it.
pub fn reading() -> Router<AppState> {
    Router::new().route("/metrics", routing::get(get))
}

async fn get(State(state): State<AppState>) -> ApiResult<impl IntoResponse> {
    let text = render(&state).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}

async fn render(
    AppState { store, sessions, jobs: jobs_of, .. }: &AppState,
) -> Result<String, holdfast_store::StoreError> {
    let mut page = Page::default();
    page.gauge("holdfast_build_info", "The running version.");
    page.sample("holdfast_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.gauge("holdfast_findings", "Findings by severity in force, status and reach of the proof.");
    for ((severity, status, reach), findings) in super::summary::sums(&store.counts().await?) {
        let mut labels = vec![("severity", severity.as_str()), ("status", status.as_str())];
        labels.extend(reach.map(|reach| ("reach", reach.as_str())));
        page.sample("holdfast_findings", &labels, findings);
    }
    let clusters = store.clusters().await?;
    page.gauge("holdfast_clusters", "Clusters by the state of their agent.");
    let revoked = clusters.iter().filter(|cluster| cluster.revoked_at.is_some()).count();
    let connected = clusters.iter().filter(|cluster| sessions.is_connected(cluster.id)).count();
    let states = [("connected", connected), ("offline", clusters.len() - revoked - connected), ("revoked", revoked)];
    for (state, clusters) in states {
        page.sample("holdfast_clusters", &[("state", state)], clusters as u64);
    }
    page.gauge(
        "holdfast_nodes",
        "Nodes that run Pods, by whether their kernel view is available; unknown where the agent is offline.",
    );
    let (mut available, mut unavailable, mut unknown) = (0, 0, 0);
    for coverage in store.node_coverage(None).await? {
        if sessions.is_connected(coverage.cluster) {
            available += coverage.available;
            unavailable += coverage.nodes - coverage.available;
        } else {
            unknown += coverage.nodes;
        }
    }
    for (state, nodes) in [("available", available), ("unavailable", unavailable), ("unknown", unknown)] {
        page.sample("holdfast_nodes", &[("kernel_view", state)], nodes);
    }
    page.gauge("holdfast_activity_log_entries", "Entries that have a place in the activity log.");
    page.sample("holdfast_activity_log_entries", &[], store.log_size().await?);
    jobs(&mut page, jobs_of);
    Ok(page.0)
}

/// Background work: how often it ran and failed, and how long its last pass took and when it began.
fn jobs(page: &mut Page, jobs: &Jobs) {
    let statuses = jobs.statuses();
    type Figure = fn(&JobStatus) -> u64;
    let figures: [(&str, &str, &str, Figure); 4] = [
        ("holdfast_job_passes_total", "counter", "Passes of background work.", |job| job.passes),
        ("holdfast_job_failures_total", "counter", "Passes that failed.", |job| job.failures),
        ("holdfast_job_last_duration_milliseconds", "gauge", "How long the last pass took.", |job| {
            job.last_took.as_millis().try_into().unwrap_or(u64::MAX)
        }),
        ("holdfast_job_last_start_seconds", "gauge", "When the last pass began; 0 before the first.", |job| {
            job.last_at.map_or(0, |at| u64::try_from(at / 1000).unwrap_or_default())
        }),
    ];
    for (name, kind, help, figure) in figures {
        page.family(name, kind, help);
        for job in &statuses {
            page.sample(name, &[("job", job.name)], figure(job));
        }
    }
}

/// Prometheus' text form. Label values here are words of ours, which need no escaping.
#[derive(Default)]
struct Page(String);

impl Page {
    fn gauge(&mut self, name: &str, help: &str) {
        self.family(name, "gauge", help);
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into memory cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<_> = labels.iter().map(|(label, text)| format!("{label}=\"{text}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}
