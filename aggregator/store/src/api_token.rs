//! API tokens, as hashes.

use holdfast_model::UnixMillis;

use crate::error::Result;
use crate::sql::{Fields, Sql};
use crate::{Store, Tx};

/// One API token. Its secret is not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiToken {
    /// Names the token; the actor of what is done with it.
    pub id: String,
    /// What it is for, for people.
    pub name: String,
    /// Hash of its secret.
    pub secret_hash: [u8; 32],
    /// What it may do, a role of the API.
    pub role: String,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it stops working.
    pub expires_at: Option<UnixMillis>,
    /// When it was last used, to within minutes.
    pub last_used_at: Option<UnixMillis>,
    /// When it was revoked.
    pub revoked_at: Option<UnixMillis>,
}

const COLUMNS: &str =
    "SELECT id, name, secret_hash, role, created_at, expires_at, last_used_at, revoked_at FROM api_token";

fn read(row: &Fields<'_>) -> Result<ApiToken> {
    Ok(ApiToken {
        id: row.text("id")?,
        name: row.text("name")?,
        secret_hash: row.array("secret_hash")?,
        role: row.text("role")?,
        created_at: row.int("created_at")?,
        expires_at: row.optional_int("expires_at")?,
        last_used_at: row.optional_int("last_used_at")?,
        revoked_at: row.optional_int("revoked_at")?,
    })
}

impl Store {
    /// Every API token, latest first.
    pub async fn api_tokens(&self) -> Result<Vec<ApiToken>> {
        let text = format!("{COLUMNS} ORDER BY created_at DESC, id");
        Sql::new("api tokens", &text).all(&mut self.reader().await?, read).await
    }

    /// One API token.
    pub async fn api_token(&self, id: &str) -> Result<Option<ApiToken>> {
        let sql = Sql::new("api token", &format!("{COLUMNS} WHERE id = ?")).bind(id);
        sql.optional(&mut self.reader().await?, read).await
    }
}

impl Tx {
    /// Keeps a new API token.
    pub async fn add_api_token(&mut self, token: &ApiToken) -> Result<()> {
        let mut sql = Sql::new(
            "add api token",
            "INSERT INTO api_token (id, name, secret_hash, role, created_at, expires_at) VALUES ",
        );
        sql.rows(std::slice::from_ref(token), |row, token| {
            row.value(token.id.as_str()).value(token.name.as_str()).value(token.secret_hash.as_slice());
            row.value(token.role.as_str()).value(token.created_at).value(token.expires_at);
        });
        sql.run_one(self.connection()).await
    }

    /// Notes a use.
    pub async fn use_api_token(&mut self, id: &str, at: UnixMillis) -> Result<()> {
        let sql = Sql::new("use api token", "UPDATE api_token SET last_used_at = ? WHERE id = ?");
        sql.bind(at).bind(id).run(self.connection()).await?;
        Ok(())
    }

    /// Revokes an API token. False if it was revoked before, or never was.
    pub async fn revoke_api_token(&mut self, id: &str, at: UnixMillis) -> Result<bool> {
        let text = "UPDATE api_token SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL";
        Ok(Sql::new("revoke api token", text).bind(at).bind(id).run(self.connection()).await? == 1)
    }
}
