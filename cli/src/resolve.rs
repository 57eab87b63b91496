//! `holdfast resolve`: the owner says that a finding is fixed; the proof follows by itself.

use std::process::ExitCode;

use holdfast_api_types::Note;

use crate::action::Step;
use crate::context::Context;

/// Say that a finding is fixed: Holdfast then proves it on the live cluster
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A claim closes nothing. The retest that follows does, when it finds the fix on the live object.

Examples:
  holdfast resolve f_35mw3p4zrcwtdj2ksuxvj4pu6q --note 'patched in chart 2.4.1'
  holdfast retest f_35mw3p4zrcwtdj2ksuxvj4pu6q --wait")]
pub struct Args {
    #[command(flatten)]
    step: Step,
    /// What you did, in your own words: it goes into the activity log
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

impl Args {
    /// Takes the step.
    pub async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        self.step.run(context, "resolve", &Note { note: self.note }).await
    }
}
