//! The report in the forms that people and machines read. One file per form; none decides anything.
//!
//! Every text may come from a hostile file: each form escapes as its format asks, and what goes to a terminal has no
//! control characters.

use std::io::{self, Write};

use clap::ValueEnum;

use super::report::Report;

mod json;
mod junit;
mod position;
mod sarif;
mod table;

/// The forms of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people, grouped by object.
    Table,
    /// One JSON object.
    Json,
    /// The same as YAML.
    Yaml,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// JUnit XML, for test reports.
    Junit,
}

/// Writes the report.
pub fn write(format: Format, report: &Report, out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Table => table::write(report, out),
        Format::Json => json::write(report, out),
        Format::Yaml => json::write_yaml(report, out),
        Format::Sarif => sarif::write(report, out),
        Format::Junit => junit::write(report, out),
    }
}
