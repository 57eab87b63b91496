//! Settings that belong to the record, not to the process: each a name and a text of its owner's form.

use holdfast_model::UnixMillis;

use crate::error::Result;
use crate::sql::Sql;
use crate::{Store, Tx};

impl Store {
    /// The value of a setting.
    pub async fn setting(&self, name: &str) -> Result<Option<String>> {
        let sql = Sql::new("setting", "SELECT value FROM setting WHERE name = ?").bind(name);
        sql.optional(&mut self.reader().await?, |row| row.text("value")).await
    }
}

impl Tx {
    /// Sets it.
    pub async fn put_setting(&mut self, name: &str, value: &str, at: UnixMillis) -> Result<()> {
        let text = "INSERT INTO setting (name, value, set_at) VALUES (?, ?, ?) \
                    ON CONFLICT (name) DO UPDATE SET value = excluded.value, set_at = excluded.set_at";
        Sql::new("put setting", text).bind(name).bind(value).bind(at).run_one(self.connection()).await
    }
}
