//! What two sides hold of a kind, made comparable: uids of a list, and hashes of uid and version.

use std::collections::HashSet;
use std::fmt::Write;

use sha2::{Digest, Sha256};

/// The uids that one list had.
pub type Uids = HashSet<Box<str>>;

/// Uid and version of every object of a kind, each pair hashed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Versions(HashSet<[u8; 16]>);

impl Versions {
    /// Adds one object.
    pub fn add(&mut self, uid: &str, resource_version: &str) {
        let mut text = String::with_capacity(uid.len() + resource_version.len() + 1);
        let _infallible = write!(text, "{uid}/{resource_version}");
        let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        self.0.insert(std::array::from_fn(|i| digest[i]));
    }

    /// What one side has and the other lacks.
    pub fn difference(&self, other: &Self) -> Self {
        Self(self.0.symmetric_difference(&other.0).copied().collect())
    }

    /// Whether any pair stands in both: a difference that a watch with time to catch up did not cure.
    pub fn overlaps(&self, other: &Self) -> bool {
        !self.0.is_disjoint(&other.0)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_difference_that_stays_is_drift() {
        let of = |pairs: &[(&str, &str)]| {
            let mut versions = Versions::default();
            pairs.iter().for_each(|(uid, version)| versions.add(uid, version));
            versions
        };
        assert!(of(&[("a", "1"), ("b", "2")]).difference(&of(&[("b", "2"), ("a", "1")])).is_empty());
        let churn = of(&[("a", "1")]).difference(&of(&[("a", "2")]));
        let later_churn = of(&[("a", "2")]).difference(&of(&[("a", "3")]));
        let lost = of(&[("a", "2"), ("gone", "1")]).difference(&of(&[("a", "3")]));
        assert!(!churn.is_empty() && !of(&[("b", "1")]).overlaps(&later_churn));
        assert!(lost.overlaps(&of(&[("gone", "1")]).difference(&of(&[]))));
    }
}
