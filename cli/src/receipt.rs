//! `holdfast receipt`: the signed evidence of a verdict, fetched and checked.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Subcommand;
use holdfast_api_types::{Finding, Time};
use holdfast_model::{Attestation, FindingId, Receipt, RetestId, RootFingerprint, Verdict};
use holdfast_proof::VerifiedReceipt;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::api::{Client, Refusal};
use crate::context::Context;
use crate::render::escape::line;
use crate::render::paint::{Tone, tinted, word};
use crate::render::{RecordOutput, remark, write};

mod kernel;

/// How long to wait for a receipt that is about to be signed, and how often to ask.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(250);

/// The largest file that is taken for a receipt.
const MAX_RECEIPT_BYTES: u64 = 64 * 1024 * 1024;

/// Receipts: the signed evidence of a verdict
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast receipt get f_35mw3p4zrcwtdj2ksuxvj4pu6q --file receipt.json
  holdfast receipt verify receipt.json --root 3f1c…          # needs no server and no network

The root's fingerprint is printed by `holdfast up`. Keep it where the one who checks trusts it: whoever asks the server
for it trusts the server.")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Fetch a receipt, byte for byte as it was signed
    Get {
        /// A retest, `r_…`, or a finding, `f_…`: then its latest receipt
        id: String,
        /// Write it to this file instead of the terminal
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Check a receipt offline: exit code 0 if it holds and the verdict is `fixed`, 1 if not
    Verify {
        /// The receipt
        file: PathBuf,
        /// SHA-256 of the installation's root certificate, 64 hexadecimal characters
        #[arg(long, value_name = "FINGERPRINT")]
        root: RootFingerprint,
        #[command(flatten)]
        output: RecordOutput,
    },
}

impl Args {
    /// Does what the subcommand says.
    pub async fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Get { id, file } => get(&context.client()?, &id, file.as_deref()).await,
            Action::Verify { file, root, output } => verify(&file, &root, &output),
        }
    }
}

async fn get(client: &Client, id: &str, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let retest = retest_of(client, id).await?;
    let receipt = signed(client, retest).await?;
    let text = serde_json::to_string_pretty(&receipt)? + "\n";
    match file {
        None => write(&text)?,
        Some(file) => {
            std::fs::write(file, text).with_context(|| format!("{} can't be written", file.display()))?;
            remark(&format!("Written to {}.", file.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn verify(file: &Path, root: &RootFingerprint, output: &RecordOutput) -> anyhow::Result<ExitCode> {
    let receipt = read(file)?;
    let answer = match holdfast_proof::receipt::verify(&receipt, root) {
        Ok(verified) => Answer { holds: true, problem: None, proved: Some(verified.into()) },
        Err(problem) => Answer { holds: false, problem: Some(problem.to_string()), proved: None },
    };
    output.print(&answer, text)?;
    let fixed = answer.proved.is_some_and(|proved| proved.attestation.verdict == Verdict::Fixed);
    Ok(ExitCode::from(u8::from(!fixed)))
}

/// A receipt is a few kilobytes, some megabytes where thousands of nodes attest, and what is much larger is none.
fn read(file: &Path) -> anyhow::Result<Receipt> {
    let mut bytes = Vec::new();
    let opened = File::open(file).with_context(|| format!("{} can't be opened", file.display()))?;
    opened
        .take(MAX_RECEIPT_BYTES)
        .read_to_end(&mut bytes)
        .with_context(|| format!("{} is unreadable", file.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is no receipt", file.display()))
}

/// What a check comes to.
#[derive(Debug, Serialize)]
struct Answer {
    holds: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proved: Option<Proved>,
}

#[derive(Debug, Serialize)]
struct Proved {
    attestation: Attestation,
    recorded_at: Time,
    log_index: u64,
    installation: String,
}

impl From<VerifiedReceipt> for Proved {
    fn from(verified: VerifiedReceipt) -> Self {
        let VerifiedReceipt { attestation, countersigned, trust_domain } = verified;
        let (recorded_at, log_index) = (Time(countersigned.recorded_at), countersigned.log_index);
        Self { attestation, recorded_at, log_index, installation: trust_domain }
    }
}

fn text(answer: &Answer) -> String {
    let Some(proved) = &answer.proved else {
        let problem = answer.problem.as_deref().unwrap_or_default();
        return format!("{}: {}\n", tinted("The receipt does not hold", Tone::Bad), line(problem));
    };
    let of = &proved.attestation;
    let mut out = format!("The receipt holds. {} (reach {})\n\n", word(of.verdict.as_str()), of.reach);
    let mut field = |name: &str, value: String| out.push_str(&format!("  {name:<14}{}\n", line(&value)));
    field("finding", of.finding.to_string());
    field("resource", of.resource.to_string());
    field("uid", of.uid.clone());
    field("control", format!("{} version {}", of.control, of.control_version));
    field("because", of.reason.clone());
    field("cluster", of.cluster.to_string());
    field("read at", format!("{} by the agent's clock", Time(of.read_at)));
    field("recorded at", format!("{}, entry {} of the activity log", proved.recorded_at, proved.log_index));
    field("installation", proved.installation.clone());
    out.push_str("\n  Everything that was read:\n");
    for read in &of.reads {
        let version = line(&read.resource_version);
        out.push_str(&format!("    {} {} resourceVersion {version}\n", read.status, line(&read.path)));
    }
    out.push_str(&kernel::text(of));
    out
}

/// The receipt, once it has its place in the activity log: that takes a moment after the verdict.
async fn signed(client: &Client, retest: RetestId) -> anyhow::Result<Receipt> {
    let until = Instant::now() + PATIENCE;
    loop {
        match client.get(&["receipts", &retest.to_string()]).await {
            Err(error) if Instant::now() < until && is_unavailable(&error) => sleep(PAUSE).await,
            answer => return answer,
        }
    }
}

fn is_unavailable(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refusal>().is_some_and(|refusal| refusal.code == "unavailable")
}

/// The retest that was named, or the latest of the named finding that left a receipt.
async fn retest_of(client: &Client, id: &str) -> anyhow::Result<RetestId> {
    if let Ok(retest) = id.parse() {
        return Ok(retest);
    }
    let finding: FindingId =
        id.parse().map_err(|_| anyhow::anyhow!("{id:?} is neither a retest (`r_…`) nor a finding (`f_…`)"))?;
    let finding: Finding = client.get(&["findings", &finding.to_string()]).await?;
    let retest = finding.retests.iter().find(|retest| retest.receipt);
    retest.map(|retest| retest.id).with_context(|| format!("{id} has no receipt yet: it was not retested to a verdict"))
}
