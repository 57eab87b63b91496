//! Certificates that were issued to agents. Only one that is on record here and not revoked is accepted.

use holdfast_model::{ClusterId, UnixMillis};

use crate::error::Result;
use crate::sql::{Fields, Sql};
use crate::{Store, Tx};

/// One certificate of one cluster's agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its serial number, lower-case hexadecimal.
    pub serial: String,
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// SHA-256 of its public key.
    pub key_hash: [u8; 32],
    /// When it was issued.
    pub issued_at: UnixMillis,
    /// Until when it is valid.
    pub not_after: UnixMillis,
    /// When it was first used; the one before it works until then.
    pub first_used_at: Option<UnixMillis>,
    /// When it was revoked.
    pub revoked_at: Option<UnixMillis>,
}

const COLUMNS: &str = "SELECT cluster, serial, certificate, key_hash, issued_at, not_after, first_used_at, revoked_at \
                       FROM credential";

fn read(row: &Fields<'_>) -> Result<Credential> {
    Ok(Credential {
        cluster: row.id("cluster")?,
        serial: row.text("serial")?,
        certificate: row.blob("certificate")?,
        key_hash: row.array("key_hash")?,
        issued_at: row.int("issued_at")?,
        not_after: row.int("not_after")?,
        first_used_at: row.optional_int("first_used_at")?,
        revoked_at: row.optional_int("revoked_at")?,
    })
}

impl Store {
    /// One credential.
    pub async fn credential(&self, cluster: ClusterId, serial: &str) -> Result<Option<Credential>> {
        let sql = Sql::new("credential", &format!("{COLUMNS} WHERE cluster = ? AND serial = ?"));
        sql.bind(cluster).bind(serial).optional(&mut self.reader().await?, read).await
    }

    /// Every credential of a cluster, latest first.
    pub async fn credentials(&self, cluster: ClusterId) -> Result<Vec<Credential>> {
        let text = format!("{COLUMNS} WHERE cluster = ? ORDER BY issued_at DESC, serial");
        Sql::new("credentials", &text).bind(cluster).all(&mut self.reader().await?, read).await
    }
}

impl Tx {
    /// The latest credential with this public key: the answer to a request whose first answer was lost.
    pub async fn credential_by_key(&mut self, cluster: ClusterId, key_hash: &[u8; 32]) -> Result<Option<Credential>> {
        let text = format!("{COLUMNS} WHERE cluster = ? AND key_hash = ? ORDER BY issued_at DESC LIMIT 1");
        let sql = Sql::new("credential by key", &text).bind(cluster).bind(key_hash.as_slice());
        sql.optional(self.connection(), read).await
    }

    /// Keeps a new credential.
    pub async fn add_credential(&mut self, credential: &Credential) -> Result<()> {
        let mut sql = Sql::new(
            "add credential",
            "INSERT INTO credential (cluster, serial, certificate, key_hash, issued_at, not_after) VALUES ",
        );
        sql.rows(std::slice::from_ref(credential), |row, credential| {
            row.value(credential.cluster).value(credential.serial.as_str()).value(credential.certificate.as_slice());
            row.value(credential.key_hash.as_slice()).value(credential.issued_at).value(credential.not_after);
        });
        sql.run_one(self.connection()).await
    }

    /// Notes the first use of a credential, and revokes those that were issued before it: they have been replaced.
    pub async fn use_credential(&mut self, credential: &Credential, at: UnixMillis) -> Result<()> {
        let text = "UPDATE credential SET first_used_at = ? WHERE cluster = ? AND serial = ? AND first_used_at IS NULL";
        let sql = Sql::new("use credential", text).bind(at).bind(credential.cluster);
        if sql.bind(credential.serial.as_str()).run(self.connection()).await? == 0 {
            return Ok(());
        }
        let text = "UPDATE credential SET revoked_at = ? WHERE cluster = ? AND issued_at < ? AND serial <> ? \
                    AND revoked_at IS NULL";
        let sql = Sql::new("replace credentials", text).bind(at).bind(credential.cluster).bind(credential.issued_at);
        sql.bind(credential.serial.as_str()).run(self.connection()).await?;
        Ok(())
    }
}
