//! The fixtures of the Pod Security Standards' own Go module, read from Go's module cache.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Every fixture by its path below the folder: `baseline/v1.34/fail/sysctls0.yaml`.
pub fn pod_security_fixtures() -> Result<Vec<(String, Value)>> {
    let lab = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("lab/programs");
    let asked = Command::new("go")
        .args(["list", "-m", "-f", "{{.Dir}}", "k8s.io/pod-security-admission"])
        .current_dir(lab)
        .output()
        .context("go list")?;
    ensure!(asked.status.success(), "go list: {}", String::from_utf8_lossy(&asked.stderr));
    let folder = PathBuf::from(String::from_utf8(asked.stdout)?.trim()).join("test/testdata");
    let mut fixtures = Vec::new();
    let mut folders = vec![folder.clone()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).with_context(|| next.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                let text = std::fs::read_to_string(&path)?;
                let pod = serde_saphyr::from_str(&text).with_context(|| path.display().to_string())?;
                fixtures.push((path.strip_prefix(&folder)?.display().to_string(), pod));
            }
        }
    }
    fixtures.sort_by(|(a, _), (b, _)| a.cmp(b));
    ensure!(fixtures.len() > 1_000, "only {} fixtures in {}", fixtures.len(), folder.display());
    Ok(fixtures)
}
