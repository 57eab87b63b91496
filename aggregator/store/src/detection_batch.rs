//! Which detection batches of runtime evidence were taken: the last one of each run, kept in the transaction that counts it.
//!
//! Bounded: of each source the newest runs, and nothing without a batch for a month. A source has one run at a time; the
//! one before it can come up again only while two agents of a node overlap.

use holdfast_model::{ClusterId, UnixMillis};

use crate::Tx;
use crate::error::Result;
use crate::sql::Sql;

/// Runs of one source that are kept.
const RUNS: usize = 4;
/// A run without a batch for so long has ended.
const ENDED_MILLIS: UnixMillis = 30 * 24 * 3_600_000;

const TAKEN: &str = "SELECT sequence FROM detection_batch WHERE cluster = ? AND source = ? AND run = ?";
const TAKE: &str = "INSERT INTO detection_batch (cluster, source, run, sequence, taken_at) VALUES (?, ?, ?, ?, ?) \
                    ON CONFLICT (cluster, source, run) DO UPDATE SET sequence = excluded.sequence, taken_at = excluded.taken_at";
const OF_SOURCE: &str = "SELECT run FROM detection_batch WHERE cluster = ? AND source = ? ORDER BY taken_at DESC, run";

impl Tx {
    /// Takes the detection batch of this number, unless it or a later one of its run was taken before. The cluster is locked.
    pub async fn take_detection_batch(
        &mut self,
        cluster: ClusterId,
        source: &str,
        run: &str,
        sequence: u64,
        at: UnixMillis,
    ) -> Result<bool> {
        let known = Sql::new("detection batch taken", TAKEN).bind(cluster).bind(source).bind(run);
        let known = known.optional(self.connection(), |row| row.count("sequence")).await?;
        if known.is_some_and(|known| known >= sequence) {
            return Ok(false);
        }
        let take = Sql::new("take detection batch", TAKE).bind(cluster).bind(source).bind(run).bind(sequence).bind(at);
        take.run(self.connection()).await?;
        if known.is_none() {
            self.delete_old_runs(cluster, source, run, at).await?;
        }
        Ok(true)
    }

    /// A new run: the oldest of its source, and those without a batch for long, are deleted.
    async fn delete_old_runs(&mut self, cluster: ClusterId, source: &str, new: &str, at: UnixMillis) -> Result<()> {
        let runs = Sql::new("runs of a source", OF_SOURCE).bind(cluster).bind(source);
        let runs = runs.all(self.connection(), |row| row.text("run")).await?;
        for run in runs.iter().filter(|run| *run != new).skip(RUNS - 1) {
            let text = "DELETE FROM detection_batch WHERE cluster = ? AND source = ? AND run = ?";
            Sql::new("delete run", text).bind(cluster).bind(source).bind(run.as_str()).run(self.connection()).await?;
        }
        let text = "DELETE FROM detection_batch WHERE cluster = ? AND taken_at < ?";
        Sql::new("delete old runs", text).bind(cluster).bind(at - ENDED_MILLIS).run(self.connection()).await?;
        Ok(())
    }
}
