//! The record on disk: one file a noun, the same statements on SQLite and PostgreSQL.
//!
//! It knows rows and transactions, never rules: what a finding becomes is decided in `record`, when and by whom in the
//! aggregator. Reads go to many connections at once; on SQLite there is one connection that writes. A [`Tx`] that is dropped
//! without a commit has changed nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

pub mod api_token;
pub mod cluster;
pub mod counts;
pub mod coverage;
pub mod credential;
pub mod detection;
pub mod detection_batch;
mod error;
pub mod event;
pub mod finding;
pub mod finding_list;
pub mod join_token;
pub mod log;
pub mod pattern;
pub mod receipt;
pub mod retest;
pub mod scope;
pub mod setting;
mod sql;
pub mod written;

use sql::Link;

pub use api_token::ApiToken;
pub use cluster::{Cluster, Connected};
pub use counts::Count;
pub use coverage::{ClusterCoverage, NodeCoverage};
pub use credential::Credential;
pub use error::{Result, StoreError};
pub use event::{EventFilter, EventId, EventKey, StoredEvent};
pub use finding_list::{Cursor, FindingFilter, FindingPage, Sort};
pub use join_token::StoredJoinToken;
pub use log::{LogHead, LogTile};
pub use pattern::{Mark, Pattern, PatternFilter};
pub use receipt::StoredReceipt;
pub use retest::{Retest, RetestState};
pub use scope::ScopeProposal;
pub use written::{Counted, Written};

/// Which database it is, for the few statements that differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Embedded.
    Sqlite,
    /// A server.
    Postgres,
}

/// The record, open. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pools: Pools,
    counter: Arc<AtomicU32>,
}

#[derive(Debug, Clone)]
enum Pools {
    Sqlite { readers: SqlitePool, writer: SqlitePool },
    Postgres(PgPool),
}

/// Changes that become visible together, at the commit, or not at all.
#[derive(Debug)]
pub struct Tx {
    link: Link,
    counter: Arc<AtomicU32>,
}

const READERS: u32 = 4;
const POSTGRES_CONNECTIONS: u32 = 16;
/// Rows that SQLite's thread may read ahead of whoever takes them.
const ROWS_AHEAD: usize = 1024;

impl Store {
    /// Opens the database at this address, `sqlite:<path>` or `postgres://…`, and brings its tables to this version.
    pub async fn open(address: &str) -> Result<Self> {
        let pools = if let Some(path) = address.strip_prefix("sqlite:") {
            open_sqlite(path).await?
        } else if address.starts_with("postgres:") || address.starts_with("postgresql:") {
            open_postgres(address).await?
        } else {
            return Err(StoreError::Address);
        };
        let migrated = match &pools {
            Pools::Sqlite { writer, .. } => sqlx::migrate!("migrations/sqlite").run(writer).await,
            Pools::Postgres(pool) => sqlx::migrate!("migrations/postgres").run(pool).await,
        };
        migrated.map_err(StoreError::Migrate)?;
        if let Pools::Postgres(pool) = &pools {
            let laid_out = sqlx::raw_sql(include_str!("../migrations/citus.sql")).execute(pool).await;
            laid_out.map_err(|source| StoreError::Query { operation: "lay out on Citus", source })?;
        }
        Ok(Self { pools, counter: Arc::default() })
    }

    /// Which database it is.
    pub fn engine(&self) -> Engine {
        match self.pools {
            Pools::Sqlite { .. } => Engine::Sqlite,
            Pools::Postgres(_) => Engine::Postgres,
        }
    }

    /// Starts changes. On SQLite this waits for the one connection that writes.
    pub async fn begin(&self) -> Result<Tx> {
        let link = match &self.pools {
            Pools::Sqlite { writer, .. } => writer.begin_with("BEGIN IMMEDIATE").await.map(Link::SqliteTransaction),
            Pools::Postgres(pool) => pool.begin().await.map(Link::PostgresTransaction),
        };
        let link = link.map_err(|source| StoreError::Query { operation: "begin", source })?;
        Ok(Tx { link, counter: self.counter.clone() })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        self.reader().await?.ping().await
    }

    /// Ends every connection, after what is under way.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { readers, writer } => {
                readers.close().await;
                writer.close().await;
            }
            Pools::Postgres(pool) => pool.close().await,
        }
    }

    async fn reader(&self) -> Result<Link> {
        let link = match &self.pools {
            Pools::Sqlite { readers, .. } => readers.acquire().await.map(Link::SqliteReader),
            Pools::Postgres(pool) => pool.acquire().await.map(Link::PostgresReader),
        };
        link.map_err(|source| StoreError::Query { operation: "acquire", source })
    }
}

async fn open_sqlite(path: &str) -> Result<Pools> {
    let path = path.trim_start_matches("//");
    // FULL: what was committed survives the loss of power.
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(Duration::from_secs(10))
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("cache_size", "-65536")
        .pragma("wal_autocheckpoint", "4000")
        .pragma("temp_store", "MEMORY")
        .row_buffer_size(ROWS_AHEAD)
        .disable_statement_logging();
    let writer = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone().create_if_missing(true));
    let writer = writer.await.map_err(StoreError::Open)?;
    let readers = SqlitePoolOptions::new().max_connections(READERS).connect_with(options);
    Ok(Pools::Sqlite { readers: readers.await.map_err(StoreError::Open)?, writer })
}

async fn open_postgres(address: &str) -> Result<Pools> {
    let options: PgConnectOptions = address.parse().map_err(StoreError::Open)?;
    let pool = PgPoolOptions::new().max_connections(POSTGRES_CONNECTIONS).acquire_timeout(Duration::from_secs(10));
    let pool = pool.connect_with(options.disable_statement_logging()).await.map_err(StoreError::Open)?;
    Ok(Pools::Postgres(pool))
}

impl Tx {
    /// Makes the changes durable and visible.
    pub async fn commit(self) -> Result<()> {
        self.link.commit().await
    }

    fn connection(&mut self) -> &mut Link {
        &mut self.link
    }

    /// What follows a SELECT whose rows this transaction will change.
    fn for_update(&self) -> &'static str {
        match self.link {
            Link::SqliteReader(_) | Link::SqliteTransaction(_) => "",
            Link::PostgresReader(_) | Link::PostgresTransaction(_) => " FOR UPDATE",
        }
    }

    fn next_number(&self) -> u32 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }
}
