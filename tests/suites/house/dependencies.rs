//! What the shipped programs are built from: licences that allow it, one source, and no package twice without a reason.
//! `deny.toml` says the same for those who have cargo-deny, which also knows the advisories.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

use super::cargo;

/// Licences that allow to ship a program under Apache-2.0 without further duties than to name them.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages of which the programs hold two versions, with what brings the older one. The list only shrinks: one that is in the
/// programs once has to be removed here.
const TWICE: &[(&str, &str)] = &[
    ("base64", "sqlx"),
    ("block-buffer", "sqlx hashes by sha2 0.10"),
    ("cpufeatures", "sqlx hashes by sha2 0.10"),
    ("crypto-common", "sqlx hashes by sha2 0.10"),
    ("digest", "sqlx hashes by sha2 0.10"),
    ("getrandom", "ahash, by kube-runtime"),
    ("hashbrown", "hashlink, by sqlx, and kube-runtime"),
    ("sha2", "sqlx hashes by sha2 0.10"),
    ("syn", "asn1-rs, by x509-parser"),
    ("synstructure", "asn1-rs, by x509-parser"),
    ("tower-http", "reqwest"),
    ("untrusted", "aws-lc-rs itself beside rustls-webpki"),
];

#[test]
fn every_package_has_a_licence_that_allows_to_ship_it() -> Result<()> {
    let refused: Vec<_> =
        shipped("{p}|{l}")?.into_iter().filter(|line| !line.split_once('|').is_some_and(|(_, l)| allows(l))).collect();
    ensure!(refused.is_empty(), "licences that nobody has looked at:\n{}", refused.join("\n"));
    Ok(())
}

#[test]
fn every_package_comes_from_the_registry_or_from_here() -> Result<()> {
    let lock = std::fs::read_to_string(super::root().join("Cargo.lock"))?;
    let sources: BTreeSet<_> = lock.lines().filter_map(|line| line.strip_prefix("source = ")).collect();
    ensure!(sources.iter().all(|source| source.starts_with("\"registry+")), "packages come from {sources:?}");
    ensure!(sources.len() == 1, "packages come from several registries: {sources:?}");
    Ok(())
}

#[test]
fn no_package_is_in_the_programs_twice_without_a_reason() -> Result<()> {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in shipped("{p}")? {
        if let [name, version, ..] = line.split(' ').collect::<Vec<_>>()[..] {
            versions.entry(name.to_owned()).or_default().insert(version.to_owned());
        }
    }
    let twice: BTreeSet<_> = versions.iter().filter(|(_, versions)| versions.len() > 1).collect();
    let unknown: Vec<_> = twice.iter().filter(|(name, _)| !TWICE.iter().any(|(known, _)| known == name)).collect();
    ensure!(unknown.is_empty(), "in the programs twice: {unknown:?}");
    let once: Vec<_> = TWICE.iter().filter(|(name, _)| !twice.iter().any(|(found, _)| found == name)).collect();
    ensure!(once.is_empty(), "no longer twice, so take them from the list: {once:?}");
    Ok(())
}

/// The packages of the three programs, one a line, each once.
fn shipped(format: &str) -> Result<BTreeSet<String>> {
    let programs = ["-p", "holdfast", "-p", "holdfast-agent", "-p", "holdfast-aggregator"];
    let tree = cargo(&[&["tree"], &programs[..], &["-e", "normal", "--prefix", "none", "--format", format]].concat())?;
    let lines = tree.lines().map(|line| line.trim_end_matches(" (*)").to_owned());
    Ok(lines.filter(|line| !line.is_empty()).collect())
}

/// Whether an SPDX expression leaves a choice of permitted licences: `/` is the old spelling of OR.
fn allows(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let every = |part: &str| part.split(" AND ").all(|licence| LICENCES.contains(&licence.trim()));
    match expression.find('(') {
        None => expression.split(" OR ").any(every),
        Some(open) => {
            let Some(length) = expression[open..].find(')') else { return false };
            let inner = if allows(&expression[open + 1..open + length]) { "MIT" } else { "none" };
            allows(&format!("{}{inner}{}", &expression[..open], &expression[open + length + 1..]))
        }
    }
}

#[test]
fn an_expression_is_read_as_spdx_means_it() {
    for (expression, is_allowed) in [
        ("MIT OR Apache-2.0", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0-only OR MIT", true),
        ("GPL-3.0-only", false),
        ("MIT AND GPL-3.0-only", false),
        ("(MIT OR GPL-3.0-only) AND Unicode-3.0", true),
        ("(MIT OR Apache-2.0) AND OpenSSL", false),
        ("Apache-2.0 WITH LLVM-exception OR GPL-2.0-only", true),
        ("", false),
    ] {
        assert_eq!(allows(expression), is_allowed, "{expression:?}");
    }
}
