//! What a command prints, and in which form: tables for people, JSON, YAML and CSV for programs.
//!
//! Every string that a server, a cluster or a file had a hand in passes through here, so that none can steer a terminal
//! or a spreadsheet. Nothing here asks a server or decides an exit code.

use std::io::Write;

use clap::ValueEnum;
use serde::Serialize;

mod csv;
pub mod escape;
mod list;
pub mod paint;
mod tree;

pub use list::Column;

/// How to print a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// For people.
    Table,
    /// An array of the API's own objects.
    Json,
    /// The same as YAML.
    Yaml,
    /// For spreadsheets: every column, quoted, formulas disarmed.
    Csv,
}

/// How to print one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RecordFormat {
    /// For people.
    Text,
    /// The API's own object.
    Json,
    /// The same as YAML.
    Yaml,
}

/// `-o` of a command that prints a list.
#[derive(Debug, clap::Args)]
pub struct ListOutput {
    /// How to print it
    #[arg(short = 'o', long = "output", value_enum, default_value = "table", value_name = "FORMAT")]
    pub format: ListFormat,
}

/// `-o` of a command that prints one record.
#[derive(Debug, clap::Args)]
pub struct RecordOutput {
    /// How to print it
    #[arg(short = 'o', long = "output", value_enum, default_value = "text", value_name = "FORMAT")]
    pub format: RecordFormat,
}

impl ListOutput {
    /// Prints a list; `empty` is the sentence that people read when there is nothing on it.
    pub fn print<T: Serialize>(&self, rows: &[T], columns: &[Column<T>], empty: &str) -> anyhow::Result<()> {
        let text = match self.format {
            ListFormat::Table if rows.is_empty() => format!("{empty}\n"),
            ListFormat::Table => list::table(rows, columns),
            ListFormat::Json => tree::json(rows)?,
            ListFormat::Yaml => tree::yaml(rows)?,
            ListFormat::Csv => csv::csv(rows, columns)?,
        };
        write(&text)
    }
}

impl RecordOutput {
    /// Prints one record; `text` makes the form for people, already escaped.
    pub fn print<T: Serialize>(&self, record: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        let text = match self.format {
            RecordFormat::Text => text(record),
            RecordFormat::Json => tree::json(record)?,
            RecordFormat::Yaml => tree::yaml(record)?,
        };
        write(&text)
    }
}

/// Writes to standard output. A reader that left early (`| head`) is no error.
pub fn write(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Says something beside the answer, on standard error.
pub fn remark(text: &str) {
    eprintln!("{}", escape::block(text));
}
