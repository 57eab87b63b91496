//! Checks the whole activity log with this machine's own arithmetic: the server hands out bytes, it does not judge them.

use std::process::ExitCode;

use anyhow::Context as _;
use data_encoding::HEXLOWER_PERMISSIVE;
use holdfast_api_types::{Activity, Head, Time, Version};
use holdfast_model::RootFingerprint;
use holdfast_proof::log::{LoggedEntry, SignedHead, verify};
use serde::Serialize;

use crate::api::Client;
use crate::render::paint::{Tone, tinted};
use crate::render::{ListFormat, RecordFormat, RecordOutput, escape, remark};

/// What the check comes to.
#[derive(Debug, Serialize)]
struct Answer {
    holds: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    entries: u64,
    without_bytes: u64,
    root_hash: String,
    signed_at: Time,
    root: RootFingerprint,
}

/// Fetches the head, then every entry that it covers, and checks them.
pub async fn run(client: &Client, root: Option<RootFingerprint>, format: ListFormat) -> anyhow::Result<ExitCode> {
    let output = RecordOutput { format: record_format(format)? };
    let root = match root {
        Some(root) => root,
        None => fingerprint_by_the_server(client).await?,
    };
    let head: Head = client.get(&["activity", "head"]).await?;
    let entries = entries(client, head.size).await?;
    let answer = check(&head, entries, root)?;
    output.print(&answer, text)?;
    Ok(ExitCode::from(u8::from(!answer.holds)))
}

fn record_format(format: ListFormat) -> anyhow::Result<RecordFormat> {
    match format {
        ListFormat::Table => Ok(RecordFormat::Text),
        ListFormat::Json => Ok(RecordFormat::Json),
        ListFormat::Yaml => Ok(RecordFormat::Yaml),
        ListFormat::Csv => anyhow::bail!("the answer of --verify is no list: use -o table, json or yaml"),
    }
}

async fn fingerprint_by_the_server(client: &Client) -> anyhow::Result<RootFingerprint> {
    let version: Version = client.get(&["version"]).await?;
    let root = version.root_fingerprint.parse().map_err(|problem: String| anyhow::anyhow!(problem))?;
    remark(&format!("Checked against the root that the server names, {root}: compare it with the one you keep."));
    Ok(root)
}

/// The entries below this place. What was appended since the head was signed is a later head's.
async fn entries(client: &Client, size: u64) -> anyhow::Result<Vec<LoggedEntry>> {
    let limit = usize::try_from(size).context("the log is larger than this machine can hold")?;
    let (rows, _) = client.list::<Activity>(&["activity", "log"], &[], Some(limit)).await?;
    rows.into_iter().map(entry).collect()
}

fn entry(row: Activity) -> anyhow::Result<LoggedEntry> {
    let leaf = bytes("leaf", &row.leaf.hash)?;
    Ok(LoggedEntry {
        index: row.index.context("the server lists an entry without a place in the log")?,
        bytes: row.leaf.bytes.map(String::into_bytes),
        leaf: leaf.try_into().map_err(|_| anyhow::anyhow!("a leaf hash has another length than 32 bytes"))?,
    })
}

fn check(head: &Head, entries: Vec<LoggedEntry>, root: RootFingerprint) -> anyhow::Result<Answer> {
    let (signature, certificate) = (bytes("signature", &head.signature)?, bytes("certificate", &head.certificate)?);
    let root_certificate = bytes("root certificate", &head.root_certificate)?;
    let signed = SignedHead {
        signed: &head.signed,
        signature: &signature,
        certificate: &certificate,
        root_certificate: &root_certificate,
    };
    let mut answer = Answer {
        holds: false,
        problem: None,
        entries: 0,
        without_bytes: 0,
        root_hash: head.root_hash.clone(),
        signed_at: head.at,
        root,
    };
    match verify(entries, &signed, &root) {
        Err(problem) => answer.problem = Some(problem.to_string()),
        Ok(verified) => {
            let signed_hash = HEXLOWER_PERMISSIVE.encode(&verified.head.root);
            let signed_at = Time(verified.head.at);
            (answer.entries, answer.without_bytes) = (verified.entries, verified.without_bytes);
            (answer.holds, answer.root_hash, answer.signed_at) = (true, signed_hash, signed_at);
        }
    }
    Ok(answer)
}

fn bytes(what: &str, hex: &str) -> anyhow::Result<Vec<u8>> {
    HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).with_context(|| format!("the server's {what} is not hexadecimal"))
}

fn text(answer: &Answer) -> String {
    let Some(problem) = &answer.problem else {
        let dropped = match answer.without_bytes {
            0 => String::new(),
            many => format!(" Of {many} more, retention has left the hash."),
        };
        let holds = tinted("The log holds.", Tone::Good);
        let (entries, root) = (answer.entries, escape::line(&answer.root_hash));
        return format!(
            "{holds} {entries} entries hash to the head signed at {}.{dropped}\n  root hash {root}\n",
            answer.signed_at
        );
    };
    format!("{}: {}\n", tinted("The log does not hold", Tone::Bad), escape::line(problem))
}
