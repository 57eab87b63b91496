//! `holdfast start`: the owner begins to work on a finding.

use std::process::ExitCode;

use crate::action::Step;
use crate::context::Context;

/// Say that you work on a finding
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast start f_35mw3p4zrcwtdj2ksuxvj4pu6q")]
pub struct Args {
    #[command(flatten)]
    step: Step,
}

impl Args {
    /// Takes the step.
    pub async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        self.step.run(context, "start", &serde_json::json!({})).await
    }
}
