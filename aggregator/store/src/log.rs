//! The Merkle log's tiles and signed heads. What they mean is the sequencer's business.

use holdfast_model::UnixMillis;

use crate::error::Result;
use crate::sql::{Fields, Sql};
use crate::{Store, Tx};

/// A run of hashes of one level of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogTile {
    /// Level, 0 at the leaves.
    pub level: u32,
    /// Which run of that level.
    pub number: u64,
    /// The hashes, 32 bytes each.
    pub hashes: Vec<u8>,
}

/// A signed head of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogHead {
    /// Number of entries.
    pub size: u64,
    /// Root hash over them.
    pub root: [u8; 32],
    /// When it was signed.
    pub at: UnixMillis,
    /// The canonical bytes that were signed, as text.
    pub signed: String,
    /// The signature over them.
    pub signature: Vec<u8>,
    /// The signer's certificate, DER.
    pub certificate: Vec<u8>,
}

const HEAD: &str = "SELECT size, root, at, signed, signature, certificate FROM log_head";

fn read_head(row: &Fields<'_>) -> Result<LogHead> {
    Ok(LogHead {
        size: row.count("size")?,
        root: row.array("root")?,
        at: row.int("at")?,
        signed: row.text("signed")?,
        signature: row.blob("signature")?,
        certificate: row.blob("certificate")?,
    })
}

fn read_tile(row: &Fields<'_>) -> Result<LogTile> {
    Ok(LogTile { level: row.small("level")?, number: row.count("number")?, hashes: row.blob("hashes")? })
}

impl Store {
    /// The latest signed head.
    pub async fn log_head(&self) -> Result<Option<LogHead>> {
        let sql = Sql::new("log head", &format!("{HEAD} ORDER BY size DESC LIMIT 1"));
        sql.optional(&mut self.reader().await?, read_head).await
    }

    /// The signed head of exactly this size.
    pub async fn log_head_at(&self, size: u64) -> Result<Option<LogHead>> {
        let sql = Sql::new("log head at", &format!("{HEAD} WHERE size = ?")).bind(size);
        sql.optional(&mut self.reader().await?, read_head).await
    }

    /// One tile.
    pub async fn log_tile(&self, level: u32, number: u64) -> Result<Option<LogTile>> {
        let text = "SELECT level, number, hashes FROM log_tile WHERE level = ? AND number = ?";
        Sql::new("log tile", text).bind(level).bind(number).optional(&mut self.reader().await?, read_tile).await
    }

    /// Tiles of one level, from this number on, at most this many.
    pub async fn log_tiles(&self, level: u32, from: u64, limit: u32) -> Result<Vec<LogTile>> {
        let text = "SELECT level, number, hashes FROM log_tile WHERE level = ? AND number >= ? ORDER BY number LIMIT ?";
        let sql = Sql::new("log tiles", text).bind(level).bind(from).bind(limit);
        sql.all(&mut self.reader().await?, read_tile).await
    }
}

impl Tx {
    /// Keeps a tile, or the longer form of a tile that was not full.
    pub async fn put_log_tile(&mut self, tile: &LogTile) -> Result<()> {
        let text = "INSERT INTO log_tile (level, number, hashes) VALUES (?, ?, ?) \
                    ON CONFLICT (level, number) DO UPDATE SET hashes = excluded.hashes";
        let sql = Sql::new("put log tile", text).bind(tile.level).bind(tile.number).bind(tile.hashes.as_slice());
        sql.run_one(self.connection()).await
    }

    /// Keeps a signed head. A size is signed once.
    pub async fn add_log_head(&mut self, head: &LogHead) -> Result<()> {
        let mut sql =
            Sql::new("add log head", "INSERT INTO log_head (size, root, at, signed, signature, certificate) VALUES ");
        sql.rows(std::slice::from_ref(head), |row, head| {
            row.value(head.size).value(head.root.as_slice()).value(head.at).value(head.signed.as_str());
            row.value(head.signature.as_slice()).value(head.certificate.as_slice());
        });
        sql.run_one(self.connection()).await
    }
}
