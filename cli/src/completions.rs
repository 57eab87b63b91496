//! `holdfast completions`: what a shell needs to complete this command.

use std::process::ExitCode;

use clap_complete::Shell;

/// Print the completion script of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  source <(holdfast completions bash)
  holdfast completions zsh > ~/.zfunc/_holdfast")]
pub struct Args {
    /// The shell
    shell: Shell,
}

impl Args {
    /// Prints the script for this command table.
    pub fn run(self, mut table: clap::Command) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut table, "holdfast", &mut script);
        crate::render::write(&String::from_utf8_lossy(&script))?;
        Ok(ExitCode::SUCCESS)
    }
}
