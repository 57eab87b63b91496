//! `holdfast check FILES...`: what would be wrong with these manifests in a cluster, without one.
//!
//! Data flow: `source` finds files, `split` cuts them into documents, `decode` turns each into facts (on all
//! cores, `pipeline`), `judge` asks the same controls that the agent asks, and `render` writes the report. A document that
//! cannot be read is a problem in the report; the rest is still evaluated.

mod block;
mod decode;
mod document_problem;
mod envelope;
mod filter;
mod judge;
mod pipeline;
mod render;
mod report;
mod schema;
mod source;
mod split;
mod track;
mod yaml;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use holdfast_model::Severity;

use decode::{Decoded, Limits};
use document_problem::DocumentProblem;
use filter::Filter;
use judge::Bench;
pub use render::Format;
use report::{Place, Problem, Report, Weight};
use source::Source;

/// Evaluates manifests with no cluster: YAML with any number of documents, JSON, and lists of objects.
///
/// Only objects of the kinds that controls read are judged; the rest is counted. Secrets are not read. Controls that
/// depend on other objects (is there a NetworkPolicy, which account does the binding name) can't be judged from files, as
/// those objects may be elsewhere: they are listed as unknown, never as passed or failed. With --complete, the files are
/// taken for everything that a cluster has, and they are judged too. Pods are judged by the latest Pod Security
/// Standards, unless their Namespace is in the files and names a version.
///
/// Ends with 1 when there is a finding at or above --fail-on; otherwise with 2 when something could not be evaluated;
/// otherwise with 0.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files, folders (searched for *.yaml, *.yml and *.json), or `-` for the standard input.
    #[arg(required = true, value_name = "FILES")]
    pub files: Vec<PathBuf>,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// End with 1 when there is a finding of this severity or worse: info, low, medium, high, critical.
    #[arg(long, value_name = "SEVERITY", default_value = "high")]
    pub fail_on: Severity,
    /// Show only findings of this severity or worse.
    #[arg(long, value_name = "SEVERITY", default_value = "info")]
    pub severity: Severity,
    /// Ask only these controls, as `workload.privileged`; repeatable, or separated by commas.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub control: Vec<String>,
    /// The files are all that the cluster has: judge controls that look at several objects, too.
    #[arg(long)]
    pub complete: bool,
    /// Count fields that the API does not know, and values that it would refuse, as unreadable input.
    #[arg(long)]
    pub strict: bool,
    /// Largest object that is read.
    #[arg(long, value_name = "BYTES", default_value_t = 1_572_864)]
    pub max_object_bytes: usize,
    /// Largest list of objects in one document that is read.
    #[arg(long, value_name = "BYTES", default_value_t = 268_435_456)]
    pub max_list_bytes: usize,
    /// Most objects that are judged in one run.
    #[arg(long, value_name = "COUNT", default_value_t = 200_000)]
    pub max_objects: usize,
}

impl Args {
    /// Checks, and writes the report to the standard output.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let report = check(self)?;
        let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
        match render::write(self.output, &report, &mut out).and_then(|()| out.flush()) {
            // A reader that closes early, as `head` does, is no failure.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            written => written.context("the report could not be written")?,
        }
        Ok(exit_code(self, &report))
    }
}

fn exit_code(args: &Args, report: &Report) -> ExitCode {
    let fails = report.findings.iter().any(|finding| finding.control.severity >= args.fail_on);
    let incomplete = report.is_incomplete() || args.strict && !report.problems.is_empty();
    match (fails, incomplete) {
        (true, _) => ExitCode::from(1),
        (false, true) => ExitCode::from(2),
        (false, false) => ExitCode::SUCCESS,
    }
}

/// Evaluates the files into a report.
fn check(args: &Args) -> anyhow::Result<Report> {
    let filter = Filter::new(&args.control, args.severity)?;
    let limits = Limits { object_bytes: args.max_object_bytes, list_bytes: args.max_list_bytes };
    let mut intake = Intake { report: Report::default(), bench: Bench::default(), max_objects: args.max_objects };
    let sources = intake.sources(&args.files);
    pipeline::run(&sources, &limits, |(place, decoded)| intake.take(&place, decoded))
        .context("no thread could be started")?;
    let Intake { mut report, bench, .. } = intake;
    bench.judge(args.complete, &filter, &mut report);
    Ok(report)
}

/// Sorts what comes out of documents into objects and problems.
struct Intake {
    report: Report,
    bench: Bench,
    max_objects: usize,
}

impl Intake {
    /// Names the sources in the report, with a problem for each that could not be found.
    fn sources(&mut self, files: &[PathBuf]) -> Vec<Source> {
        let (found, lost): (Vec<_>, Vec<_>) = source::find(files).into_iter().partition(Result::is_ok);
        let sources: Vec<Source> = found.into_iter().filter_map(Result::ok).collect();
        self.report.files = sources.iter().map(Source::name).collect();
        for (path, message) in lost.into_iter().filter_map(Result::err) {
            self.report.files.push(path.display().to_string());
            let place = Place { file: self.report.files.len() - 1, ..Place::default() };
            self.report.problems.push(Problem { weight: Weight::Error, place, field: None, message });
        }
        sources
    }

    fn take(&mut self, place: &Place, decoded: Decoded) {
        let Decoded { objects, problems, lead, passed_over } = decoded;
        for (kind, count) in passed_over {
            *self.report.passed_over.entry(kind).or_default() += count;
        }
        self.report.problems.extend(problems.into_iter().map(|found| problem(place, found)));
        for read in objects {
            let place = Place { item: read.item, line: place.line + lead, ..place.clone() };
            if self.bench.len() == self.max_objects {
                let limit = self.max_objects;
                let message = format!(
                    "more than {limit} objects: what follows is not judged. Split the input, or raise --max-objects"
                );
                let seen = self.report.problems.iter().any(|problem| problem.message == message);
                if !seen {
                    self.report.problems.push(Problem { weight: Weight::Error, place, field: None, message });
                }
                return;
            }
            let name = read.object.resource().to_string();
            if let Some(first) = self.bench.put(read.object, place.clone()) {
                let message = format!(
                    "{name} is also defined in {}, document {}; each was judged by itself",
                    self.report.file(&first),
                    first.document
                );
                self.report.problems.push(Problem { weight: Weight::Warning, place, field: None, message });
            }
        }
    }
}

fn problem(place: &Place, found: DocumentProblem) -> Problem {
    // From a line of the document to a line of the file.
    let line = if found.line > 0 { place.line + found.line - 1 } else { place.line };
    let place = Place { item: found.item, line, ..place.clone() };
    Problem { weight: found.weight, place, field: found.field, message: found.message }
}
