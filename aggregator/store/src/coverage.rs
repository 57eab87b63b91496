//! What each cluster's agent can and cannot observe.

use holdfast_model::kernel::coverage_subject;
use holdfast_model::{ClusterId, Coverage};

use crate::error::Result;
use crate::sql::{Bulk, Fields, Sql};
use crate::{Store, Tx};

/// A coverage state of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterCoverage {
    /// The cluster.
    pub cluster: ClusterId,
    /// What and how.
    pub coverage: Coverage,
}

/// How many nodes of a cluster can be observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeCoverage {
    /// The cluster.
    pub cluster: ClusterId,
    /// Nodes that run Pods.
    pub nodes: u64,
    /// Those whose kernel view and sensors are available; where sensors are not reported, the kernel view alone counts.
    pub available: u64,
}

fn read(row: &Fields<'_>) -> Result<ClusterCoverage> {
    let coverage = Coverage {
        subject: row.text("subject")?,
        state: row.word("state")?,
        reason: row.text("reason")?,
        since: row.int("since")?,
    };
    Ok(ClusterCoverage { cluster: row.id("cluster")?, coverage })
}

impl Store {
    /// The coverage of one cluster, or of all, by cluster and subject.
    pub async fn coverage(&self, cluster: Option<ClusterId>) -> Result<Vec<ClusterCoverage>> {
        let mut sql = Sql::new("coverage", "SELECT cluster, subject, state, reason, since FROM coverage");
        if let Some(cluster) = cluster {
            sql.push(" WHERE cluster = ").place(cluster);
        }
        sql.push(" ORDER BY cluster, subject");
        sql.all(&mut self.reader().await?, read).await
    }

    /// How many nodes of one cluster, or of every cluster that reports nodes, can be observed.
    pub async fn node_coverage(&self, cluster: Option<ClusterId>) -> Result<Vec<NodeCoverage>> {
        // No name of a node has a slash in it.
        let mut sql = Sql::new(
            "node coverage",
            "SELECT view.cluster, CAST(COUNT(*) AS BIGINT) AS nodes, CAST(SUM(CASE WHEN view.state = 'seen' \
             AND COALESCE(sensors.state, 'seen') = 'seen' THEN 1 ELSE 0 END) AS BIGINT) AS available_nodes \
             FROM coverage AS view LEFT JOIN coverage AS sensors ON sensors.cluster = view.cluster \
             AND sensors.subject = REPLACE(view.subject, '/kernel-view', '/sensors')",
        );
        sql.push(" WHERE view.state <> 'absent' AND view.subject LIKE ").place(coverage_subject("%").as_str());
        if let Some(cluster) = cluster {
            sql.push(" AND view.cluster = ").place(cluster);
        }
        sql.push(" GROUP BY view.cluster ORDER BY view.cluster");
        let read = |row: &Fields<'_>| {
            Ok(NodeCoverage {
                cluster: row.id("cluster")?,
                nodes: row.count("nodes")?,
                available: row.count("available_nodes")?,
            })
        };
        sql.all(&mut self.reader().await?, read).await
    }
}

impl Tx {
    /// Whether the kernel of at least one node of a cluster can be looked at.
    pub async fn has_kernel_view(&mut self, cluster: ClusterId) -> Result<bool> {
        let text = "SELECT subject FROM coverage WHERE cluster = ? AND state = 'seen' AND subject LIKE ? LIMIT 1";
        let sql = Sql::new("kernel view", text).bind(cluster).bind(coverage_subject("%").as_str());
        Ok(sql.optional(self.connection(), |row| row.text("subject")).await?.is_some())
    }

    /// Keeps what was reported in a session. A later state of the same subject replaces the one before; each subject at most
    /// once a call.
    pub async fn put_coverage(&mut self, cluster: ClusterId, epoch: u64, reported: &[Coverage]) -> Result<()> {
        let bulk = Bulk::new(
            "put coverage",
            "INSERT INTO coverage (cluster, subject, state, reason, since, epoch) ",
            " ON CONFLICT (cluster, subject) DO UPDATE SET state = excluded.state, reason = excluded.reason, \
             since = excluded.since, epoch = excluded.epoch",
        );
        let write = bulk.run(self.connection(), reported, |row, coverage| {
            row.value(cluster).value(coverage.subject.as_str()).value(coverage.state.as_str());
            row.value(coverage.reason.as_str()).value(coverage.since).value(epoch);
        });
        write.await?;
        Ok(())
    }

    /// Drops this subject: there is nothing of the kind any more.
    pub async fn drop_coverage(&mut self, cluster: ClusterId, subject: &str) -> Result<()> {
        let text = "DELETE FROM coverage WHERE cluster = ? AND subject = ?";
        Sql::new("drop coverage", text).bind(cluster).bind(subject).run(self.connection()).await?;
        Ok(())
    }

    /// Drops what no session since this one has reported.
    pub async fn drop_coverage_before(&mut self, cluster: ClusterId, epoch: u64) -> Result<()> {
        let text = "DELETE FROM coverage WHERE cluster = ? AND epoch < ?";
        Sql::new("drop old coverage", text).bind(cluster).bind(epoch).run(self.connection()).await?;
        Ok(())
    }
}
