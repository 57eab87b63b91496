//! SARIF 2.1.0, as code scanning services read it: one run, one rule per control that has a finding, one result per
//! finding, and problems with the input as notifications of the run. Fingerprints depend on the object and the control
//! alone, so a result stays the same one when lines move.

use std::collections::BTreeMap;
use std::io::{self, Write};

use holdfast_controls::Control;
use holdfast_model::{ClusterId, FindingKey, Severity};
use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::position::position;
use crate::check::report::{Finding, Place, Problem, Report, Weight};

/// Writes the report.
pub fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let rules: BTreeMap<&str, &Control> = report.findings.iter().map(|f| (f.control.id, f.control)).collect();
    let index = rules.keys().enumerate().map(|(at, id)| (*id, at)).collect();
    let log = Log {
        schema: "https://json.schemastore.org/sarif-2.1.0.json",
        version: "2.1.0",
        runs: [Run {
            tool: json!({ "driver": {
                "name": "holdfast",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules.values().map(|control| rule(control)).collect::<Vec<_>>(),
            } }),
            column_kind: "unicodeCodePoints",
            invocations: [json!({
                "executionSuccessful": !report.is_incomplete(),
                "toolExecutionNotifications":
                    report.problems.iter().map(|problem| notification(report, problem)).collect::<Vec<_>>(),
            })],
            results: Results { report, index },
        }],
    };
    serde_json::to_writer(&mut *out, &log)?;
    writeln!(out)
}

#[derive(Serialize)]
struct Log<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'a> {
    tool: Value,
    column_kind: &'static str,
    invocations: [Value; 1],
    results: Results<'a>,
}

fn rule(control: &Control) -> Value {
    json!({
        "id": control.id,
        "shortDescription": { "text": control.title },
        "fullDescription": { "text": control.description },
        "help": { "text": control.remediation },
        "defaultConfiguration": { "level": level(control.severity) },
        "properties": { "tags": ["security", control.archetype().as_str()], "security-severity": score(control.severity) },
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Info => "note",
    }
}

/// The number that code scanning services turn back into a severity.
fn score(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "9.5",
        Severity::High => "8.0",
        Severity::Medium => "5.5",
        Severity::Low => "3.0",
        Severity::Info => "0.5",
    }
}

fn notification(report: &Report, problem: &Problem) -> Value {
    let level = if problem.weight == Weight::Error { "error" } else { "warning" };
    let field = problem.field.as_ref().map_or(String::new(), |field| format!(", field {field}"));
    let text = format!("{}{field}: {}", position(report, &problem.place), problem.message);
    json!({ "level": level, "message": { "text": text }, "locations": [location(report, &problem.place)] })
}

fn location(report: &Report, place: &Place) -> Value {
    let mut physical = json!({ "artifactLocation": { "uri": uri(report.file(place)) } });
    if place.line > 0 {
        physical["region"] = json!({ "startLine": place.line });
    }
    json!({ "physicalLocation": physical })
}

/// A path as a relative URI reference: what is not plain is percent-encoded.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' | b'~' => uri.push(char::from(byte)),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

/// Results that are written one at a time.
struct Results<'a> {
    report: &'a Report,
    index: BTreeMap<&'a str, usize>,
}

impl Serialize for Results<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.report.findings.len()))?;
        for finding in &self.report.findings {
            list.serialize_element(&result(self.report, finding, self.index.get(finding.control.id).copied()))?;
        }
        list.end()
    }
}

fn result(report: &Report, finding: &Finding, rule: Option<usize>) -> Value {
    let control = finding.control;
    let fields: Vec<_> = finding.fields.iter().map(|(_, location)| location.path.as_str()).collect();
    let text = format!("{}: {} is not so at {}", finding.resource, control.title, fields.join(", "));
    let key = FindingKey {
        cluster: ClusterId::from_bytes([0; 16]),
        resource: finding.resource.clone(),
        control: control.control_id(),
    };
    let mut place = location(report, &finding.place);
    place["logicalLocations"] = fields.iter().map(|field| json!({ "fullyQualifiedName": field })).collect();
    json!({
        "ruleId": control.id,
        "ruleIndex": rule,
        "level": level(control.severity),
        "message": { "text": text },
        "locations": [place],
        "partialFingerprints": { "holdfastPattern/v1": key.pattern_id() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_uri_without_surprises() {
        assert_eq!(uri("a b/c#d?.yaml"), "a%20b/c%23d%3F.yaml");
        assert_eq!(uri("../é.yaml"), "../%C3%A9.yaml");
    }
}
