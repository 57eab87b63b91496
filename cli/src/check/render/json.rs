//! The report as one JSON object, and the same as YAML. Field names are an interface: they are only ever added to.

use std::collections::BTreeMap;
use std::io::{self, Write};

use holdfast_controls::pod_security::Level;
use holdfast_model::{Location, Resource, Severity};
use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use crate::check::report::{Finding, Place, Problem, Report};

/// Writes the report as JSON.
pub fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &Written::of(report))?;
    writeln!(out)
}

/// Writes the report as YAML.
pub fn write_yaml(report: &Report, out: &mut impl Write) -> io::Result<()> {
    serde_yaml_out::to_writer(out, &Written::of(report)).map_err(io::Error::other)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    judged: usize,
    by_severity: BTreeMap<&'static str, usize>,
    findings: Each<'a, Finding>,
    problems: Each<'a, Problem>,
    unknown: Vec<WrittenUnknown<'a>>,
    passed_over: &'a BTreeMap<String, usize>,
}

impl<'a> Written<'a> {
    fn of(report: &'a Report) -> Self {
        Self {
            judged: report.judged,
            by_severity: report.by_severity().into_iter().map(|(severity, n)| (severity.as_str(), n)).collect(),
            findings: Each { report, items: &report.findings },
            problems: Each { report, items: &report.problems },
            unknown: report
                .unknown
                .iter()
                .map(|(control, (subjects, reason))| WrittenUnknown { control, subjects: *subjects, reason })
                .collect(),
            passed_over: &report.passed_over,
        }
    }
}

/// Items that are written one at a time, so that a large report is never held twice.
struct Each<'a, T> {
    report: &'a Report,
    items: &'a [T],
}

impl Serialize for Each<'_, Finding> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.items.len()))?;
        for finding in self.items {
            list.serialize_element(&WrittenFinding {
                control: finding.control.id,
                severity: finding.control.severity,
                title: finding.control.title,
                resource: &finding.resource,
                place: WrittenPlace::of(self.report, &finding.place),
                pod_security_level: finding.level.map(Level::as_str),
                fields: finding.fields.iter().map(|(_, location)| location).collect(),
                fix: finding.control.remediation,
            })?;
        }
        list.end()
    }
}

impl Serialize for Each<'_, Problem> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.items.len()))?;
        for problem in self.items {
            list.serialize_element(&WrittenProblem {
                weight: problem.weight.as_str(),
                place: WrittenPlace::of(self.report, &problem.place),
                field: problem.field.as_deref(),
                message: &problem.message,
            })?;
        }
        list.end()
    }
}

#[derive(Serialize)]
struct WrittenFinding<'a> {
    control: &'a str,
    severity: Severity,
    title: &'a str,
    resource: &'a Resource,
    #[serde(flatten)]
    place: WrittenPlace<'a>,
    #[serde(rename = "podSecurityLevel", skip_serializing_if = "Option::is_none")]
    pod_security_level: Option<&'a str>,
    fields: Vec<&'a Location>,
    fix: &'a str,
}

#[derive(Serialize)]
struct WrittenProblem<'a> {
    weight: &'a str,
    #[serde(flatten)]
    place: WrittenPlace<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    message: &'a str,
}

#[derive(Serialize)]
struct WrittenPlace<'a> {
    file: &'a str,
    document: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<usize>,
    line: usize,
}

impl<'a> WrittenPlace<'a> {
    fn of(report: &'a Report, place: &Place) -> Self {
        Self { file: report.file(place), document: place.document, object: place.item, line: place.line }
    }
}

#[derive(Serialize)]
struct WrittenUnknown<'a> {
    control: &'a str,
    subjects: usize,
    reason: &'a str,
}
