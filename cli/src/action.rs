//! The small steps that move a finding: each is one request, and says where the finding stands now.

use std::process::ExitCode;

use holdfast_api_types::ActionResult;
use holdfast_model::FindingId;
use serde::Serialize;

use crate::api::Client;
use crate::context::Context;
use crate::render::{RecordOutput, escape, paint};

/// What every such command takes.
#[derive(Debug, clap::Args)]
pub struct Step {
    /// The finding's id, `f_…`
    pub id: FindingId,
    #[command(flatten)]
    pub output: RecordOutput,
}

impl Step {
    /// Takes the step and prints where the finding stands.
    pub async fn run(self, context: &Context, verb: &str, body: &impl Serialize) -> anyhow::Result<ExitCode> {
        let result = take(&context.client()?, self.id, verb, body).await?;
        self.output.print(&result, text)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Takes a step: `start`, `resolve`, `withdraw`, `retest`.
pub async fn take(client: &Client, id: FindingId, verb: &str, body: &impl Serialize) -> anyhow::Result<ActionResult> {
    client.post(&["findings", &id.to_string(), verb], body).await
}

fn text(result: &ActionResult) -> String {
    let finding = &result.finding;
    let (title, status) = (escape::line(&finding.title), paint::word(finding.status.as_str()));
    let next = match result.retest_id {
        Some(_) => format!("A retest is under way: `holdfast retest {} --wait` waits for its verdict.\n", finding.id),
        None => String::new(),
    };
    format!("{} is {status} now: {title}, {}.\n{next}", finding.id, escape::line(&finding.resource.name))
}
