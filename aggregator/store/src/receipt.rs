//! Receipts: the attestation and its signature from the moment of the verdict, the whole signed receipt once its event has a
//! place in the log.

use holdfast_model::{ClusterId, FindingId, RetestId, UnixMillis};

use crate::error::Result;
use crate::event::EventId;
use crate::sql::{Fields, Sql};
use crate::{Store, Tx};

/// One receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReceipt {
    /// Whose agent attests.
    pub cluster: ClusterId,
    /// The retest that it answers.
    pub retest: RetestId,
    /// About which finding.
    pub finding: FindingId,
    /// The attestation's canonical bytes, as text.
    pub attestation: String,
    /// The agent's signature over them.
    pub agent_signature: Vec<u8>,
    /// The agent's certificate, DER.
    pub agent_certificate: Vec<u8>,
    /// When the verdict was recorded.
    pub recorded_at: UnixMillis,
    /// The event that records it.
    pub event: EventId,
    /// The signed receipt, JSON, once countersigned.
    pub receipt: Option<String>,
}

const COLUMNS: &str = "SELECT r.cluster, r.retest, r.finding, r.attestation, r.agent_signature, r.agent_certificate, \
                       r.recorded_at, r.event, r.receipt";

/// A retest's id does not name its cluster: one look by the primary key for each cluster.
const OF_MEMBERS: &str = "r.cluster IN (SELECT id FROM cluster)";

fn read(row: &Fields<'_>) -> Result<StoredReceipt> {
    Ok(StoredReceipt {
        cluster: row.id("cluster")?,
        retest: row.id("retest")?,
        finding: row.id("finding")?,
        attestation: row.text("attestation")?,
        agent_signature: row.blob("agent_signature")?,
        agent_certificate: row.blob("agent_certificate")?,
        recorded_at: row.int("recorded_at")?,
        event: row.id("event")?,
        receipt: row.optional_text("receipt")?,
    })
}

impl Store {
    /// The receipt of a retest.
    pub async fn receipt(&self, retest: RetestId) -> Result<Option<StoredReceipt>> {
        let sql = Sql::new("receipt", &format!("{COLUMNS} FROM receipt r WHERE r.retest = ? AND {OF_MEMBERS}"));
        let sql = sql.bind(retest);
        sql.optional(&mut self.reader().await?, read).await
    }
}

impl Tx {
    /// Receipts that wait for their countersignature and whose event has its place and leaf in the log by now.
    pub async fn receipts_to_sign(&mut self, limit: u32) -> Result<Vec<(StoredReceipt, u64, [u8; 32])>> {
        let text = format!(
            "{COLUMNS}, e.log_index, e.leaf FROM receipt r JOIN event e ON e.cluster = r.cluster AND e.id = r.event \
             WHERE r.receipt IS NULL AND e.log_index IS NOT NULL ORDER BY r.recorded_at, r.retest LIMIT ?"
        );
        let sql = Sql::new("receipts to sign", &text).bind(limit);
        sql.all(self.connection(), |row| Ok((read(row)?, row.count("log_index")?, row.array("leaf")?))).await
    }

    /// Keeps an attestation with its signature.
    pub async fn add_receipt(&mut self, receipt: &StoredReceipt) -> Result<()> {
        let mut sql = Sql::new(
            "add receipt",
            "INSERT INTO receipt (cluster, retest, finding, attestation, agent_signature, agent_certificate, recorded_at, \
             event) VALUES ",
        );
        sql.rows(std::slice::from_ref(receipt), |row, receipt| {
            row.value(receipt.cluster).value(receipt.retest).value(receipt.finding).value(receipt.attestation.as_str());
            row.value(receipt.agent_signature.as_slice()).value(receipt.agent_certificate.as_slice());
            row.value(receipt.recorded_at).value(receipt.event);
        });
        sql.run_one(self.connection()).await
    }

    /// Completes it.
    pub async fn put_receipt(&mut self, cluster: ClusterId, retest: RetestId, receipt: &str) -> Result<()> {
        let text = "UPDATE receipt SET receipt = ? WHERE cluster = ? AND retest = ? AND receipt IS NULL";
        Sql::new("put receipt", text).bind(receipt).bind(cluster).bind(retest).run_one(self.connection()).await
    }
}
