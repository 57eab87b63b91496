//! `holdfast finding show`: one finding with everything that its owner needs to fix it and to believe the proof.

use std::process::ExitCode;

use clap::Subcommand;
use holdfast_aggregator::api::view::{Finding, Location, Retest};
use holdfast_model::FindingId;

use crate::context::Context;
use crate::render::RecordOutput;
use crate::render::escape::{self, line};
use crate::render::paint::{Tone, heading, tinted, word};

/// One finding: reason, evidence, fix, retests, history
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast finding show f_35mw3p4zrcwtdj2ksuxvj4pu6q
  holdfast finding show f_35mw3p4zrcwtdj2ksuxvj4pu6q -o json | jq .fix.json_patch")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show a finding
    Show {
        /// Its id, `f_…`
        id: FindingId,
        #[command(flatten)]
        output: RecordOutput,
    },
}

impl Args {
    /// Fetches and prints.
    pub async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let Action::Show { id, output } = self.action;
        let finding: Finding = context.client()?.get(&["findings", &id.to_string()]).await?;
        output.print(&finding, text)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn text(finding: &Finding) -> String {
    let sections = [head(finding), evidence(finding), fix(finding), retests(finding), history(finding)];
    sections.join("\n")
}

fn head(finding: &Finding) -> String {
    let row = &finding.row;
    let place = row.resource.namespace.as_deref().map_or(String::new(), |namespace| format!("{namespace}/"));
    let resource = line(&format!("{} {place}{}", row.resource.kind, row.resource.name));
    let mut out = format!("{}\n{resource} in cluster {}\n\n", heading(&line(&row.title)), line(&row.cluster));
    let mut field = |name: &str, value: String| out.push_str(&format!("  {name:<14}{value}\n"));
    field("id", row.id.to_string());
    field("control", line(&row.control_id));
    field("severity", severity(finding));
    field("status", status(finding));
    field("why", line(&finding.reason));
    if let Some(owner) = &row.owner {
        field("owner", line(owner));
    }
    field("first seen", row.first_seen_at.to_string());
    field("pattern", row.pattern_id.to_string());
    out.push_str(&format!("\n{}\n", escape::block(&finding.description)));
    out
}

fn severity(finding: &Finding) -> String {
    let now = word(finding.row.severity.word());
    let Some(moved) = &finding.calibration else { return now };
    let rule = moved.rule.as_deref().map_or(String::new(), |rule| format!(", rule {}", line(rule)));
    let approver = moved.approver.as_deref().map_or(String::new(), |who| format!(", approved by {}", line(who)));
    let rationale = line(&moved.rationale);
    format!("{now}, by the catalog {}: {rationale} ({}{rule}{approver})", finding.row.base_severity, moved.at)
}

fn status(finding: &Finding) -> String {
    let row = &finding.row;
    let mut text = format!("{} since {}", word(row.status.word()), row.status_at);
    if let Some(reach) = row.reach {
        text.push_str(&format!(", reach {reach}"));
    }
    if let Some(reason) = finding.retired_reason {
        text.push_str(&format!(" ({reason}; not counted as fixed)"));
    }
    if row.reopened > 0 {
        text.push_str(&format!(", came back {} times", row.reopened));
    }
    text
}

fn evidence(finding: &Finding) -> String {
    let evidence = &finding.evidence;
    let mut out = heading("Evidence") + "\n";
    out.extend(evidence.locations.iter().map(location));
    out.push_str(&format!(
        "  read: uid {}, resourceVersion {}, control version {}, {}\n",
        line(&evidence.uid),
        line(&evidence.resource_version),
        evidence.control_version,
        evidence.observed_at
    ));
    out.push_str(&format!("  check it yourself:\n    {}\n", line(&finding.check_again)));
    out
}

fn location(location: &Location) -> String {
    let value = if location.value.is_empty() { "not set".to_owned() } else { line(&location.value) };
    let container = location.container.as_deref().map_or(String::new(), |name| format!("  (container {})", line(name)));
    let object = location.object.as_deref().map_or(String::new(), |object| format!("  in {}", line(object)));
    format!("  {} = {value}{container}{object}\n", line(&location.path))
}

fn fix(finding: &Finding) -> String {
    let mut out = format!("{}\n  {}\n", heading("Fix"), line(&finding.remediation));
    let Some(fix) = &finding.fix else { return out };
    if let Some(warning) = &fix.warning {
        out.push_str(&format!("  {}: {}\n", tinted("careful", Tone::Warn), line(warning)));
    }
    if let Some(manifest) = &fix.manifest {
        out.push_str(&indented(&escape::block(manifest)));
    }
    out.push_str(&indented(&escape::block(&fix.kubectl)));
    out.push_str(&format!("  then: holdfast resolve {0} && holdfast retest {0} --wait\n", finding.row.id));
    out
}

fn indented(block: &str) -> String {
    block.lines().map(|line| format!("    {line}\n")).collect()
}

fn retests(finding: &Finding) -> String {
    let mut out = heading("Retests") + "\n";
    if finding.retests.is_empty() {
        out.push_str("  none yet\n");
    }
    out.extend(finding.retests.iter().map(|retest| format!("  {}\n", retest_line(retest))));
    out
}

/// A retest in one line.
pub fn retest_line(retest: &Retest) -> String {
    let answer = match (retest.verdict, retest.reach) {
        (Some(verdict), Some(reach)) => format!("{} (reach {reach})", word(verdict.word())),
        (Some(verdict), None) => word(verdict.word()),
        (None, _) => "waiting for the agent".to_owned(),
    };
    let reason = retest.reason.as_deref().map_or(String::new(), |reason| format!(": {}", line(reason)));
    let receipt = if retest.receipt { ", receipt kept" } else { "" };
    format!("{} {}  {answer}{reason}{receipt}", retest.answered_at.unwrap_or(retest.requested_at), retest.id)
}

fn history(finding: &Finding) -> String {
    let mut out = heading("History") + "\n";
    for event in &finding.history {
        let actor = line(&format!("{} {}", event.actor.kind, event.actor.id));
        out.push_str(&format!("  {}  {} by {actor}: {}\n", event.at, line(&event.event), line(&event.cause)));
    }
    out
}
