//! The charts: what they render, which values they refuse, and how a real API server admits and authorizes them.

// The whole crate is a test; clippy allows `unwrap` only in functions marked as tests.
#![allow(clippy::unwrap_used)]

use anyhow::Result;
use holdfast_tests::helm::Helm;
use holdfast_tests::tier;

#[path = "charts/installed.rs"]
mod installed;
#[path = "charts/node_part.rs"]
mod node_part;
#[path = "charts/own_findings.rs"]
mod own_findings;
#[path = "charts/rendered.rs"]
mod rendered;
#[path = "charts/values.rs"]
mod values;

const CHARTS: [&str; 2] = ["holdfast-agent", "holdfast-aggregator"];

/// The `helm` program; `None` where the tier can't run.
async fn helm() -> Result<Option<Helm>> {
    tier::available("helm", Helm::prepare().await)
}
