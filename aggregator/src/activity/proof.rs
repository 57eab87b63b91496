//! Proofs about the kept log: which tiles a proof reads is asked first, those are loaded, and no others.

use holdfast_proof::merkle::{Hash, proof};
use holdfast_store::Store;

use super::{ActivityError, load};

/// The audit path of an entry in the log of its first `size` entries. None if the log is not that long, or the entry not
/// among them.
pub async fn inclusion(store: &Store, index: u64, size: u64) -> Result<Option<Vec<Hash>>, ActivityError> {
    if index >= size || size > store.log_size().await? {
        return Ok(None);
    }
    let tiles = load(store, proof::tiles_for(|nodes| proof::inclusion(nodes, index, size))).await?;
    Ok(proof::inclusion(&tiles, index, size))
}

/// The path from the log of `first` entries to the log of `second`. None if the log is not that long, or `first` is 0 or
/// the larger one.
pub async fn consistency(store: &Store, first: u64, second: u64) -> Result<Option<Vec<Hash>>, ActivityError> {
    if first > second || second > store.log_size().await? {
        return Ok(None);
    }
    let tiles = load(store, proof::tiles_for(|nodes| proof::consistency(nodes, first, second))).await?;
    Ok(proof::consistency(&tiles, first, second))
}
