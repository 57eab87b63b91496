//! The record on disk: one file a noun, the same statements on SQLite and PostgreSQL.
//!
//! It knows rows and transactions, never rules: what a finding becomes is decided in `record`, when and by whom in the
//! aggregator. Reads go to many connections at once; on SQLite there is one connection that writes. A [`Tx`] that is dropped
//! without a commit has changed nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Connection, Executor, Transaction};

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

pub use api_token::ApiToken;
pub use cluster::{Cluster, Connected};
pub use counts::Count;
pub use coverage::{ClusterCoverage, NodeCoverage};
pub use credential::Credential;
pub use error::{Result, StoreError};
pub use event::{EventFilter, EventId, StoredEvent};
pub use finding_list::{Cursor, FindingFilter, FindingPage, Sort};
pub use join_token::StoredJoinToken;
pub use log::{LogHead, LogTile};
pub use pattern::{Mark, Pattern, PatternFilter};
pub use receipt::StoredReceipt;
pub use retest::{Retest, RetestState};
pub use scope::ScopeProposal;

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
    engine: Engine,
    readers: AnyPool,
    writer: AnyPool,
    counter: Arc<AtomicU32>,
}

/// Changes that become visible together, at the commit, or not at all.
#[derive(Debug)]
pub struct Tx {
    engine: Engine,
    inner: Transaction<'static, Any>,
    counter: Arc<AtomicU32>,
}

/// Run on every SQLite connection. FULL: what was committed survives the loss of power.
const SQLITE_SETUP: &str = "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                            PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 4000; PRAGMA temp_store = MEMORY;";
const READERS: u32 = 4;
const POSTGRES_CONNECTIONS: u32 = 16;

impl Store {
    /// Opens the database at this address, `sqlite:<path>` or `postgres://…`, and brings its tables to this version.
    pub async fn open(address: &str) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let store = if let Some(path) = address.strip_prefix("sqlite:") {
            Self::open_sqlite(path).await?
        } else if address.starts_with("postgres:") || address.starts_with("postgresql:") {
            Self::open_postgres(address).await?
        } else {
            return Err(StoreError::Address);
        };
        let migrator = match store.engine {
            Engine::Sqlite => sqlx::migrate!("migrations/sqlite"),
            Engine::Postgres => sqlx::migrate!("migrations/postgres"),
        };
        migrator.run(&store.writer).await.map_err(StoreError::Migrate)?;
        Ok(store)
    }

    async fn open_sqlite(path: &str) -> Result<Self> {
        let path = path.trim_start_matches("//");
        let pool = |connections: u32| {
            AnyPoolOptions::new().max_connections(connections).after_connect(|connection, _| {
                Box::pin(async move { connection.execute(SQLITE_SETUP).await.map(|_| ()) })
            })
        };
        let writer = pool(1).connect(&format!("sqlite:{path}?mode=rwc")).await.map_err(StoreError::Open)?;
        let readers = pool(READERS).connect(&format!("sqlite:{path}")).await.map_err(StoreError::Open)?;
        Ok(Self { engine: Engine::Sqlite, readers, writer, counter: Arc::default() })
    }

    async fn open_postgres(address: &str) -> Result<Self> {
        let options = AnyPoolOptions::new().max_connections(POSTGRES_CONNECTIONS);
        let pool = options.acquire_timeout(Duration::from_secs(10)).connect(address).await.map_err(StoreError::Open)?;
        Ok(Self { engine: Engine::Postgres, readers: pool.clone(), writer: pool, counter: Arc::default() })
    }

    /// Which database it is.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Starts changes. On SQLite this waits for the one connection that writes.
    pub async fn begin(&self) -> Result<Tx> {
        let begun = match self.engine {
            Engine::Sqlite => self.writer.begin_with("BEGIN IMMEDIATE").await,
            Engine::Postgres => self.writer.begin().await,
        };
        let inner = begun.map_err(|source| StoreError::Query { operation: "begin", source })?;
        Ok(Tx { engine: self.engine, inner, counter: self.counter.clone() })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        let mut connection = self.reader().await?;
        connection.ping().await.map_err(|source| StoreError::Query { operation: "ping", source })
    }

    /// Ends every connection, after what is under way.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    async fn reader(&self) -> Result<PoolConnection<Any>> {
        self.readers.acquire().await.map_err(|source| StoreError::Query { operation: "acquire", source })
    }
}

impl Tx {
    /// Makes the changes durable and visible.
    pub async fn commit(self) -> Result<()> {
        self.inner.commit().await.map_err(|source| StoreError::Query { operation: "commit", source })
    }

    fn connection(&mut self) -> &mut AnyConnection {
        &mut self.inner
    }

    /// What follows a SELECT whose rows this transaction will change.
    fn for_update(&self) -> &'static str {
        match self.engine {
            Engine::Sqlite => "",
            Engine::Postgres => " FOR UPDATE",
        }
    }

    fn next_number(&self) -> u32 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }
}
