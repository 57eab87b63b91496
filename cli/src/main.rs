//! `holdfast`: the command line of Holdfast, and its table of contents.
//!
//! One file per command, each with its `Args` and a `run`. To add one: write the file, then add `mod x;`, its variant and
//! its arm below, in the order that `--help` shows. Commands talk to an aggregator's REST API through [`api`] and print
//! through [`render`], which is the only place that writes what a server said to a terminal.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

mod action;
mod api;
mod context;
mod render;

mod activity;
mod check;
mod cluster;
mod completions;
mod controls;
mod finding;
mod findings;
mod jobs;
mod pattern;
mod patterns;
mod receipt;
mod resolve;
mod retest;
mod start;
mod up;
mod withdraw;

use context::{Connection, Context};

const AFTER_HELP: &str = "\
Server and token come from --server and --token, else HOLDFAST_SERVER and HOLDFAST_TOKEN, else the
profile that `holdfast up` writes ($HOLDFAST_CONFIG, by default ~/.config/holdfast/profile.json).

Exit codes:
  0  it worked, and the answer is good
  1  it worked, and the answer is bad: findings, a fix without proof, a signature that fails
  2  it did not work: wrong usage, no server, no rights

Examples:
  holdfast up
  holdfast findings --severity high,critical --status open
  holdfast finding show f_35mw3p4zrcwtdj2ksuxvj4pu6q
  holdfast retest f_35mw3p4zrcwtdj2ksuxvj4pu6q --wait";

/// Makes Kubernetes security fixes hold: finds what is wrong, shows the fix, and proves it on the live cluster.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, after_help = AFTER_HELP, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Args),
    Cluster(cluster::Args),
    Findings(findings::Args),
    Finding(finding::Args),
    Start(start::Args),
    Resolve(resolve::Args),
    Withdraw(withdraw::Args),
    Retest(retest::Args),
    Patterns(patterns::Args),
    Pattern(pattern::Args),
    Activity(activity::Args),
    Receipt(receipt::Args),
    Check(check::Args),
    Controls(controls::Args),
    Jobs(jobs::Args),
    Completions(completions::Args),
}

impl Command {
    async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match self {
            Self::Up(args) => args.run().await,
            Self::Cluster(args) => args.run(context).await,
            Self::Findings(args) => args.run(context).await,
            Self::Finding(args) => args.run(context).await,
            Self::Start(args) => args.run(context).await,
            Self::Resolve(args) => args.run(context).await,
            Self::Withdraw(args) => args.run(context).await,
            Self::Retest(args) => args.run(context).await,
            Self::Patterns(args) => args.run(context).await,
            Self::Pattern(args) => args.run(context).await,
            Self::Activity(args) => args.run(context).await,
            Self::Receipt(args) => args.run(context).await,
            Self::Check(args) => args.run(),
            Self::Controls(args) => args.run(context).await,
            Self::Jobs(args) => args.run(context).await,
            Self::Completions(args) => args.run(Cli::command()),
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    // An error means that a provider is installed already: there is only one to install.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cli = Cli::parse();
    let context = Context::new(cli.connection);
    match cli.command.run(&context).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", render::escape::block(&format!("{error:#}")));
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_table_is_sound() {
        Cli::command().debug_assert();
    }
}
