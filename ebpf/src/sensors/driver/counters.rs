//! What became of every act, as the kernel side counted it: by sort, and by container.

use std::collections::BTreeMap;

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray, PerCpuHashMap};
use holdfast_model::SignalKind;

use super::broken;
use crate::sensors::{Act, SENSORS};
use crate::{Blind, Owner};

/// `struct counts` of `programs/signal.h`.
pub(super) type Counts = [u64; 5];

/// What became of the behaviors that the kernel side noticed: `generated` is the sum of the other three.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Behaviors of watched cgroups.
    pub generated: u64,
    /// Sent through the ring.
    pub delivered: u64,
    /// Counted beside an equal one.
    pub folded: u64,
    /// Lost: the ring or the table was full.
    pub dropped: u64,
}

/// What became of one container's behaviors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    /// How many.
    pub counters: Counters,
    /// What may have been missed: the kinds of the behaviors that were dropped.
    pub lost: Vec<SignalKind>,
}

/// The books of all containers since the sensors were opened. A container that has done nothing for longer than four
/// thousand others has lost its book, and with it the proof that nothing of it was lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Books {
    /// By owner; the node's own cgroups as far as they were watched before they were known to be that.
    pub of: BTreeMap<Owner, Book>,
    /// Of cgroups that nobody can name any more, and of those for which the kernel had no book left.
    pub unattributed: Book,
}

impl Counters {
    fn sum(by_cpu: &[Counts]) -> Self {
        let sum = |at: usize| by_cpu.iter().map(|counts| counts[at]).sum();
        Self { generated: sum(0), delivered: sum(1), folded: sum(2), dropped: sum(3) }
    }

    fn add(&mut self, other: Self) {
        self.generated += other.generated;
        self.delivered += other.delivered;
        self.folded += other.folded;
        self.dropped += other.dropped;
    }
}

impl Book {
    fn add(&mut self, by_cpu: &[Counts]) {
        self.counters.add(Counters::sum(by_cpu));
        let lost = by_cpu.iter().fold(0, |all, counts| all | counts[4]);
        for (at, act) in Act::ALL.iter().enumerate().filter(|(at, _)| lost >> at & 1 == 1) {
            debug_assert!(
                act.is(u32::try_from(at).unwrap_or(u32::MAX)),
                "behaviors stand in the order of their numbers"
            );
            self.lost.extend(act.kinds());
        }
        self.lost.sort();
        self.lost.dedup();
    }
}

impl Books {
    /// Adds up what stands in the table of the programs.
    pub(super) fn read(
        ebpf: &Ebpf,
        by_cgroup: &PerCpuHashMap<MapData, u64, Counts>,
        owner: impl Fn(u64) -> Option<Owner>,
    ) -> Result<Self, Blind> {
        let mut books = Self::default();
        for entry in by_cgroup.iter() {
            let (cgroup, counts) = entry.map_err(|error| broken(&error))?;
            let book = match owner(cgroup) {
                Some(owner) => books.of.entry(owner).or_default(),
                None => &mut books.unattributed,
            };
            book.add(&counts);
        }
        books.unattributed.add(&counts_at(&of_acts(ebpf)?, Act::ALL.len())?);
        Ok(books)
    }
}

/// One line a sort of act, named by its sensor.
pub(super) fn read(ebpf: &Ebpf) -> Result<Vec<(&'static str, Counters)>, Blind> {
    let map = of_acts(ebpf)?;
    let named = |(at, act): (usize, &Act)| {
        let of = SENSORS.iter().find(|sensor| sensor.behaviors.contains(act)).map_or("", |sensor| sensor.id);
        Ok((of, Counters::sum(&counts_at(&map, at)?)))
    };
    Act::ALL.iter().enumerate().map(named).collect()
}

fn of_acts(ebpf: &Ebpf) -> Result<PerCpuArray<&MapData, Counts>, Blind> {
    let map = ebpf.map("counters").ok_or(Blind::Garbled("the object without its counters"))?;
    PerCpuArray::try_from(map).map_err(|error| broken(&error))
}

fn counts_at(map: &PerCpuArray<&MapData, Counts>, at: usize) -> Result<Vec<Counts>, Blind> {
    let index = u32::try_from(at).unwrap_or(u32::MAX);
    map.get(&index, 0).map(|by_cpu| by_cpu.to_vec()).map_err(|error| broken(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_book_adds_up_its_processors_and_names_each_kind_that_was_lost_once() {
        let mut book = Book::default();
        book.add(&[[5, 2, 2, 1, 1 << 1], [3, 1, 0, 2, 1 << 1 | 1 << 9]]);
        assert_eq!(book.counters, Counters { generated: 8, delivered: 3, folded: 2, dropped: 3 });
        assert_eq!(book.lost, [SignalKind::NamespaceEntry, SignalKind::Listen]);
    }
}
