//! How many findings a cluster has of each severity, status and reach, kept with every write: asking costs a few rows.

use holdfast_model::{ClusterId, Reach, Severity, Status};

use crate::Store;
use crate::error::{Result, StoreError};
use crate::sql::Sql;

/// One count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// The cluster.
    pub cluster: ClusterId,
    /// Severity in force.
    pub severity: Severity,
    /// Status.
    pub status: Status,
    /// How far the proofs went.
    pub reach: Option<Reach>,
    /// How many.
    pub findings: u64,
}

impl Store {
    /// Every count that is not zero, by cluster, worst first.
    pub async fn counts(&self) -> Result<Vec<Count>> {
        let text = "SELECT cluster, severity, status, NULLIF(reach, '') AS reach, findings FROM finding_count \
                    WHERE findings <> 0 ORDER BY cluster, severity DESC, status, reach";
        let read = |row: &crate::sql::Fields<'_>| {
            let rank = row.int("severity")?;
            let severity = usize::try_from(rank).ok().and_then(|rank| Severity::ALL.get(rank).copied());
            Ok(Count {
                cluster: row.id("cluster")?,
                severity: severity.ok_or_else(|| StoreError::Row {
                    operation: "counts",
                    column: "severity",
                    problem: format!("{rank}, which is no severity"),
                })?,
                status: row.word("status")?,
                reach: row.optional_word("reach")?,
                findings: row.count("findings")?,
            })
        };
        Sql::new("counts", text).all(&mut self.reader().await?, read).await
    }
}
