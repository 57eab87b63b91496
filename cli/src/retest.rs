//! `holdfast retest`: asks for the proof, and waits for it if told to.

use std::process::ExitCode;
use std::time::Duration;

use holdfast_api_types::Retest;
use holdfast_model::{FindingId, RetestId, Verdict};
use tokio::time::{Instant, sleep};

use crate::action;
use crate::api::Client;
use crate::context::Context;
use crate::finding::retest_line;
use crate::render::{RecordOutput, remark};

/// Ask for proof on the live cluster that a finding is fixed
#[derive(Debug, clap::Args)]
#[command(after_help = "\
An offline agent gets the question when it returns; a read that proves nothing is tried again.
With --wait the exit code is 0 only if the verdict is `fixed`, and 1 for every other answer and for none.

Examples:
  holdfast retest f_35mw3p4zrcwtdj2ksuxvj4pu6q --wait
  holdfast retest f_35mw3p4zrcwtdj2ksuxvj4pu6q --wait --timeout 30 -o json")]
pub struct Args {
    /// The finding's id, `f_…`
    id: FindingId,
    /// Wait for the verdict
    #[arg(long)]
    wait: bool,
    /// Stop waiting after this many seconds; the retest itself goes on
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "wait")]
    timeout: u64,
    #[command(flatten)]
    output: RecordOutput,
}

impl Args {
    /// Asks, waits if told to, prints.
    pub async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let client = context.client()?;
        let asked = action::take(&client, self.id, "retest", &serde_json::json!({})).await?;
        let Some(id) = asked.retest_id else {
            anyhow::bail!("the server asked no retest of {}: it is {}", self.id, asked.finding.status);
        };
        let until = Instant::now() + Duration::from_secs(if self.wait { self.timeout } else { 0 });
        let retest = answer(&client, id, until).await?;
        self.output.print(&retest, |retest| format!("{}\n", retest_line(retest)))?;
        if !self.wait {
            return Ok(ExitCode::SUCCESS);
        }
        if !settled(&retest) {
            remark(&format!(
                "No final verdict within {} s. It goes on: `holdfast finding show {}`",
                self.timeout, self.id
            ));
        }
        Ok(exit_code(&retest))
    }
}

/// The retest as it is once settled, or when the time is up. Asked often at first: most verdicts take milliseconds.
async fn answer(client: &Client, id: RetestId, until: Instant) -> anyhow::Result<Retest> {
    let mut pause = Duration::from_millis(25);
    loop {
        let retest: Retest = client.get(&["retests", &id.to_string()]).await?;
        if settled(&retest) || Instant::now() + pause > until {
            return Ok(retest);
        }
        sleep(pause).await;
        pause = (pause * 3 / 2).min(Duration::from_secs(2));
    }
}

fn settled(retest: &Retest) -> bool {
    retest.settled || retest.verdict.is_some_and(Verdict::is_final)
}

fn exit_code(retest: &Retest) -> ExitCode {
    ExitCode::from(u8::from(retest.verdict != Some(Verdict::Fixed)))
}
