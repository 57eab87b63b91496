//! Join tokens, as hashes, with the keys that each has admitted: the same token and key get the same cluster again.

use holdfast_model::{ClusterId, JoinTokenId, UnixMillis};

use crate::error::Result;
use crate::sql::{Fields, Sql};
use crate::{Store, Tx};

/// One join token. Its secret is not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredJoinToken {
    /// Names the token.
    pub id: JoinTokenId,
    /// The cluster that it joins.
    pub cluster: ClusterId,
    /// Hash of its secret.
    pub secret_hash: [u8; 32],
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it stops working.
    pub expires_at: UnixMillis,
    /// How many keys it may admit.
    pub uses: u32,
    /// How many it has admitted.
    pub used: u32,
    /// When it was revoked.
    pub revoked_at: Option<UnixMillis>,
}

const COLUMNS: &str = "SELECT id, cluster, secret_hash, created_at, expires_at, uses, used, revoked_at FROM join_token";

fn read(row: &Fields<'_>) -> Result<StoredJoinToken> {
    Ok(StoredJoinToken {
        id: row.id("id")?,
        cluster: row.id("cluster")?,
        secret_hash: row.array("secret_hash")?,
        created_at: row.int("created_at")?,
        expires_at: row.int("expires_at")?,
        uses: row.small("uses")?,
        used: row.small("used")?,
        revoked_at: row.optional_int("revoked_at")?,
    })
}

impl Store {
    /// One join token.
    pub async fn join_token(&self, id: JoinTokenId) -> Result<Option<StoredJoinToken>> {
        let sql = Sql::new("join token by id", &format!("{COLUMNS} WHERE id = ?")).bind(id);
        sql.optional(&mut self.reader().await?, read).await
    }

    /// The join tokens of a cluster, latest first.
    pub async fn join_tokens(&self, cluster: ClusterId) -> Result<Vec<StoredJoinToken>> {
        let text = format!("{COLUMNS} WHERE cluster = ? ORDER BY created_at DESC, id");
        Sql::new("join tokens", &text).bind(cluster).all(&mut self.reader().await?, read).await
    }
}

impl Tx {
    /// One join token, held until the commit.
    pub async fn lock_join_token(&mut self, id: JoinTokenId) -> Result<Option<StoredJoinToken>> {
        let text = format!("{COLUMNS} WHERE id = ?{}", self.for_update());
        Sql::new("join token", &text).bind(id).optional(self.connection(), read).await
    }

    /// Keeps a new join token.
    pub async fn add_join_token(&mut self, token: &StoredJoinToken) -> Result<()> {
        let mut sql = Sql::new(
            "add join token",
            "INSERT INTO join_token (id, cluster, secret_hash, created_at, expires_at, uses, used) VALUES ",
        );
        sql.rows(std::slice::from_ref(token), |row, token| {
            row.value(token.id).value(token.cluster).value(token.secret_hash.as_slice());
            row.value(token.created_at).value(token.expires_at).value(token.uses).value(token.used);
        });
        sql.run_one(self.connection()).await
    }

    /// The cluster that this token and key were answered with before.
    pub async fn enrolment(&mut self, token: JoinTokenId, key_hash: &[u8; 32]) -> Result<Option<ClusterId>> {
        let sql = Sql::new("enrolment", "SELECT cluster FROM enrolment WHERE token = ? AND key_hash = ?");
        sql.bind(token).bind(key_hash.as_slice()).optional(self.connection(), |row| row.id("cluster")).await
    }

    /// Counts one more key that this token has admitted.
    pub async fn add_enrolment(&mut self, token: &StoredJoinToken, key_hash: &[u8; 32], at: UnixMillis) -> Result<()> {
        let text = "INSERT INTO enrolment (token, key_hash, cluster, at) VALUES (?, ?, ?, ?)";
        let sql = Sql::new("add enrolment", text).bind(token.id).bind(key_hash.as_slice()).bind(token.cluster).bind(at);
        sql.run_one(self.connection()).await?;
        let text = "UPDATE join_token SET used = used + 1 WHERE id = ? AND used < uses";
        Sql::new("count join token", text).bind(token.id).run_one(self.connection()).await
    }

    /// Revokes a join token. False if it was revoked before, or never was.
    pub async fn revoke_join_token(&mut self, id: JoinTokenId, at: UnixMillis) -> Result<bool> {
        let text = "UPDATE join_token SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL";
        Ok(Sql::new("revoke join token", text).bind(at).bind(id).run(self.connection()).await? == 1)
    }
}
