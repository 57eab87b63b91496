//! The fleet's policy from its file: the shipped one, or the user's own. What is not understood is refused, not skipped.

use std::path::{Path, PathBuf};

use holdfast_record::calibration::Policy;

const SHIPPED: &str = include_str!("../../policy/fleet.yaml");
/// A policy is a page of text.
const FILE_BYTES: u64 = 64 * 1024;

/// Why a policy file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is too large to be a policy.
    #[error("{} is over {FILE_BYTES} bytes: this is no policy", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is no policy: wrong YAML, an unknown key, a value of another kind.
    #[error("{place}: {problem}")]
    Parse {
        /// The file.
        place: String,
        /// What is wrong, and where.
        problem: String,
    },
    /// It contradicts itself.
    #[error("{place}: {problem}")]
    Contradiction {
        /// The file.
        place: String,
        /// What is wrong.
        problem: String,
    },
}

/// The policy that Holdfast ships: unapproved, and saying so.
pub fn shipped() -> Result<Policy, PolicyError> {
    parse("the shipped policy", SHIPPED)
}

/// The policy in this file.
pub fn load(path: &Path) -> Result<Policy, PolicyError> {
    let read = |source| PolicyError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(read)?.len() > FILE_BYTES {
        return Err(PolicyError::TooLarge { path: path.to_owned() });
    }
    parse(&path.display().to_string(), &std::fs::read_to_string(path).map_err(read)?)
}

/// The policy of this text, which comes from that place.
pub fn parse(place: &str, text: &str) -> Result<Policy, PolicyError> {
    let place = place.to_owned();
    let policy: Policy = serde_saphyr::from_str(text)
        .map_err(|error| PolicyError::Parse { place: place.clone(), problem: error.to_string() })?;
    match policy.problem() {
        Some(problem) => Err(PolicyError::Contradiction { place, problem }),
        None => Ok(policy),
    }
}

#[cfg(test)]
mod tests {
    use holdfast_record::calibration::UNAPPROVED;

    use super::*;

    #[test]
    fn the_shipped_policy_is_the_designs_and_approved_by_nobody() {
        let policy = shipped().unwrap();
        let entry = |band: &holdfast_record::fleet::Entry| (band.clusters, band.share_percent);
        let bands = policy.bands;
        let entries = [&bands.several, &bands.widespread, &bands.systemic].map(entry);
        assert_eq!((entries, bands.left_at_percent), ([(2, 0), (4, 10), (8, 30)], 80));
        assert_eq!(policy.approver(), UNAPPROVED);
        let rule = policy.runtime.unwrap();
        assert_eq!((rule.name.as_str(), rule.raise), ("runtime-evidence-raises-one-step", 1));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_name() {
        let refused = |from: &str, to: &str| parse("mine.yaml", &SHIPPED.replace(from, to)).unwrap_err().to_string();
        assert!(refused("share_percent: 10", "share_precent: 10").contains("share_precent"));
        assert!(refused("name: shipped", "name: shipped\nowner: me").contains("owner"));
        assert!(refused("band: systemic", "band: everywhere").contains("everywhere"));
        assert!(refused("band: systemic", "band: widespread").contains("another rule already"));
        assert!(refused("runtime:\n", "runtime:\n  lower: 1\n").contains("lower"));
        assert!(refused("runtime-evidence-raises-one-step", "systemic-raises-two-steps").contains("another rule"));
        assert!(refused("clusters: 8", "clusters: 3").contains("no fewer clusters"));
        assert!(refused("clusters: 8", "clusters: -8").starts_with("mine.yaml: "));
    }

    #[test]
    fn a_file_that_is_not_there_or_no_page_of_text_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.yaml");
        assert!(matches!(load(&path), Err(PolicyError::Read { .. })));
        std::fs::write(&path, " ".repeat(70_000)).unwrap();
        assert!(matches!(load(&path), Err(PolicyError::TooLarge { .. })));
        std::fs::write(&path, SHIPPED).unwrap();
        assert_eq!(load(&path).unwrap(), shipped().unwrap());
    }
}
