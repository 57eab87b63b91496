//! The activity log's entries: canonical bytes and leaf hash at commit, the place in the log once the sequencer gave one.

use std::fmt;

use holdfast_model::{Activity, ClusterId, FindingId, UnixMillis};
use holdfast_record::Entry;

use crate::error::Result;
use crate::sql::{Fields, Sql, chunks};
use crate::{Store, Tx};

/// Names an entry: time, a counter, the start of the leaf. Ids of one process grow, so they order its events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId([u8; 16]);

impl EventId {
    /// The id held in exactly 16 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn make(at: UnixMillis, number: u32, leaf: &[u8; 32]) -> Self {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&at.to_be_bytes()[2..]);
        bytes[6..10].copy_from_slice(&number.to_be_bytes());
        bytes[10..].copy_from_slice(&leaf[..6]);
        Self(bytes)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Names it.
    pub id: EventId,
    /// What happened; none once retention has dropped the body.
    pub activity: Option<Activity>,
    /// The canonical bytes, as text; none once retention has dropped them.
    pub body: Option<String>,
    /// The leaf hash.
    pub leaf: [u8; 32],
    /// Its place in the log, once appended.
    pub log_index: Option<u64>,
}

/// Which entries are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Of this cluster.
    pub cluster: Option<ClusterId>,
    /// Of this finding.
    pub finding: Option<FindingId>,
    /// Of this kind.
    pub event: Option<String>,
    /// Older than this one.
    pub before: Option<EventId>,
}

const COLUMNS: &str = "SELECT id, body, leaf, log_index FROM event";

fn read(row: &Fields<'_>) -> Result<StoredEvent> {
    let body = row.optional_text("body")?;
    Ok(StoredEvent {
        id: row.id("id")?,
        activity: if body.is_some() { Some(row.json("body")?) } else { None },
        body,
        leaf: row.array("leaf")?,
        log_index: row.optional_count("log_index")?,
    })
}

impl Store {
    /// Entries, latest first, at most this many.
    pub async fn events(&self, filter: &EventFilter, limit: u32) -> Result<Vec<StoredEvent>> {
        let mut sql = Sql::new("events", COLUMNS);
        sql.push(" WHERE 1 = 1");
        if let Some(cluster) = filter.cluster {
            sql.push(" AND cluster = ").place(cluster);
        }
        if let Some(finding) = filter.finding {
            sql.push(" AND finding = ").place(finding);
        }
        if let Some(event) = &filter.event {
            sql.push(" AND event = ").place(event.as_str());
        }
        if let Some(before) = filter.before {
            sql.push(" AND id < ").place(before);
        }
        sql.push(" ORDER BY id DESC LIMIT ").place(limit);
        sql.all(&mut *self.reader().await?, read).await
    }

    /// Entries of the log from this place on, in order, at most this many.
    pub async fn events_from(&self, log_index: u64, limit: u32) -> Result<Vec<StoredEvent>> {
        let text = format!("{COLUMNS} WHERE log_index >= $1 ORDER BY log_index LIMIT $2");
        Sql::new("events from", &text).bind(log_index).bind(limit).all(&mut *self.reader().await?, read).await
    }

    /// One entry.
    pub async fn event(&self, id: EventId) -> Result<Option<StoredEvent>> {
        let sql = Sql::new("event", &format!("{COLUMNS} WHERE id = $1")).bind(id);
        sql.optional(&mut *self.reader().await?, read).await
    }

    /// Number of entries that have a place in the log.
    pub async fn log_size(&self) -> Result<u64> {
        log_size(&mut *self.reader().await?).await
    }
}

async fn log_size(connection: &mut sqlx::AnyConnection) -> Result<u64> {
    let text = "SELECT log_index + 1 AS size FROM event WHERE log_index IS NOT NULL ORDER BY log_index DESC LIMIT 1";
    let size = Sql::new("log size", text).optional(connection, |row| row.count("size")).await?;
    Ok(size.unwrap_or_default())
}

impl Tx {
    /// Keeps what happened, in this order. The answer are the ids.
    pub async fn add_events(&mut self, entries: &[Entry]) -> Result<Vec<EventId>> {
        let mut rows = Vec::with_capacity(entries.len());
        for entry in entries {
            rows.push((EventId::make(entry.activity.at, self.next_number(), &entry.leaf), entry));
        }
        for chunk in chunks(&rows) {
            let mut sql =
                Sql::new("add events", "INSERT INTO event (cluster, id, at, finding, event, body, leaf) VALUES ");
            sql.rows(chunk, |row, (id, entry)| {
                let activity = &entry.activity;
                let cluster: &[u8] = activity.cluster.as_ref().map_or(&[], |cluster| cluster.as_bytes());
                row.value(cluster).value(*id).value(activity.at).value(activity.finding);
                row.value(activity.event.as_str()).value(entry.body.as_str()).value(entry.leaf.as_slice());
            });
            sql.run(self.connection()).await?;
        }
        Ok(rows.into_iter().map(|(id, _)| id).collect())
    }

    /// Number of entries that have a place in the log, as this transaction sees it.
    pub async fn log_size(&mut self) -> Result<u64> {
        log_size(self.connection()).await
    }

    /// Entries without a place in the log, oldest first, at most this many.
    pub async fn unsequenced_events(&mut self, limit: u32) -> Result<Vec<(EventId, [u8; 32])>> {
        let text = "SELECT id, leaf FROM event WHERE log_index IS NULL ORDER BY id LIMIT $1";
        let sql = Sql::new("unsequenced events", text).bind(limit);
        sql.all(self.connection(), |row| Ok((row.id("id")?, row.array("leaf")?))).await
    }

    /// Gives these entries the places from `first` on, in this order.
    pub async fn sequence_events(&mut self, first: u64, ids: &[EventId]) -> Result<()> {
        let numbered: Vec<_> = (first..).zip(ids).collect();
        for chunk in chunks(&numbered) {
            let mut sql = Sql::new("sequence events", "UPDATE event SET log_index = v.column2 FROM (VALUES ");
            sql.rows(chunk, |row, (index, id)| {
                row.value(**id).value(*index);
            });
            sql.push(") AS v WHERE event.id = v.column1");
            let found = sql.run(self.connection()).await?;
            let expected = chunk.len() as u64;
            if found != expected {
                return Err(crate::StoreError::RowCount { operation: "sequence events", expected, found });
            }
        }
        Ok(())
    }
}
