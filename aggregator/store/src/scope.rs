//! Which namespaces the platform owner left out, and what namespace labels propose. A proposal decides nothing.

use holdfast_model::{ClusterId, UnixMillis};

use crate::error::Result;
use crate::sql::{Bulk, Fields, Sql};
use crate::{Store, Tx};

/// What one label of one namespace asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeProposal {
    /// The namespace.
    pub namespace: String,
    /// The label.
    pub label: String,
    /// Its value.
    pub value: String,
    /// Since when.
    pub since: UnixMillis,
}

const EXCLUDED: &str = "SELECT namespace FROM scope_exclusion WHERE cluster = ? ORDER BY namespace";

fn read_proposal(row: &Fields<'_>) -> Result<ScopeProposal> {
    Ok(ScopeProposal {
        namespace: row.text("namespace")?,
        label: row.text("label")?,
        value: row.text("value")?,
        since: row.int("since")?,
    })
}

impl Store {
    /// The namespaces that the platform owner left out, by name.
    pub async fn excluded_namespaces(&self, cluster: ClusterId) -> Result<Vec<String>> {
        let sql = Sql::new("excluded namespaces", EXCLUDED).bind(cluster);
        sql.all(&mut self.reader().await?, |row| row.text("namespace")).await
    }

    /// What the namespaces' labels propose, by namespace.
    pub async fn scope_proposals(&self, cluster: ClusterId) -> Result<Vec<ScopeProposal>> {
        let text =
            "SELECT namespace, label, value, since FROM scope_proposal WHERE cluster = ? ORDER BY namespace, label";
        Sql::new("scope proposals", text).bind(cluster).all(&mut self.reader().await?, read_proposal).await
    }
}

impl Tx {
    /// The namespaces that are left out, as this transaction sees them.
    pub async fn excluded_namespaces(&mut self, cluster: ClusterId) -> Result<Vec<String>> {
        let sql = Sql::new("excluded namespaces", EXCLUDED).bind(cluster);
        sql.all(self.connection(), |row| row.text("namespace")).await
    }

    /// Replaces the list of namespaces that are left out.
    pub async fn set_excluded_namespaces(
        &mut self,
        cluster: ClusterId,
        namespaces: &[String],
        at: UnixMillis,
    ) -> Result<()> {
        let clear = Sql::new("clear excluded namespaces", "DELETE FROM scope_exclusion WHERE cluster = ?");
        clear.bind(cluster).run(self.connection()).await?;
        let bulk = Bulk::new(
            "set excluded namespaces",
            "INSERT INTO scope_exclusion (cluster, namespace, set_at) ",
            " ON CONFLICT (cluster, namespace) DO NOTHING",
        );
        let write = bulk.run(self.connection(), namespaces, |row, namespace| {
            row.value(cluster).value(namespace.as_str()).value(at);
        });
        write.await?;
        Ok(())
    }

    /// Keeps what a label proposes; an empty value means that the label is gone. `since` stays where nothing changed.
    pub async fn put_scope_proposal(&mut self, cluster: ClusterId, proposal: &ScopeProposal) -> Result<()> {
        if proposal.value.is_empty() {
            let text = "DELETE FROM scope_proposal WHERE cluster = ? AND namespace = ? AND label = ?";
            let sql = Sql::new("drop scope proposal", text).bind(cluster).bind(proposal.namespace.as_str());
            sql.bind(proposal.label.as_str()).run(self.connection()).await?;
            return Ok(());
        }
        let text = "INSERT INTO scope_proposal (cluster, namespace, label, value, since) VALUES (?, ?, ?, ?, ?) \
                    ON CONFLICT (cluster, namespace, label) DO UPDATE SET value = excluded.value, since = excluded.since \
                    WHERE scope_proposal.value <> excluded.value";
        let sql = Sql::new("put scope proposal", text).bind(cluster).bind(proposal.namespace.as_str());
        let sql = sql.bind(proposal.label.as_str()).bind(proposal.value.as_str()).bind(proposal.since);
        sql.run(self.connection()).await?;
        Ok(())
    }
}
