//! What each cluster's agent can and cannot see.

use holdfast_model::kernel::coverage_subject;
use holdfast_model::{ClusterId, Coverage};

use crate::error::Result;
use crate::sql::{Fields, Sql, chunks};
use crate::{Store, Tx};

/// A coverage state with whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterCoverage {
    /// Whose it is.
    pub cluster: ClusterId,
    /// What and how.
    pub coverage: Coverage,
}

/// How many nodes of a cluster can be looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeCoverage {
    /// Whose they are.
    pub cluster: ClusterId,
    /// Nodes that run Pods.
    pub nodes: u64,
    /// Those of them whose kernel is looked into and whose sensors see; where nobody speaks of sensors, the kernel's view counts.
    pub open: u64,
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
        sql.all(&mut *self.reader().await?, read).await
    }

    /// How many nodes of one cluster, or of every one that has told of nodes, can be looked into.
    pub async fn node_coverage(&self, cluster: Option<ClusterId>) -> Result<Vec<NodeCoverage>> {
        // No name of a node has a slash in it.
        let mut sql = Sql::new(
            "node eyes",
            "SELECT view.cluster, CAST(COUNT(*) AS BIGINT) AS nodes, CAST(SUM(CASE WHEN view.state = 'seen' \
             AND COALESCE(sensors.state, 'seen') = 'seen' THEN 1 ELSE 0 END) AS BIGINT) AS open_eyes \
             FROM coverage AS view LEFT JOIN coverage AS sensors ON sensors.cluster = view.cluster \
             AND sensors.subject = REPLACE(view.subject, '/kernel-view', '/sensors')",
        );
        sql.push(" WHERE view.state <> 'absent' AND view.subject LIKE ").place(coverage_subject("%").as_str());
        if let Some(cluster) = cluster {
            sql.push(" AND view.cluster = ").place(cluster);
        }
        sql.push(" GROUP BY view.cluster ORDER BY view.cluster");
        let read = |row: &Fields<'_>| {
            Ok(NodeCoverage { cluster: row.id("cluster")?, nodes: row.count("nodes")?, open: row.count("open_eyes")? })
        };
        sql.all(&mut *self.reader().await?, read).await
    }
}

impl Tx {
    /// Whether the kernel of at least one node of a cluster can be looked at.
    pub async fn has_kernel_view(&mut self, cluster: ClusterId) -> Result<bool> {
        let text = "SELECT subject FROM coverage WHERE cluster = $1 AND state = 'seen' AND subject LIKE $2 LIMIT 1";
        let sql = Sql::new("kernel view", text).bind(cluster).bind(coverage_subject("%").as_str());
        Ok(sql.optional(self.connection(), |row| row.text("subject")).await?.is_some())
    }

    /// Keeps what was said in a session. A later state of the same subject replaces the one before; each subject at most
    /// once a call.
    pub async fn put_coverage(&mut self, cluster: ClusterId, epoch: u64, said: &[Coverage]) -> Result<()> {
        for chunk in chunks(said) {
            let text = "INSERT INTO coverage (cluster, subject, state, reason, since, epoch) VALUES ";
            let mut sql = Sql::new("put coverage", text);
            sql.rows(chunk, |row, coverage| {
                row.value(cluster).value(coverage.subject.as_str()).value(coverage.state.as_str());
                row.value(coverage.reason.as_str()).value(coverage.since).value(epoch);
            });
            sql.push(
                " ON CONFLICT (cluster, subject) DO UPDATE SET state = excluded.state, reason = excluded.reason, \
                 since = excluded.since, epoch = excluded.epoch",
            );
            sql.run(self.connection()).await?;
        }
        Ok(())
    }

    /// Drops this subject: there is nothing of the kind any more.
    pub async fn drop_coverage(&mut self, cluster: ClusterId, subject: &str) -> Result<()> {
        let text = "DELETE FROM coverage WHERE cluster = $1 AND subject = $2";
        Sql::new("drop coverage", text).bind(cluster).bind(subject).run(self.connection()).await?;
        Ok(())
    }

    /// Drops what no session since this one has spoken of.
    pub async fn drop_coverage_before(&mut self, cluster: ClusterId, epoch: u64) -> Result<()> {
        let text = "DELETE FROM coverage WHERE cluster = $1 AND epoch < $2";
        Sql::new("drop old coverage", text).bind(cluster).bind(epoch).run(self.connection()).await?;
        Ok(())
    }
}
