//! `/metrics`: few figures of low cardinality, as Prometheus text. It reads what the parts say of themselves and asks nobody.
//!
//! No name of an object, a node or a workload is among the labels: who may scrape learns how the agent is doing and how many
//! findings there are, and not where.

use std::fmt::Write;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::{Router, routing};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::AgentStatus;
use crate::clock;
use crate::node::Sensors;

/// What the parts say of themselves; a part that does not run here says nothing.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// The cluster's part.
    pub cluster: Option<watch::Receiver<AgentStatus>>,
    /// The node's part.
    pub node: Option<watch::Receiver<Sensors>>,
}

/// Begins to listen. Gives the address, and what serves until it is dropped.
pub async fn listen(address: SocketAddr, figures: Figures) -> Result<(SocketAddr, impl Future<Output = ()>)> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("cannot listen at {address} for metrics"))?;
    let address = listener.local_addr()?;
    let router = Router::new().route("/metrics", routing::get(get)).with_state(figures);
    let serving = async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "metrics are not served any more");
        }
    };
    Ok((address, serving))
}

async fn get(State(figures): State<Figures>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], figures.render())
}

impl Figures {
    /// All of them, as they are now.
    pub fn render(&self) -> String {
        let mut page = Page::default();
        page.gauge("holdfast_agent_build_info", "The running version.");
        page.sample("holdfast_agent_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        if let Some(status) = &self.cluster {
            cluster(&mut page, &status.borrow());
        }
        if let Some(sensors) = &self.node {
            node(&mut page, &sensors.borrow());
        }
        page.0
    }
}

fn cluster(page: &mut Page, status: &AgentStatus) {
    let AgentStatus { progress, link, standby, nodes } = status;
    let is = |yes: bool| u64::from(yes);
    // Nothing is known of a cluster before the duties begin.
    let leads = standby.is_none() && progress.kinds > 0;
    page.one("holdfast_agent_leading", "1 where this replica has the cluster duties.", is(leads));
    page.one("holdfast_agent_connected", "1 while the stream to the aggregator is open.", is(link.connected));
    page.one("holdfast_agent_synced", "1 once everything that can be seen has been listed.", is(progress.synced));
    let kinds = "holdfast_agent_kinds";
    page.gauge(kinds, "Kinds of objects, by whether they can be seen.");
    page.sample(kinds, &[("seen", "true")], count(progress.kinds_seen));
    page.sample(kinds, &[("seen", "false")], count(progress.kinds - progress.kinds_seen));
    page.one("holdfast_agent_objects", "Objects whose facts are kept.", count(progress.objects));
    page.one("holdfast_agent_subjects", "Subjects that are judged.", count(progress.subjects));
    page.one(
        "holdfast_agent_failing",
        "Statements that fail: findings, as this agent sees them.",
        count(progress.failing),
    );
    page.counter("holdfast_agent_batches_sent_total", "Batches handed to the uplink since this replica leads.");
    page.sample("holdfast_agent_batches_sent_total", &[], progress.sent);
    page.counter("holdfast_agent_batches_acknowledged_total", "Batches that the aggregator has committed of them.");
    page.sample("holdfast_agent_batches_acknowledged_total", &[], progress.acknowledged);
    let of_nodes = "holdfast_agent_nodes";
    page.gauge(of_nodes, "Nodes at the relay: connected, with an available kernel view, with sensors.");
    for (state, nodes) in [("connected", nodes.connected), ("kernel-view", nodes.available), ("sensors", nodes.sensing)]
    {
        page.sample(of_nodes, &[("state", state)], count(nodes));
    }
}

