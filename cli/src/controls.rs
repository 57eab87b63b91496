//! `holdfast controls`: the catalog that this program carries. It needs no server: the agent's catalog is the same code.

use std::process::ExitCode;

use holdfast_api_types::{Control, ControlRow};
use holdfast_controls::catalog;

use crate::context::Context;
use crate::render::escape::line;
use crate::render::paint::{heading, word};
use crate::render::{Column, ListFormat, ListOutput, write};

/// List the controls, or explain one
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast controls
  holdfast controls workload.privileged")]
pub struct Args {
    /// Explain this one
    control: Option<String>,
    #[command(flatten)]
    output: ListOutput,
}

impl Args {
    /// Prints from the catalog.
    pub async fn run(self, _context: &Context) -> anyhow::Result<ExitCode> {
        match &self.control {
            None => {
                let rows: Vec<ControlRow> = catalog::all().map(ControlRow::from).collect();
                self.output.print(&rows, COLUMNS, "This program carries no control.")?;
            }
            Some(id) => self.explain(id)?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn explain(&self, id: &str) -> anyhow::Result<()> {
        let control = catalog::Control::find(id)
            .ok_or_else(|| anyhow::anyhow!("there is no control {id:?}: `holdfast controls` lists them"))?;
        match self.output.format {
            ListFormat::Table => write(&text(&control.into())),
            _ => self.output.print(&[Control::from(control)], DETAILS, ""),
        }
    }
}

fn text(control: &Control) -> String {
    let row = &control.row;
    let head =
        format!("{}\n{}, {}, version {}", heading(&line(&row.title)), row.id, word(row.severity.as_str()), row.version);
    format!("{head}\n\n{}\n\n{}\n{}\n", line(&control.description), heading("Fix"), line(&control.remediation))
}

const COLUMNS: &[Column<ControlRow>] = &[
    Column::new("control", |row| row.id.clone()),
    Column::new("severity", |row| row.severity.to_string()),
    Column::new("holds when", |row| row.title.clone()),
    Column::new("fix", |row| if row.has_fix { "ready".into() } else { "in words".into() }),
    Column::more("version", |row| row.version.to_string()),
];

const DETAILS: &[Column<Control>] = &[
    Column::new("control", |control| control.row.id.clone()),
    Column::new("severity", |control| control.row.severity.to_string()),
    Column::new("title", |control| control.row.title.clone()),
    Column::new("description", |control| control.description.clone()),
    Column::new("remediation", |control| control.remediation.clone()),
];
