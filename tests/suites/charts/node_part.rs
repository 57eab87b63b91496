//! Why the node part runs as root: which added capabilities the kernel keeps at exec.
//!
//! Kubernetes puts `capabilities.add` into the bounding and the inheritable set, not into the ambient one. Here `setpriv`
//! does the same to a program that prints its own sets.

use anyhow::{Context, Result, ensure};
use holdfast_tests::tier;

/// CAP_PERFMON and CAP_BPF, bits 38 and 39.
const ADDED: u64 = 1 << 38 | 1 << 39;

#[tokio::test]
async fn only_root_keeps_the_two_capabilities_when_the_program_starts() -> Result<()> {
    let Some(()) = tier::available("ebpf", is_root().await)? else { return Ok(()) };
    assert_eq!(effective_as(0).await?, ADDED);
    assert_eq!(effective_as(65532).await?, 0, "another user keeps the capabilities: the chart needs no root");
    Ok(())
}

async fn is_root() -> Result<()> {
    let output = tokio::process::Command::new("id").arg("-u").output().await?;
    ensure!(output.stdout.trim_ascii() == b"0", "only root may run a program as another user");
    Ok(())
}

/// The effective capabilities of a program that runs as this user with the two capabilities added and all others dropped.
async fn effective_as(user: u32) -> Result<u64> {
    let sets = ["--bounding-set=-all,+bpf,+perfmon", "--inh-caps=-all,+bpf,+perfmon", "--clear-groups"];
    let ids = [format!("--reuid={user}"), format!("--regid={user}")];
    let mut command = tokio::process::Command::new("setpriv");
    let output = command.args(sets).args(ids).args(["cat", "/proc/self/status"]).output().await?;
    let status = String::from_utf8_lossy(&output.stdout);
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let line = line.with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok(u64::from_str_radix(line.trim(), 16)?)
}
