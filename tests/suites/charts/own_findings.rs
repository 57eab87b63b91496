//! Holdfast's findings about its own node part are exactly those that the chart's page names with a reason.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use holdfast_controls::evaluate::Answer;
use holdfast_controls::{Inventory, Kind, project};
use holdfast_model::Resource;
use holdfast_tests::helm::{root, values};

use super::helm;

#[tokio::test]
async fn the_page_of_own_findings_names_exactly_what_the_chart_fails_and_nothing_is_left_out() -> Result<()> {
    let Some(helm) = helm().await? else { return Ok(()) };
    let chart = "holdfast-agent";
    let mut inventory = Inventory::complete();
    for rendered in helm.render(chart, &["--values", &values(chart, "default")]).await? {
        let text = |field: &str| rendered.object[field].as_str().unwrap_or_default();
        let group = text("apiVersion").split_once('/').map_or("", |(group, _)| group);
        // Kinds that no control reads cannot fail one.
        let Some(kind) = Kind::find(group, text("kind")) else { continue };
        inventory.apply(project(kind, &rendered.object)?);
    }
    let subject = Resource::namespaced("apps", "DaemonSet", "holdfast-node", "holdfast-agent-node");
    let judgement = inventory.evaluate(&subject).context("the chart renders no node part")?;
    let fails = judgement.outcomes.iter().filter(|outcome| matches!(outcome.answer, Answer::Fail(_)));
    let found: Vec<&str> = fails.map(|outcome| outcome.control.id).collect();

    let page = std::fs::read_to_string(root().join("charts/holdfast-agent/FINDINGS.md"))?;
    let named = reasons(&page, "## By its specification")?;
    ensure!(
        named.keys().copied().eq(found.iter().copied()),
        "the page names {:#?}, the chart fails {found:#?}",
        named.keys()
    );
    for (control, reason) in named {
        ensure!(reason.len() > 40, "{control}: {reason:?} is too short for a reason");
    }
    Ok(())
}

/// Control and reason of each row below a heading.
fn reasons<'a>(page: &'a str, heading: &str) -> Result<BTreeMap<&'a str, &'a str>> {
    let (_, below) = page.split_once(heading).with_context(|| format!("no {heading:?}"))?;
    let section = below.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | "));
    Ok(rows.collect())
}
