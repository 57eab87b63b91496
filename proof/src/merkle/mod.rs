//! The Merkle tree of the activity log: RFC 6962 hashing over an append-only list, kept as tiles of 256 hashes.
//!
//! A tile of level 0 holds leaf hashes; a tile of level n holds the roots of complete tiles of level n - 1. So an append
//! touches the right edge alone, and any proof needs a few tiles, however long the log is. The tree knows no events, no
//! signatures and no store: tiles go to whoever keeps them, and [`proof`] reads them back.

pub mod proof;

use std::collections::{BTreeMap, BTreeSet};

pub use holdfast_model::activity::leaf_hash;
use sha2::{Digest, Sha256};

/// A node of the tree.
pub type Hash = [u8; 32];

/// How many hashes a full tile has.
pub const TILE: usize = 256;
const TILE_BITS: u32 = 8;

/// The hash of an inner node, from its children.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The root of a log without entries.
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// Names a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    /// 0: leaf hashes. n: roots of complete tiles of level n - 1.
    pub level: u8,
    /// Its place among the tiles of its level.
    pub number: u64,
}

/// A source of nodes that are kept: the hash at this place of this level, if it is there.
pub trait Nodes {
    /// The hash with this index at this level.
    fn node(&self, level: u8, index: u64) -> Option<Hash>;
}

/// Tiles held in memory.
pub type Tiles = BTreeMap<TileId, Vec<Hash>>;

impl Nodes for Tiles {
    fn node(&self, level: u8, index: u64) -> Option<Hash> {
        let place = usize::try_from(index % TILE as u64).ok()?;
        self.get(&TileId { level, number: index / TILE as u64 })?.get(place).copied()
    }
}

/// The tile that holds a node.
pub fn tile_of(level: u8, index: u64) -> TileId {
    TileId { level, number: index / TILE as u64 }
}

/// The root of the first `size` entries; none if a tile is missing.
pub fn root(nodes: &impl Nodes, size: u64) -> Option<Hash> {
    if size == 0 { Some(empty_root()) } else { range_root(nodes, 0, size) }
}

/// The root of entries `from..to`, where `from` is a place at which the tree can split.
fn range_root(nodes: &impl Nodes, from: u64, to: u64) -> Option<Hash> {
    let count = to - from;
    if count.is_power_of_two() {
        return complete_root(nodes, from, count.trailing_zeros());
    }
    let middle = from + split(count);
    Some(node_hash(&range_root(nodes, from, middle)?, &range_root(nodes, middle, to)?))
}

/// The root of the complete subtree of `2^height` entries from `from` on.
fn complete_root(nodes: &impl Nodes, from: u64, height: u32) -> Option<Hash> {
    let level = height / TILE_BITS;
    let first = from >> (level * TILE_BITS);
    let level = u8::try_from(level).ok()?;
    let row = (first..first + (1 << (height % TILE_BITS))).map(|index| nodes.node(level, index));
    row.collect::<Option<Vec<_>>>().map(fold)
}

/// The largest power of two below `count`, which is at least 2: where RFC 6962 splits a list.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// The root over a row of `2^n` nodes.
fn fold(mut row: Vec<Hash>) -> Hash {
    while row.len() > 1 {
        row = row.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    row.first().copied().unwrap_or_else(empty_root)
}

/// The growing end of the log: its size and the tiles that are not full yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    size: u64,
    edge: Tiles,
    full: Tiles,
    changed: BTreeSet<TileId>,
}

impl Log {
    /// The tiles that [`Log::resume`] needs for a log of this size, with the number of hashes that each has.
    pub fn edge_of(size: u64) -> Vec<(TileId, usize)> {
        let levels = (0u8..).map(|level| (level, size.checked_shr(u32::from(level) * TILE_BITS).unwrap_or(0)));
        let filled = levels
            .take_while(|&(_, nodes)| nodes > 0)
            .map(|(level, nodes)| (tile_of(level, nodes), usize::try_from(nodes % TILE as u64).unwrap_or(0)));
        filled.filter(|&(_, count)| count > 0).collect()
    }

    /// Takes up a log where it was left; none if the tiles are not those of this size.
    pub fn resume(size: u64, mut tiles: Tiles) -> Option<Self> {
        let mut edge = Tiles::new();
        for (id, count) in Self::edge_of(size) {
            edge.insert(id, tiles.remove(&id).filter(|hashes| hashes.len() == count)?);
        }
        Some(Self { size, edge, ..Self::default() })
    }

    /// Number of entries.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends an entry and answers its index.
    pub fn append(&mut self, leaf: Hash) -> u64 {
        let (mut hash, mut level, mut index) = (leaf, 0u8, self.size);
        loop {
            let id = tile_of(level, index);
            let tile = self.edge.entry(id).or_default();
            tile.push(hash);
            self.changed.insert(id);
            if tile.len() < TILE {
                break;
            }
            let full = self.edge.remove(&id).unwrap_or_default();
            hash = fold(full.clone());
            self.full.insert(id, full);
            (level, index) = (level + 1, id.number);
        }
        self.size += 1;
        self.size - 1
    }

    /// The root over all entries.
    pub fn root(&self) -> Hash {
        root(&self.edge, self.size).expect("the edge of a log holds every node that its root is made of")
    }

    /// The tiles that were changed since the last call, whole: each replaces the one kept under its name.
    pub fn take_changed(&mut self) -> Tiles {
        let mut tiles = std::mem::take(&mut self.full);
        for id in std::mem::take(&mut self.changed) {
            if let Some(partial) = self.edge.get(&id) {
                tiles.insert(id, partial.clone());
            }
        }
        tiles
    }
}

#[cfg(test)]
mod tests;
