//! A connection of either engine: one that reads, or one that a transaction has to itself.

use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, Postgres, Sqlite, SqliteConnection, Transaction};

use crate::error::{Result, StoreError};

/// A connection.
#[derive(Debug)]
pub(crate) enum Link {
    SqliteReader(PoolConnection<Sqlite>),
    SqliteTransaction(Transaction<'static, Sqlite>),
    PostgresReader(PoolConnection<Postgres>),
    PostgresTransaction(Transaction<'static, Postgres>),
}

/// What a statement runs on.
pub(super) enum Session<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

impl Link {
    pub(super) fn session(&mut self) -> Session<'_> {
        match self {
            Self::SqliteReader(connection) => Session::Sqlite(connection),
            Self::SqliteTransaction(transaction) => Session::Sqlite(transaction),
            Self::PostgresReader(connection) => Session::Postgres(connection),
            Self::PostgresTransaction(transaction) => Session::Postgres(transaction),
        }
    }

    pub(crate) async fn ping(&mut self) -> Result<()> {
        let done = match self.session() {
            Session::Sqlite(connection) => connection.ping().await,
            Session::Postgres(connection) => connection.ping().await,
        };
        done.map_err(|source| StoreError::Query { operation: "ping", source })
    }

    /// Commits what a transaction has done; of a reader there is nothing to commit.
    pub(crate) async fn commit(self) -> Result<()> {
        let done = match self {
            Self::SqliteTransaction(transaction) => transaction.commit().await,
            Self::PostgresTransaction(transaction) => transaction.commit().await,
            Self::SqliteReader(_) | Self::PostgresReader(_) => Ok(()),
        };
        done.map_err(|source| StoreError::Query { operation: "commit", source })
    }
}