fn node(page: &mut Page, sensors: &Sensors) {
    let behaviors = "holdfast_agent_node_events_total";
    page.counter(behaviors, "What the sensors noticed since the agent's start, by sensor and what became of it.");
    for (name, count) in &sensors.counters {
        if let Some((sensor, became)) = name.rsplit_once('.') {
            page.sample(behaviors, &[("sensor", sensor), ("became", became)], *count);
        }
    }
    page.one("holdfast_agent_node_sensors_attached", "Sensors that are attached.", count(sensors.attached.len()));
    let unavailable = "Sensors that this kernel, or these rights, do not allow.";
    page.one("holdfast_agent_node_sensors_unavailable", unavailable, count(sensors.unavailable.len()));
    // Without a heartbeat probe there is no age: an alert must look for its absence as well.
    if sensors.probe_at > 0 {
        let age = clock::now().saturating_sub(sensors.probe_at).max(0) / 1000;
        let help = "Seconds since the last heartbeat probe of the sensors came back: over 180 they count as failing.";
        page.one("holdfast_agent_node_probe_age_seconds", help, u64::try_from(age).unwrap_or_default());
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Prometheus' text form. Label values here are words of ours; what would need escaping is left out of them.
#[derive(Default)]
struct Page(String);

impl Page {
    fn gauge(&mut self, name: &str, help: &str) {
        self.head(name, help, "gauge");
    }

    fn counter(&mut self, name: &str, help: &str) {
        self.head(name, help, "counter");
    }

    fn one(&mut self, name: &str, help: &str, value: u64) {
        self.gauge(name, help);
        self.sample(name, &[], value);
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        // Writing into memory cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let plain =
            |text: &str| text.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect::<String>();
        let labels: Vec<_> = labels.iter().map(|(label, text)| format!("{label}=\"{}\"", plain(text))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::NodeCounts;

    fn line<'a>(page: &'a str, begins: &str) -> &'a str {
        page.lines().find(|line| line.starts_with(begins)).unwrap_or_default()
    }

    #[test]
    fn a_leader_tells_its_posture_its_batches_and_its_nodes() {
        let mut status = AgentStatus::default();
        (status.progress.kinds, status.progress.kinds_seen) = (17, 16);
        (status.progress.objects, status.progress.sent, status.progress.acknowledged) = (300, 7, 6);
        status.nodes = NodeCounts { connected: 3, available: 2, sensing: 1 };
        let page = Figures { cluster: Some(watch::channel(status.clone()).1), node: None }.render();
        for expected in [
            "holdfast_agent_leading 1",
            "holdfast_agent_kinds{seen=\"false\"} 1",
            "holdfast_agent_objects 300",
            "holdfast_agent_batches_sent_total 7",
            "holdfast_agent_batches_acknowledged_total 6",
            "holdfast_agent_nodes{state=\"kernel-view\"} 2",
            "holdfast_agent_nodes{state=\"sensors\"} 1",
        ] {
            assert_eq!(line(&page, expected), expected, "{page}");
        }
        assert!(!page.contains("holdfast_agent_node_"), "no node's part runs here");
        status.standby = Some("another".to_owned());
        let page = Figures { cluster: Some(watch::channel(status).1), node: None }.render();
        assert_eq!(line(&page, "holdfast_agent_leading "), "holdfast_agent_leading 0");
    }

    #[test]
    fn a_node_tells_what_became_of_events_and_how_old_its_heartbeat_probe_is() {
        let mut sensors =
            Sensors { attached: vec!["file".into()], unavailable: vec!["module: absent".into()], ..Sensors::default() };
        sensors.counters.insert("file.dropped".into(), 4);
        sensors.counters.insert("sly\"} 1\n.folded".into(), 1);
        let page =
            |sensors: &Sensors| Figures { cluster: None, node: Some(watch::channel(sensors.clone()).1) }.render();
        assert!(!page(&sensors).contains("probe_age"), "there was none yet");
        sensors.probe_at = clock::now() - 61_500;
        let page = page(&sensors);
        let behaviors = "holdfast_agent_node_events_total{sensor=\"file\",became=\"dropped\"} 4";
        assert_eq!(line(&page, behaviors), behaviors, "{page}");
        assert_eq!(
            line(&page, "holdfast_agent_node_sensors_unavailable "),
            "holdfast_agent_node_sensors_unavailable 1"
        );
        assert!(page.contains("holdfast_agent_node_probe_age_seconds 6"), "{page}");
        let is_one = |line: &str| line.starts_with('#') || line.starts_with("holdfast_agent_");
        assert!(page.lines().all(is_one) && page.contains("sensor=\"sly1\""), "{page}");
    }
}
