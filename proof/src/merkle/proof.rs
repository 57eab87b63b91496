//! Proofs about the log: that an entry is in it, and that a longer log continues a shorter one.
//!
//! Making one reads a few tiles; [`tiles_for`] names them first, so that a caller loads them and no others. Checking one
//! needs hashes alone (RFC 9162, 2.1.3.2 and 2.1.4.2): a stranger does it with what the API hands out.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::{Hash, Nodes, TileId, empty_root, node_hash, range_root, split, tile_of};

/// The audit path of an entry in the log of its first `size` entries, from the leaf upwards; none if a tile is missing or
/// the entry is not among them.
pub fn inclusion(nodes: &impl Nodes, index: u64, size: u64) -> Option<Vec<Hash>> {
    if index >= size {
        return None;
    }
    let mut path = Vec::new();
    let (mut from, mut to) = (0, size);
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            path.push(range_root(nodes, middle, to)?);
            to = middle;
        } else {
            path.push(range_root(nodes, from, middle)?);
            from = middle;
        }
    }
    path.reverse();
    Some(path)
}

/// The path that leads from the log of `first` entries to that of `second`; none if a tile is missing or `first` is 0 or
/// the larger one.
pub fn consistency(nodes: &impl Nodes, first: u64, second: u64) -> Option<Vec<Hash>> {
    if first == 0 || first > second {
        return None;
    }
    let mut path = Vec::new();
    let (mut from, mut to) = (0, second);
    while first != to {
        let middle = from + split(to - from);
        if first <= middle {
            path.push(range_root(nodes, middle, to)?);
            to = middle;
        } else {
            path.push(range_root(nodes, from, middle)?);
            from = middle;
        }
    }
    // Where the shorter log is itself a complete subtree from the start on, the checker has its root already.
    if from > 0 {
        path.push(range_root(nodes, from, to)?);
    }
    path.reverse();
    Some(path)
}

/// The tiles that a proof (or a root) reads.
pub fn tiles_for<T>(ask: impl FnOnce(&Recorder) -> Option<T>) -> BTreeSet<TileId> {
    let recorder = Recorder(RefCell::default());
    ask(&recorder);
    recorder.0.into_inner()
}

/// Nodes that are not there: it answers zeros and notes which tiles were asked for.
#[derive(Debug)]
pub struct Recorder(RefCell<BTreeSet<TileId>>);

impl Nodes for Recorder {
    fn node(&self, level: u8, index: u64) -> Option<Hash> {
        self.0.borrow_mut().insert(tile_of(level, index));
        Some([0; 32])
    }
}

/// Whether this path leads from the leaf hash with this index to the root of the log of this size.
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut place, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            hash = node_hash(sibling, &hash);
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    last == 0 && hash == *root
}

/// Whether this path shows that the log with the second root continues, unchanged, the log with the first.
pub fn verify_consistency(first: u64, second: u64, path: &[Hash], first_root: &Hash, second_root: &Hash) -> bool {
    if first == 0 {
        return path.is_empty() && *first_root == empty_root();
    }
    if first >= second {
        return first == second && path.is_empty() && first_root == second_root;
    }
    let whole = first.is_power_of_two().then_some(*first_root);
    let Some((start, rest)) = whole.map(|root| (root, path)).or_else(|| path.split_first().map(|(h, r)| (*h, r)))
    else {
        return false;
    };
    let (mut place, mut last) = (first - 1, second - 1);
    while place & 1 == 1 {
        (place, last) = (place >> 1, last >> 1);
    }
    let (mut old, mut new) = (start, start);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            (old, new) = (node_hash(sibling, &old), node_hash(sibling, &new));
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            new = node_hash(&new, sibling);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    last == 0 && old == *first_root && new == *second_root
}
