//! JUnit XML: one suite per file, one failing case per finding, one case in error per document that could not be read.
//! A file in which all holds is a suite with one passing case, so that its absence is noticed.

use std::io::{self, Write};

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};

use super::position::position;
use crate::check::report::{Finding, Problem, Report, Weight};
use crate::render::escape::line;

/// Writes the report.
pub fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let mut junit = Junit::new("holdfast check");
    let mut suites: Vec<TestSuite> = report.files.iter().map(|file| TestSuite::new(line(file))).collect();
    for finding in &report.findings {
        if let Some(suite) = suites.get_mut(finding.place.file) {
            suite.add_test_case(failure(report, finding));
        }
    }
    for problem in &report.problems {
        if let Some(suite) = suites.get_mut(problem.place.file) {
            suite.add_test_case(error(report, problem));
        }
    }
    for suite in &mut suites {
        if suite.test_cases.is_empty() {
            suite.add_test_case(TestCase::new("every control holds", TestCaseStatus::success()));
        }
    }
    junit.add_test_suites(suites);
    junit.serialize(out).map_err(io::Error::other)
}

fn failure(report: &Report, finding: &Finding) -> TestCase {
    let control = finding.control;
    let fields: Vec<_> = finding.fields.iter().map(|(_, l)| format!("{} = {}", l.path, l.value)).collect();
    let text = format!("{}\n{}\n{}", position(report, &finding.place), fields.join("\n"), control.remediation);
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_type(control.severity.as_str()).set_message(control.title).set_description(text);
    let mut case = TestCase::new(format!("{} {}", finding.resource, control.id), status);
    case.set_classname(control.id);
    case
}

fn error(report: &Report, problem: &Problem) -> TestCase {
    let place = position(report, &problem.place);
    let field = problem.field.as_ref().map_or(String::new(), |field| format!(", field {field}"));
    let name = format!("{place}{field}");
    let status = if problem.weight == Weight::Error {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_type("input").set_message(problem.message.as_str());
        status
    } else {
        TestCaseStatus::success()
    };
    let mut case = TestCase::new(name, status);
    case.set_classname("input");
    if problem.weight == Weight::Warning {
        case.set_system_out(problem.message.as_str());
    }
    case
}
