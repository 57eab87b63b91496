//! Clusters: who they are, what their agents last reported of themselves, and how far their batches were applied.

use holdfast_model::{ClusterId, UnixMillis};

use crate::error::Result;
use crate::sql::{Fields, Sql};
use crate::{Store, Tx};

/// One cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Drawn when it was added.
    pub id: ClusterId,
    /// As its administrator named it; unique.
    pub name: String,
    /// Uid of its namespace kube-system, once known.
    pub fingerprint: Option<String>,
    /// Version of its API server.
    pub server_version: Option<String>,
    /// Version of its agent.
    pub agent_version: Option<String>,
    /// `id@version` of every control that its agent evaluates.
    pub controls: Vec<String>,
    /// Its agent's clock minus the aggregator's, at the last Hello.
    pub clock_offset: Option<i64>,
    /// When it was added.
    pub added_at: UnixMillis,
    /// When its agent last sent anything.
    pub last_seen_at: Option<UnixMillis>,
    /// When it was revoked.
    pub revoked_at: Option<UnixMillis>,
    /// The stream that is current.
    pub epoch: u64,
    /// The last batch of that epoch that was applied.
    pub sequence: u64,
}

impl Cluster {
    /// A cluster that no agent has joined yet.
    pub fn new(id: ClusterId, name: &str, added_at: UnixMillis) -> Self {
        Self {
            id,
            name: name.to_owned(),
            fingerprint: None,
            server_version: None,
            agent_version: None,
            controls: Vec::new(),
            clock_offset: None,
            added_at,
            last_seen_at: None,
            revoked_at: None,
            epoch: 0,
            sequence: 0,
        }
    }
}

/// What an agent reports of itself when it connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// Uid of the namespace kube-system.
    pub fingerprint: String,
    /// Version of the API server.
    pub server_version: String,
    /// Version of the agent.
    pub agent_version: String,
    /// `id@version` of every control that it evaluates.
    pub controls: Vec<String>,
    /// Its clock minus the aggregator's.
    pub clock_offset: i64,
}

const COLUMNS: &str = "SELECT id, name, fingerprint, server_version, agent_version, controls, clock_offset, added_at, \
                       last_seen_at, revoked_at, epoch, sequence FROM cluster";

fn read(row: &Fields<'_>) -> Result<Cluster> {
    Ok(Cluster {
        id: row.id("id")?,
        name: row.text("name")?,
        fingerprint: row.optional_text("fingerprint")?,
        server_version: row.optional_text("server_version")?,
        agent_version: row.optional_text("agent_version")?,
        controls: row.json("controls")?,
        clock_offset: row.optional_int("clock_offset")?,
        added_at: row.int("added_at")?,
        last_seen_at: row.optional_int("last_seen_at")?,
        revoked_at: row.optional_int("revoked_at")?,
        epoch: row.count("epoch")?,
        sequence: row.count("sequence")?,
    })
}

impl Store {
    /// Every cluster, by name.
    pub async fn clusters(&self) -> Result<Vec<Cluster>> {
        Sql::new("clusters", &format!("{COLUMNS} ORDER BY name")).all(&mut self.reader().await?, read).await
    }

    /// One cluster.
    pub async fn cluster(&self, id: ClusterId) -> Result<Option<Cluster>> {
        let sql = Sql::new("cluster by id", &format!("{COLUMNS} WHERE id = ?")).bind(id);
        sql.optional(&mut self.reader().await?, read).await
    }

    /// The cluster with this name.
    pub async fn cluster_by_name(&self, name: &str) -> Result<Option<Cluster>> {
        let sql = Sql::new("cluster by name", &format!("{COLUMNS} WHERE name = ?")).bind(name);
        sql.optional(&mut self.reader().await?, read).await
    }

    /// The active cluster with this fingerprint.
    pub async fn cluster_by_fingerprint(&self, fingerprint: &str) -> Result<Option<Cluster>> {
        let text = format!("{COLUMNS} WHERE fingerprint = ? AND revoked_at IS NULL");
        Sql::new("cluster by fingerprint", &text).bind(fingerprint).optional(&mut self.reader().await?, read).await
    }
}

impl Tx {
    /// One cluster, locked until the commit: other writers of its record wait.
    pub async fn lock_cluster(&mut self, id: ClusterId) -> Result<Option<Cluster>> {
        let text = format!("{COLUMNS} WHERE id = ?{}", self.for_update());
        Sql::new("cluster for update", &text).bind(id).optional(self.connection(), read).await
    }

    /// Holds these clusters until the commit, one by one in the order of their ids, so that no other writer changes their
    /// findings: Citus locks rows of one node a statement. SQLite has one writer and needs no such thing.
    pub async fn hold_clusters(&mut self, sorted: &[ClusterId]) -> Result<()> {
        let for_update = self.for_update();
        if for_update.is_empty() {
            return Ok(());
        }
        for &id in sorted {
            let sql = Sql::new("hold cluster", &format!("SELECT id FROM cluster WHERE id = ?{for_update}")).bind(id);
            sql.all(self.connection(), |row| row.id::<ClusterId>("id")).await?;
        }
        Ok(())
    }

