//! Agreement without resending: what an agent holds and what the aggregator holds, folded to 256 buckets and one root.
//!
//! Every failing statement has a hash; a bucket is the XOR of the hashes whose finding id starts with its byte, so a change
//! costs one XOR and order never matters. At reconnect the roots are compared first, then buckets, then only the findings
//! of differing buckets travel. An agent can only falsify the record of its own cluster, which its reports could do as well.

use sha2::{Digest, Sha256};

use crate::id::FindingId;
use crate::statement::Location;

/// Number of buckets: one per first byte of a finding id.
pub const BUCKETS: usize = 256;

/// The hash of one failing statement: the first 128 bits of SHA-256 over finding, control version and sorted locations.
pub type StatementHash = [u8; 16];

/// Hashes one failing statement.
pub fn statement_hash(finding: FindingId, control_version: u32, locations: &[Location]) -> StatementHash {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(finding.as_bytes());
    part(&control_version.to_be_bytes());
    for Location { path, value, container, object } in locations {
        part(path.as_bytes());
        part(value.as_bytes());
        part(container.as_deref().unwrap_or("").as_bytes());
        part(object.as_deref().unwrap_or("").as_bytes());
    }
    let digest: [u8; 32] = hash.finalize().into();
    std::array::from_fn(|i| digest[i])
}

/// Names a list of controls, `id@version` each, in the order given: an agent that reconnects sends this instead of the list.
pub fn controls_digest<S: AsRef<str>>(controls: impl IntoIterator<Item = S>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for control in controls {
        hash.update((control.as_ref().len() as u64).to_be_bytes());
        hash.update(control.as_ref());
    }
    hash.finalize().into()
}

/// The fold over all failing statements of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerDigest {
    buckets: Box<[StatementHash; BUCKETS]>,
}

impl Default for LedgerDigest {
    fn default() -> Self {
        Self { buckets: Box::new([[0; 16]; BUCKETS]) }
    }
}

impl LedgerDigest {
    /// Adds a statement, or takes it away again: XOR undoes itself.
    pub fn toggle(&mut self, finding: FindingId, hash: StatementHash) {
        let bucket = &mut self.buckets[bucket_of(finding)];
        for (byte, mixed) in bucket.iter_mut().zip(hash) {
            *byte ^= mixed;
        }
    }

    /// The root over all buckets.
    pub fn root(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for bucket in self.buckets.iter() {
            hash.update(bucket);
        }
        hash.finalize().into()
    }

    /// The buckets, in order.
    pub fn buckets(&self) -> &[StatementHash; BUCKETS] {
        &self.buckets
    }

    /// The numbers of the buckets that differ from another side's. A list of another length differs everywhere.
    pub fn differing(&self, theirs: &[StatementHash]) -> Vec<u8> {
        (0..=u8::MAX).filter(|&i| theirs.get(usize::from(i)) != Some(&self.buckets[usize::from(i)])).collect()
    }
}

/// The bucket of a finding.
pub fn bucket_of(finding: FindingId) -> usize {
    usize::from(finding.as_bytes()[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_taking_away_undoes() {
        let ids: Vec<_> = (0..50u8).map(|i| FindingId::from_bytes([i.wrapping_mul(37); 16])).collect();
        let hash = |id: FindingId| statement_hash(id, 1, &[Location::field("a", "b")]);
        let (mut there, mut back) = (LedgerDigest::default(), LedgerDigest::default());
        ids.iter().for_each(|&id| there.toggle(id, hash(id)));
        ids.iter().rev().for_each(|&id| back.toggle(id, hash(id)));
        assert_eq!(there.root(), back.root());

        there.toggle(ids[3], hash(ids[3]));
        assert_eq!(there.differing(back.buckets()), vec![ids[3].as_bytes()[0]]);
        ids.iter().filter(|&&id| id != ids[3]).for_each(|&id| there.toggle(id, hash(id)));
        assert_eq!(there, LedgerDigest::default());
    }

    #[test]
    fn the_fields_of_a_location_do_not_run_into_each_other() {
        let id = FindingId::from_bytes([1; 16]);
        let path = statement_hash(id, 1, &[Location::field("ab", "c")]);
        assert_ne!(path, statement_hash(id, 1, &[Location::field("a", "bc")]));
        assert_ne!(path, statement_hash(id, 2, &[Location::field("ab", "c")]));
    }
}
