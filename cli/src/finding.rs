//! `holdfast finding show`: one finding with everything that its owner needs to fix it and to believe the proof.

use std::process::ExitCode;

use clap::Subcommand;
use holdfast_api_types::{Finding, Location, Retest, RuntimeEvidence};
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
    let now = word(finding.row.severity.as_str());
    let Some(moved) = &finding.calibration else { return now };
    let rule = moved.rule.as_deref().map_or(String::new(), |rule| format!(", rule {}", line(rule)));
    let approver = moved.approver.as_deref().map_or(String::new(), |who| format!(", approver: {}", line(who)));
    let rationale = line(&moved.rationale);
    format!("{now}, by the catalog {}: {rationale} ({}{rule}{approver})", finding.row.base_severity, moved.at)
}

fn status(finding: &Finding) -> String {
    let row = &finding.row;
    let mut text = format!("{} since {}", word(row.status.as_str()), row.status_at);
    if let Some(reach) = row.reach {
        text.push_str(&format!(", reach {reach}"));
    }
    if let Some(reason) = finding.retired_reason {
        text.push_str(&format!(" ({reason}; not counted as fixed)"));
    }
    if row.reopened > 0 {
        text.push_str(&format!(", times reopened: {}", row.reopened));
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
    out.push_str(&evidence.runtime.as_ref().map_or_else(String::new, runtime));
    out.push_str(&format!("  check it yourself:\n    {}\n", line(&finding.check_again)));
    out
}

fn runtime(seen: &RuntimeEvidence) -> String {
    let by = seen.rule.as_deref().map_or(String::new(), |rule| format!(" (rule {})", line(rule)));
    let steps = if seen.raise == 0 { String::new() } else { format!(", severity raised by {}{by}", seen.raise) };
    let times = if seen.count == 1 { "once".to_owned() } else { format!("{} times", seen.count) };
    let mut out = format!("  seen by the kernel {times}, {} to {}{steps}:\n", seen.first_seen_at, seen.last_seen_at);
    out.extend(seen.locations.iter().map(|place| format!("  {}", location(place))));
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
    // The line that creates a manifest holds the manifest itself.
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
        (Some(verdict), Some(reach)) => format!("{} (reach {reach})", word(verdict.as_str())),
        (Some(verdict), None) => word(verdict.as_str()),
        (None, _) => "waiting for the agent".to_owned(),
    };
    let reason = retest.reason.as_deref().map_or(String::new(), |reason| format!(": {}", line(reason)));
    let receipt = if retest.receipt { ", receipt kept" } else { "" };
    format!("{} {}  {answer}{reason}{receipt}", retest.answered_at.unwrap_or(retest.requested_at), retest.id)
}

