//! The activity log: one sequencer gives every committed event its place, and strangers check that none was changed since.
//!
//! Events are committed with what they describe, without a place. [`Sequencer`] appends them to the Merkle log, signs the new
//! head and completes the receipts that waited for their place, all in one transaction: a crash leaves either nothing or
//! all of it, and the next step does the rest. `proof` answers what the API hands out; `holdfast_proof::log` is what an auditor runs.

mod proof;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use holdfast_model::{Head, canonical};
use holdfast_proof::merkle::{Hash, Log, TileId, Tiles};
use holdfast_store::{LogHead, LogTile, Store, StoreError, StoredReceipt, Tx};

pub use proof::{consistency, inclusion};

use crate::authority::{Authority, AuthorityError};
use crate::environment::SharedEnvironment;
use crate::receipts::{self, CountersignError, Recorded};

/// How many events one transaction takes: it holds the one connection that writes for some ten milliseconds.
const BATCH: u32 = 2048;
/// Why the log does not grow.
#[derive(Debug, thiserror::Error)]
pub enum ActivityError {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The authority failed.
    #[error("the authority failed")]
    Authority(#[from] AuthorityError),
    /// A receipt could not be made.
    #[error("a receipt could not be countersigned")]
    Countersign(#[from] CountersignError),
    /// The head has no canonical form.
    #[error("the head has no canonical form")]
    Form(#[from] serde_json::Error),
    /// The stored tiles are not those of a log of the stored size.
    #[error("the tiles of the activity log do not fit its {size} entries: the database was changed by something else")]
    Tiles {
        /// The size by the events.
        size: u64,
    },
}

/// What one step did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Step {
    /// Events that got their place.
    pub sequenced: usize,
    /// Receipts that were completed.
    pub countersigned: usize,
}

/// What appends to the log.
pub struct Sequencer {
    store: Store,
    authority: Arc<Authority>,
    environment: SharedEnvironment,
    log: Option<Log>,
}

impl Sequencer {
    /// The sequencer of this record.
    pub fn new(store: Store, authority: Arc<Authority>, environment: SharedEnvironment) -> Self {
        Self { store, authority, environment, log: None }
    }

    /// Steps until nothing waits; the answer is what all steps did. It may be dropped at any moment.
    pub async fn catch_up(&mut self) -> Result<Step, ActivityError> {
        let mut all = Step::default();
        loop {
            let step = self.step().await?;
            if step == Step::default() {
                return Ok(all);
            }
            all.sequenced += step.sequenced;
            all.countersigned += step.countersigned;
        }
    }

    /// Gives the oldest waiting events their places and completes receipts, in one transaction.
    pub async fn step(&mut self) -> Result<Step, ActivityError> {
        // Whatever goes wrong, the log in memory is taken up anew from what was committed.
        let known = self.log.take();
        let mut tx = self.store.begin().await?;
        let waiting = tx.unsequenced_events(BATCH).await?;
        let mut log = self.resume(known, tx.log_size().await?).await?;
        if !waiting.is_empty() {
            let first = log.size();
            let (ids, leaves): (Vec<_>, Vec<Hash>) = waiting.iter().copied().unzip();
            leaves.into_iter().for_each(|leaf| {
                log.append(leaf);
            });
            tx.sequence_events(first, &ids).await?;
            self.write(&mut tx, &mut log).await?;
        }
        let countersigned = self.countersign(&mut tx).await?;
        tx.commit().await?;
        self.log = Some(log);
        Ok(Step { sequenced: waiting.len(), countersigned })
    }

    async fn resume(&self, known: Option<Log>, size: u64) -> Result<Log, ActivityError> {
        if let Some(log) = known.filter(|log| log.size() == size) {
            return Ok(log);
        }
        let wanted = Log::edge_of(size).into_iter().map(|(id, _)| id);
        let tiles = load(&self.store, wanted).await?;
        Log::resume(size, tiles).ok_or(ActivityError::Tiles { size })
    }

    async fn write(&self, tx: &mut Tx, log: &mut Log) -> Result<(), ActivityError> {
        for (TileId { level, number }, hashes) in log.take_changed() {
            tx.put_log_tile(&LogTile { level: level.into(), number, hashes: hashes.concat() }).await?;
        }
        let (root, at) = (log.root(), self.environment.now());
        let head = Head { form: Head::FORM.to_owned(), size: log.size(), root: root.to_vec(), at };
        let signed = canonical::text(&head)?;
        let signature = self.authority.sign(signed.as_bytes())?;
        let certificate = self.authority.signing_certificate().to_vec();
        Ok(tx.add_log_head(&LogHead { size: head.size, root, at, signed, signature, certificate }).await?)
    }

    async fn countersign(&self, tx: &mut Tx) -> Result<usize, ActivityError> {
        let due = tx.receipts_to_sign(BATCH).await?;
        for (stored, log_index, log_leaf) in &due {
            let StoredReceipt { attestation, agent_signature, agent_certificate, recorded_at, .. } = stored;
            let recorded = Recorded {
                attestation,
                agent_signature,
                agent_certificate,
                recorded_at: *recorded_at,
                log_index: *log_index,
                log_leaf: *log_leaf,
            };
            let receipt = receipts::countersign(&self.authority, &recorded)?;
            tx.put_receipt(stored.cluster, stored.retest, &serde_json::to_string(&receipt)?).await?;
        }
        Ok(due.len())
    }
}

/// These tiles, as far as they are kept.
async fn load(store: &Store, wanted: impl IntoIterator<Item = TileId>) -> Result<Tiles, ActivityError> {
    let mut tiles = Tiles::new();
    for id in wanted {
        if let Some(tile) = store.log_tile(id.level.into(), id.number).await? {
            tiles.insert(id, tile.hashes.as_chunks().0.to_vec());
        }
    }
    Ok(tiles)
}