    /// The active cluster with this fingerprint, as this transaction sees it.
    pub async fn cluster_by_fingerprint(&mut self, fingerprint: &str) -> Result<Option<Cluster>> {
        let text = format!("{COLUMNS} WHERE fingerprint = ? AND revoked_at IS NULL");
        Sql::new("cluster by fingerprint", &text).bind(fingerprint).optional(self.connection(), read).await
    }

    /// The cluster with this name, as this transaction sees it.
    pub async fn cluster_by_name(&mut self, name: &str) -> Result<Option<Cluster>> {
        let sql = Sql::new("cluster by name", &format!("{COLUMNS} WHERE name = ?")).bind(name);
        sql.optional(self.connection(), read).await
    }

    /// Adds a cluster.
    pub async fn add_cluster(&mut self, cluster: &Cluster) -> Result<()> {
        let text = "INSERT INTO cluster (id, name, fingerprint, controls, added_at, epoch, sequence) \
                    VALUES (?, ?, ?, '[]', ?, 0, 0)";
        let sql = Sql::new("add cluster", text).bind(cluster.id).bind(cluster.name.as_str());
        sql.bind(cluster.fingerprint.as_deref()).bind(cluster.added_at).run_one(self.connection()).await?;
        if let Some(fingerprint) = &cluster.fingerprint {
            self.claim(cluster.id, format!("fingerprint/{fingerprint}")).await?;
        }
        self.claim(cluster.id, format!("name/{}", cluster.name)).await
    }

    /// Takes what only one cluster may have; an error if it is another's.
    async fn claim(&mut self, cluster: ClusterId, claim: String) -> Result<()> {
        let text = "INSERT INTO cluster_claim (claim, cluster) VALUES (?, ?) \
                    ON CONFLICT (claim) DO UPDATE SET cluster = excluded.cluster \
                    WHERE cluster_claim.cluster = excluded.cluster";
        Sql::new("claim for a cluster", text).bind(claim).bind(cluster).run_one(self.connection()).await
    }

    /// Gives a cluster its fingerprint, at its first enrolment.
    pub async fn set_fingerprint(&mut self, id: ClusterId, fingerprint: &str) -> Result<()> {
        let sql = Sql::new("set fingerprint", "UPDATE cluster SET fingerprint = ? WHERE id = ?");
        sql.bind(fingerprint).bind(id).run_one(self.connection()).await?;
        self.claim(id, format!("fingerprint/{fingerprint}")).await
    }

    /// Starts the next epoch of a cluster and keeps what its agent reports of itself. The answer is the epoch.
    pub async fn start_epoch(&mut self, id: ClusterId, reported: &Connected, at: UnixMillis) -> Result<u64> {
        let controls = crate::sql::json_text("start epoch", &reported.controls)?;
        let text = "UPDATE cluster SET epoch = epoch + 1, sequence = 0, fingerprint = ?, server_version = ?, \
                    agent_version = ?, controls = ?, clock_offset = ?, last_seen_at = ? WHERE id = ?";
        let sql =
            Sql::new("start epoch", text).bind(reported.fingerprint.as_str()).bind(reported.server_version.as_str());
        let sql =
            sql.bind(reported.agent_version.as_str()).bind(controls).bind(reported.clock_offset).bind(at).bind(id);
        sql.run_one(self.connection()).await?;
        self.claim(id, format!("fingerprint/{}", reported.fingerprint)).await?;
        let read_back = Sql::new("epoch", "SELECT epoch FROM cluster WHERE id = ?").bind(id);
        Ok(read_back.optional(self.connection(), |row| row.count("epoch")).await?.unwrap_or_default())
    }

    /// Notes that batches up to this one were applied.
    pub async fn set_applied(&mut self, id: ClusterId, epoch: u64, sequence: u64, at: UnixMillis) -> Result<()> {
        let text = "UPDATE cluster SET sequence = ?, last_seen_at = ? WHERE id = ? AND epoch = ?";
        let sql = Sql::new("set applied", text).bind(sequence).bind(at).bind(id).bind(epoch);
        sql.run_one(self.connection()).await
    }

    /// Notes that the agent sent something.
    pub async fn set_last_seen(&mut self, id: ClusterId, at: UnixMillis) -> Result<()> {
        let sql = Sql::new("set last seen", "UPDATE cluster SET last_seen_at = ? WHERE id = ?");
        sql.bind(at).bind(id).run_one(self.connection()).await
    }

    /// Revokes a cluster and every credential of it. False if it was revoked before.
    pub async fn revoke_cluster(&mut self, id: ClusterId, at: UnixMillis) -> Result<bool> {
        let text = "UPDATE credential SET revoked_at = ? WHERE cluster = ? AND revoked_at IS NULL";
        Sql::new("revoke credentials", text).bind(at).bind(id).run(self.connection()).await?;
        let text = "UPDATE join_token SET revoked_at = ? WHERE cluster = ? AND revoked_at IS NULL";
        Sql::new("revoke join tokens", text).bind(at).bind(id).run(self.connection()).await?;
        let text = "DELETE FROM cluster_claim WHERE cluster = ? AND claim LIKE 'fingerprint/%'";
        Sql::new("release fingerprint", text).bind(id).run(self.connection()).await?;
        let text = "UPDATE cluster SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL";
        Ok(Sql::new("revoke cluster", text).bind(at).bind(id).run(self.connection()).await? == 1)
    }
}
