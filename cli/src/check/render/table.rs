//! The report for people: findings grouped by object, then how to fix them, then problems with the input, then counts.

use std::collections::BTreeMap;
use std::io::{self, Write};

use holdfast_controls::Control;

use super::position::position;
use crate::check::report::{Finding, Report};
use crate::render::escape::line;

/// Writes the report.
pub fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let mut last: Option<&Finding> = None;
    let mut controls: BTreeMap<&str, &Control> = BTreeMap::new();
    for finding in &report.findings {
        let same = last.is_some_and(|last| last.place == finding.place && last.resource == finding.resource);
        if !same {
            let gap = if last.is_some() { "\n" } else { "" };
            let place = position(report, &finding.place);
            let level = finding.level.map_or(String::new(), |level| format!(", fits Pod Security {}", level.as_str()));
            writeln!(out, "{gap}{}  ({}{level})", line(&finding.resource.to_string()), line(&place))?;
        }
        write_finding(report, finding, out)?;
        controls.insert(finding.control.id, finding.control);
        last = Some(finding);
    }
    write_fixes(&controls, out)?;
    write_problems(report, out)?;
    write_unknown(report, out)?;
    write_counts(report, out)
}

fn write_finding(report: &Report, finding: &Finding, out: &mut impl Write) -> io::Result<()> {
    let control = finding.control;
    writeln!(out, "  {:<8}  {:<32}  {}", control.severity, control.id, control.title)?;
    for (place, location) in &finding.fields {
        write!(out, "            {}", line(&location.path))?;
        if location.value.is_empty() {
            write!(out, " is not set")?;
        } else {
            write!(out, " = {}", line(&location.value))?;
        }
        if let Some(container) = &location.container {
            write!(out, "  (container {})", line(container))?;
        }
        if let Some(object) = &location.object {
            write!(out, "  in {} ({})", line(object), line(&position(report, place)))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn write_fixes(controls: &BTreeMap<&str, &Control>, out: &mut impl Write) -> io::Result<()> {
    if controls.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nHow to fix:")?;
    controls.iter().try_for_each(|(id, control)| writeln!(out, "  {id}: {}", control.remediation))
}

fn write_problems(report: &Report, out: &mut impl Write) -> io::Result<()> {
    if report.problems.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nProblems with the input:")?;
    for problem in &report.problems {
        let field = problem.field.as_ref().map_or(String::new(), |field| format!(", field {field}"));
        let place = position(report, &problem.place);
        let (place, field) = (line(&place), line(&field));
        writeln!(out, "  {:<7}  {place}{field}: {}", problem.weight.as_str(), line(&problem.message))?;
    }
    Ok(())
}

fn write_unknown(report: &Report, out: &mut impl Write) -> io::Result<()> {
    if report.unknown.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nUnknown, as files do not show what else the cluster has (see --complete):")?;
    report
        .unknown
        .iter()
        .try_for_each(|(id, (count, reason))| writeln!(out, "  {id}: {count} not judged: {}", line(reason)))
}

fn write_counts(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let severities: Vec<_> = report.by_severity().iter().map(|(s, n)| format!("{n} {s}")).collect();
    let gap =
        if report.findings.is_empty() && report.problems.is_empty() && report.unknown.is_empty() { "" } else { "\n" };
    write!(out, "{gap}{} objects judged, {} findings", report.judged, report.findings.len())?;
    if !severities.is_empty() {
        write!(out, " ({})", severities.join(", "))?;
    }
    writeln!(out, ", {} problems with the input", report.problems.len())?;
    if !report.passed_over.is_empty() {
        let kinds: Vec<_> = report.passed_over.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
        writeln!(out, "Passed over, as no control reads them: {}", line(&kinds.join(", ")))?;
    }
    Ok(())
}
