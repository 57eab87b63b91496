//! Which words sources and documents use: those of the field, and none of a private language.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::root;

/// Words of a private language, with the word of the field to use instead. A word is matched whole, in identifiers too:
/// `canary` is found in `CANARY_AGE` and in `canaryAge`, and not in `canaries.example`.
const HOUSE_WORDS: &[(&str, &str)] = &[
    ("testimony", "attestation"),
    ("testimonies", "attestations"),
    ("sworn", "attested"),
    ("sighting", "runtime event or runtime observation"),
    ("sightings", "runtime events or runtime observations"),
    ("parcel", "detection batch"),
    ("parcels", "detection batches"),
    ("patrol", "runtime scan"),
    ("stories", "scenarios"),
    ("strays", "escaped processes"),
    ("books", "counters"),
    ("sings", "probes"),
    ("his", "its"),
    ("himself", "itself"),
    ("liar", "the thing itself"),
    ("flawless", "compliant"),
    ("ails", "findings per workload"),
    ("ailing", "failing"),
    ("scenes", "fixtures"),
    ("deed", "action"),
    ("deeds", "actions"),
    ("grasping", "over-privileged"),
    ("sang", "probed"),
    ("eye", "kernel view"),
    ("eyes", "kernel views"),
    ("blind", "not observed"),
    ("canary", "heartbeat probe"),
    ("scene", "fixture"),
    ("story", "scenario"),
    ("mint", "issue"),
    ("minted", "issued"),
    ("swear", "attest"),
    ("swears", "attests"),
    ("stray", "escaped process"),
];

/// Uses of such words in their ordinary technical meaning: a path or the beginning of one, the word, and the reason.
const PERMITTED: &[(&str, &str, &str)] = &[("tests/suites/house/words.rs", "", "the list itself")];

#[test]
fn sources_and_documents_use_the_words_of_the_field() -> Result<()> {
    let mut found = Vec::new();
    for path in tracked_texts()? {
        let text = std::fs::read_to_string(root().join(&path)).with_context(|| path.clone())?;
        for (number, line) in text.lines().enumerate() {
            let words = words(line);
            let house = HOUSE_WORDS.iter().filter(|(word, _)| words.iter().any(|found| found == word));
            let house = house.filter(|(word, _)| !is_permitted(&path, word));
            found.extend(house.map(|(word, instead)| format!("{path}:{}: {word:?}: write {instead}", number + 1)));
        }
    }
    ensure!(found.is_empty(), "words that the field does not use:\n{}", found.join("\n"));
    Ok(())
}

fn is_permitted(path: &str, word: &str) -> bool {
    PERMITTED
        .iter()
        .any(|(start, permitted, _)| path.starts_with(start) && (permitted.is_empty() || *permitted == word))
}

/// The words of a line in lower case; `snake_case`, `kebab-case` and `camelCase` are split.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut previous_is_lower = false;
    for letter in line.chars() {
        let starts_word = letter.is_uppercase() && previous_is_lower;
        if !letter.is_alphabetic() || starts_word {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| letter.is_alphabetic()) {
            word.extend(letter.to_lowercase());
        }
        previous_is_lower = letter.is_lowercase();
    }
    words
}

#[test]
fn words_are_found_in_every_spelling_of_an_identifier() {
    let canary = |line: &str| words(line).iter().any(|word| word == "canary");
    assert!(
        ["the canary.", "CANARY_AGE", "canaryAge", "CanaryAge", "canary-age", "last_canary"]
            .iter()
            .all(|line| canary(line))
    );
    assert!(!canary("canaries"));
}

/// Every text file under version control except lists of third-party packages.
fn tracked_texts() -> Result<Vec<String>> {
    let output = Command::new("git").args(["ls-files"]).current_dir(root()).output().context("starting git")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let files = String::from_utf8(output.stdout)?;
    let is_ours = |path: &&str| !path.ends_with(".lock") && !path.ends_with("go.sum") && !path.ends_with("go.mod");
    let files: Vec<_> = files.lines().filter(is_ours).map(str::to_owned).collect();
    ensure!(files.len() > 400, "only {} files are under version control", files.len());
    Ok(files.into_iter().filter(|path| root().join(path).is_file()).collect())
}
