//! Cold start of the agent to everything stored: the agent and the aggregator as processes, joined by mTLS, at 1, 10 and 30
//! findings a workload; beside bare inserts of as many rows.
//!
//! Every round has a new aggregator with an empty store. The clock runs from the agent's start, enrolment included, until
//! the API counts as many findings as the agent found. API server, agent, aggregator and this program share the machine.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holdfast_tests::scenario::Scenario;
use serde_json::Value;
use tokio::time::sleep;

use super::{cold_start, store_insert};
use crate::child;
use crate::client::Client;
use crate::figure::{Effort, Figure, Peer, Samples};
use crate::fixture::{FindingsPerWorkload, failing_workload};
use crate::load::Cluster;

/// A figure for each number of findings a workload.
pub fn measure(effort: &Effort) -> Result<Vec<Figure>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    [FindingsPerWorkload::One, FindingsPerWorkload::Ten, FindingsPerWorkload::Thirty]
        .map(|findings| runtime.block_on(measure_one(effort, findings)))
        .into_iter()
        .collect()
}

async fn measure_one(effort: &Effort, findings: FindingsPerWorkload) -> Result<Figure> {
    let mut cluster = Cluster::start("bench-stored").await?;
    let mut curve = Vec::new();
    let mut last = None;
    for workloads in effort.sizes(2_000) {
        cluster.grow_to(workloads, |i| failing_workload(findings, i)).await?;
        let (mut seconds, mut rounds) = (Samples::default(), Vec::new());
        for _ in 0..effort.rounds() {
            let round = one_round(&cluster, workloads, findings).await?;
            seconds.push(round.seconds);
            rounds.push(round);
        }
        curve.push((workloads, seconds.median()));
        last = Some(rounds);
    }
    let rounds = last.context("there is at least one size")?;
    let of = |quantity: fn(&Round) -> f64| rounds.iter().map(quantity).collect::<Samples>();
    Ok(Figure {
        name: format!("cold start to everything stored, {} a workload", findings.count()),
        unit: "findings/s",
        n: rounds.first().map_or(0, |round| round.findings),
        samples: of(|round| round.findings as f64 / round.seconds),
        cpu: Some(of(|round| round.cpu).median()),
        peak: Some(of(|round| round.peak).max()),
        peers: vec![Peer { name: "bare SQLite inserts", samples: of(|round| round.bare) }],
        curve,
        aim: "share of the bare rate",
    })
}

struct Round {
    findings: usize,
    seconds: f64,
    cpu: f64,
    peak: f64,
    bare: f64,
}

async fn one_round(cluster: &Cluster, workloads: usize, each: FindingsPerWorkload) -> Result<Round> {
    let scenario = Scenario::start().await?;
    let client = Client::new(&scenario)?;
    let agent = scenario.join(&cluster.plane).await?;
    let failing = cold_start::evaluated(&agent).await?;
    stored(&client, failing).await?;
    let seconds = agent.started_at().elapsed().as_secs_f64();
    let (own, other) = (child::so_far(agent.pid()?)?, child::so_far(scenario.aggregator_pid()?)?);
    // The agent and the aggregator end here: the bare inserts have the machine to themselves.
    drop((agent, scenario));
    let findings = usize::try_from(failing)?;
    let bare = store_insert::bare_rate(workloads, each.count()).await?;
    Ok(Round { findings, seconds, cpu: own.0 + other.0, peak: own.1 + other.1, bare })
}

/// Waits until the API counts this many findings.
pub async fn stored(client: &Client, wanted: u64) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        let summary = client.get("/summary").await?;
        let counts = summary["counts"].as_array().context("the summary has counts")?;
        let stored: u64 = counts.iter().filter_map(|count: &Value| count["findings"].as_u64()).sum();
        if stored >= wanted {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{stored} of {wanted} findings are stored");
        sleep(Duration::from_millis(10)).await;
    }
}
