//! `holdfast withdraw`: the owner takes the claim back that a finding is fixed.

use std::process::ExitCode;

use crate::action::Step;
use crate::context::Context;

/// Take back the claim that a finding is fixed
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast withdraw f_35mw3p4zrcwtdj2ksuxvj4pu6q")]
pub struct Args {
    #[command(flatten)]
    step: Step,
}

impl Args {
    /// Takes the step.
    pub async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        self.step.run(context, "withdraw", &serde_json::json!({})).await
    }
}
