//! The report in the forms that people and machines read. One file per form; none decides anything.
//!
//! Every text may come from a hostile file: each form escapes as its format asks, and what goes to a terminal has no
//! control characters.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::Format;
use super::report::{Place, Report};

mod json;
mod junit;
mod sarif;
mod table;

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

/// `deploy.yaml: document 2, object 3, line 40`.
fn spot(report: &Report, place: &Place) -> String {
    let mut text = report.file(place).to_owned();
    if place.document > 0 {
        let _ = write!(text, ": document {}", place.document);
    }
    if let Some(item) = place.item {
        let _ = write!(text, ", object {item}");
    }
    if place.line > 0 {
        let _ = write!(text, ", line {}", place.line);
    }
    text
}
