//! Time from the start of an enrolled agent process until it has evaluated everything, compared with raw LISTs of the same
//! kinds.
//!
//! The aggregator is stopped meanwhile: in production it runs on another machine and takes no CPU from the agent. The agent
//! therefore also queues everything that it would send, which is the most memory that it can need.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holdfast_agent::engine::ALL_JUDGED;
use holdfast_tests::scenario::{Agent, Scenario};
use tokio::time::sleep;

use crate::child;
use crate::figure::{Effort, Figure, Peer, Samples};
use crate::fixture;
use crate::load::Cluster;

/// Figures at a thousand, ten thousand and thirty thousand workloads; the curve has three thousand as well.
pub fn measure(effort: &Effort) -> Result<Vec<Figure>> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(cold(effort))
}

async fn cold(effort: &Effort) -> Result<Vec<Figure>> {
    let mut cluster = Cluster::start("bench-cold").await?;
    let mut scenario = Scenario::start().await?;
    let mut agent = scenario.join(&cluster.plane).await?;
    evaluated(&agent).await?;
    agent.kill().await?;
    scenario.kill_aggregator().await?;

    let mut source = fixture::source();
    let mut figures = Vec::new();
    for n in [1_000, 3_000, 10_000, 30_000].map(|n| effort.size(n)) {
        cluster.grow_to(n, |i| fixture::idle_workload(&mut source, i)).await?;
        figures.push(at(effort, &cluster, &mut agent, n).await?);
    }
    let curve: Vec<_> = figures.iter().map(|figure| (figure.n, figure.samples.median())).collect();
    figures.iter_mut().for_each(|figure| figure.curve.clone_from(&curve));
    figures.remove(1);
    Ok(figures)
}

async fn at(effort: &Effort, cluster: &Cluster, agent: &mut Agent, n: usize) -> Result<Figure> {
    let (mut wall, mut cpu, mut peak, mut lists) = <(Samples, Samples, Samples, Samples)>::default();
    // The first round warms the API server's caches and is discarded.
    for round in 0..=effort.rounds() {
        agent.restart()?;
        evaluated(agent).await?;
        let took = agent.started_at().elapsed().as_secs_f64();
        let cost = child::so_far(agent.pid()?)?;
        agent.kill().await?;
        let listed = cluster.raw_lists().await?;
        if round > 0 {
            wall.push(took);
            cpu.push(cost.0);
            peak.push(cost.1);
            lists.push(listed);
        }
    }
    Ok(Figure {
        name: "agent's cold start to everything evaluated".to_owned(),
        unit: "s",
        n,
        samples: wall,
        cpu: Some(cpu.median()),
        peak: Some(peak.max()),
        peers: vec![Peer { name: "raw LISTs", samples: lists }],
        curve: Vec::new(),
        aim: "2x raw LISTs, n^1.05, 100 MiB at 10,000",
    })
}

/// Waits until the agent logs that it has evaluated everything, and answers how many judgements fail.
pub async fn evaluated(agent: &Agent) -> Result<u64> {
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        let lines = agent.log_lines()?;
        let all = lines.iter().map(|line| &line["fields"]).find(|fields| fields["message"] == ALL_JUDGED);
        if let Some(all) = all {
            return all["failing"].as_u64().context("the log line has no count of failures");
        }
        ensure!(Instant::now() < deadline, "the agent has not evaluated everything:\n{}", agent.log());
        sleep(Duration::from_millis(2)).await;
    }
}
