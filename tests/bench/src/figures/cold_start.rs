//! Cold start of the agent, a process of its own, to everything evaluated; beside raw LISTs of the same kinds.
//!
//! The agent starts with the certificate that it has, lists everything from a real API server, and evaluates it. The
//! aggregator is away meanwhile: on its own machine it would take nothing from the agent, here it would. So the agent also
//! keeps all that it has to say, which is the most memory that it can need.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holdfast_agent::engine::ALL_JUDGED;
use holdfast_tests::story::{Agent, Story};
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
    let mut story = Story::begin().await?;
    let mut agent = story.join(&cluster.plane).await?;
    evaluated(&agent).await?;
    agent.kill().await?;
    story.kill_aggregator().await?;

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
    // The first round warms the API server's caches and is thrown away.
    for round in 0..=effort.rounds() {
        agent.resume()?;
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

/// Waits until the agent says that it has evaluated everything, and answers how much fails.
pub async fn evaluated(agent: &Agent) -> Result<u64> {
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        let said = agent.said()?;
        let all = said.iter().map(|line| &line["fields"]).find(|fields| fields["message"] == ALL_JUDGED);
        if let Some(all) = all {
            return all["failing"].as_u64().context("the agent logs how much fails");
        }
        ensure!(Instant::now() < deadline, "the agent has not evaluated everything:\n{}", agent.log());
        sleep(Duration::from_millis(2)).await;
    }
}