fn history(finding: &Finding) -> String {
    let mut out = heading("History") + "\n";
    for event in &finding.history {
        let actor = line(&format!("{} {}", event.actor.kind.as_str(), event.actor.id));
        out.push_str(&format!("  {}  {} by {actor}: {}\n", event.at, line(&event.event), line(&event.cause)));
    }
    out
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_finding_reads_from_the_problem_to_the_proof_and_obeys_no_hostile_name() {
        let finding: Finding = serde_json::from_str(
            r#"{
            "id": "f_35mw3p4zrcwtdj2ksuxvj4pu6q", "pattern_id": "p_5dgqlbw3p3rzqieaso5w63lcie",
            "cluster_id": "c_aaaaaaaaaaaaaaaaaaaaaaaaaa", "cluster": "prod\u001b[2J",
            "resource": {"group": "apps", "kind": "Deployment", "namespace": "shop", "name": "web"},
            "control_id": "workload.privileged", "title": "Containers do not run privileged",
            "severity": "high", "base_severity": "critical", "status": "resolved", "reach": null, "owner": "team-a",
            "first_seen_at": "2026-11-22T14:00:00.000Z", "status_at": "2026-11-22T14:05:00.000Z", "reopened": 1,
            "description": "Whoever controls it controls the node.", "remediation": "Set it to false.",
            "reason": "its owner says that it is fixed",
            "evidence": {
                "locations": [{"path": "spec.containers[0].x", "value": "true", "container": "web", "object": null}],
                "uid": "u-1", "resource_version": "42", "control_version": 1, "observed_at": "2026-11-22T14:00:00.000Z",
                "runtime": {"locations": [{"path": "process nginx (pid 7)", "value": "CapEff has CAP_SYS_ADMIN",
                    "container": "web", "object": "Pod web-1 on node n1"}], "count": 7, "raise": 1,
                    "first_seen_at": "2026-11-22T14:00:01.000Z", "last_seen_at": "2026-11-22T14:04:00.000Z"}
            },
            "origin": {"owner": "team-a", "manager": "Helm", "release": null, "chart": null},
            "resolved_at": null, "verified_at": null, "retired_reason": null, "unverified": null, "unjudged": null,
            "current": true, "refuted": 0,
            "calibration": {"from": "critical", "to": "high", "rationale": "one cluster of forty", "rule": "isolated",
                "approver": "shipped, unapproved", "reading": {}, "at": "2026-11-22T14:01:00.000Z"},
            "check_again": "kubectl get pod web",
            "fix": {"json_patch": [], "manifest": null, "kubectl": "kubectl patch pod web", "warning": "Helm reverts it"},
            "retests": [{"id": "r_aaaaaaaaaaaaaaaaaaaaaaaaaa", "finding_id": "f_35mw3p4zrcwtdj2ksuxvj4pu6q",
                "requested_at": "2026-11-22T14:05:00.000Z", "answered_at": null, "attempts": 0, "verdict": null,
                "reason": null, "reach": null, "settled": false, "receipt": false, "cause": "claim"}],
            "history": [{"at": "2026-11-22T14:05:00.000Z", "event": "finding-resolved",
                "actor": {"kind": "user", "id": "hf_api_x"}, "cause": "its owner says\nso", "log_index": 3}]
        }"#,
        )
        .unwrap();
        expect![[r#"
            Containers do not run privileged
            Deployment shop/web in cluster prod\u{1b}[2J

              id            f_35mw3p4zrcwtdj2ksuxvj4pu6q
              control       workload.privileged
              severity      high, by the catalog critical: one cluster of forty (2026-11-22T14:01:00.000Z, rule isolated, approver: shipped, unapproved)
              status        resolved since 2026-11-22T14:05:00.000Z, times reopened: 1
              why           its owner says that it is fixed
              owner         team-a
              first seen    2026-11-22T14:00:00.000Z
              pattern       p_5dgqlbw3p3rzqieaso5w63lcie

            Whoever controls it controls the node.

            Evidence
              spec.containers[0].x = true  (container web)
              read: uid u-1, resourceVersion 42, control version 1, 2026-11-22T14:00:00.000Z
              seen by the kernel 7 times, 2026-11-22T14:00:01.000Z to 2026-11-22T14:04:00.000Z, severity raised by 1:
                process nginx (pid 7) = CapEff has CAP_SYS_ADMIN  (container web)  in Pod web-1 on node n1
              check it yourself:
                kubectl get pod web

            Fix
              Set it to false.
              careful: Helm reverts it
                kubectl patch pod web
              then: holdfast resolve f_35mw3p4zrcwtdj2ksuxvj4pu6q && holdfast retest f_35mw3p4zrcwtdj2ksuxvj4pu6q --wait

            Retests
              2026-11-22T14:05:00.000Z r_aaaaaaaaaaaaaaaaaaaaaaaaaa  waiting for the agent

            History
              2026-11-22T14:05:00.000Z  finding-resolved by user hf_api_x: its owner says\nso
        "#]].assert_eq(&text(&finding));
    }
}
