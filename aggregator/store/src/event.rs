//! The activity log's entries: canonical bytes and leaf hash at commit, the place in the log once the sequencer gave one.

use std::fmt;

use holdfast_model::{Activity, ClusterId, FindingId, UnixMillis};
use holdfast_record::Entry;

use crate::error::Result;
use crate::sql::{Bulk, Fields, Link, Sql};
use crate::{Store, Tx};

/// Names an entry: time, a counter, the start of the leaf. Ids of one process grow, so they order its events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId([u8; 16]);

crate::sql::ids!(EventId);

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

/// An entry's key: its cluster and its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventKey {
    /// The cluster that it is about; none for what concerns the fleet.
    pub cluster: Option<ClusterId>,
    /// Its id.
    pub id: EventId,
}

impl EventKey {
    /// The column's value. A primary key holds no NULL.
    fn cluster(&self) -> &[u8] {
        column(self.cluster.as_ref())
    }
}

fn column(cluster: Option<&ClusterId>) -> &[u8] {
    cluster.map_or(&[], |cluster| cluster.as_bytes())
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
        let cluster = match (filter.cluster, filter.finding) {
            (None, Some(finding)) => match self.cluster_of(finding).await? {
                None => return Ok(Vec::new()),
                found => found,
            },
            (cluster, _) => cluster,
        };
        let mut sql = Sql::new("events", COLUMNS);
        sql.push(" WHERE 1 = 1");
        if let Some(cluster) = cluster {
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
        sql.all(&mut self.reader().await?, read).await
    }

    /// Entries of the log from this place on, in order, at most this many.
    pub async fn events_from(&self, log_index: u64, limit: u32) -> Result<Vec<StoredEvent>> {
        let text = format!("{COLUMNS} WHERE log_index >= ? ORDER BY log_index LIMIT ?");
        Sql::new("events from", &text).bind(log_index).bind(limit).all(&mut self.reader().await?, read).await
    }

    /// One entry.
    pub async fn event(&self, key: EventKey) -> Result<Option<StoredEvent>> {
        let sql =
            Sql::new("event", &format!("{COLUMNS} WHERE cluster = ? AND id = ?")).bind(key.cluster()).bind(key.id);
        sql.optional(&mut self.reader().await?, read).await
    }

    /// Number of entries that have a place in the log.
    pub async fn log_size(&self) -> Result<u64> {
        log_size(&mut self.reader().await?).await
    }
}

async fn log_size(connection: &mut Link) -> Result<u64> {
    let text = "SELECT size FROM log_size WHERE id = 0";
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
        let bulk = Bulk::new("add events", "INSERT INTO event (cluster, id, at, finding, event, body, leaf) ", "");
        let write = bulk.run(self.connection(), &rows, |row, (id, entry)| {
            let activity = &entry.activity;
            row.value(column(activity.cluster.as_ref())).value(*id).value(activity.at).value(activity.finding);
            row.value(activity.event.as_str()).value(entry.body.as_str()).value(entry.leaf.as_slice());
        });
        write.await?;
        Ok(rows.into_iter().map(|(id, _)| id).collect())
    }

    /// Number of entries that have a place in the log, as this transaction sees it.
    pub async fn log_size(&mut self) -> Result<u64> {
        log_size(self.connection()).await
    }

    /// Entries without a place in the log, oldest first, at most this many.
    pub async fn unsequenced_events(&mut self, limit: u32) -> Result<Vec<(EventKey, [u8; 32])>> {
        let text = "SELECT cluster, id, leaf FROM event WHERE log_index IS NULL ORDER BY id LIMIT ?";
        let sql = Sql::new("unsequenced events", text).bind(limit);
        let read = |row: &Fields<'_>| {
            let cluster = row.blob("cluster")?;
            let cluster = if cluster.is_empty() { None } else { Some(row.id("cluster")?) };
            Ok((EventKey { cluster, id: row.id("id")? }, row.array("leaf")?))
        };
        sql.all(self.connection(), read).await
    }

    /// Gives these entries the places from `first` on, in this order. An error if the log has another size by now: another
    /// sequencer was faster.
    pub async fn sequence_events(&mut self, first: u64, keys: &[EventKey]) -> Result<()> {
        let operation = "sequence events";
        let expected = keys.len() as u64;
        let sql = Sql::new("grow the log", "UPDATE log_size SET size = ? WHERE id = 0 AND size = ?");
        sql.bind(first + expected).bind(first).run_one(self.connection()).await?;
        let numbered: Vec<_> = (first..).zip(keys).collect();
        let bulk = Bulk::new(
            operation,
            "UPDATE event SET log_index = numbered.column3 FROM (",
            ") AS numbered WHERE event.cluster = numbered.column1 AND event.id = numbered.column2",
        );
        let write = bulk.run(self.connection(), &numbered, |row, (index, key)| {
            row.value(key.cluster()).value(key.id).value(*index);
        });
        let found = write.await?;
        (found == expected).then_some(()).ok_or(crate::StoreError::RowCount { operation, expected, found })
    }
}
