//! What became of every event, as the programs counted it: by behavior, and by container.

use std::collections::BTreeMap;

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray, PerCpuHashMap};
use holdfast_model::SignalKind;

use super::read_failed;
use crate::sensors::numbered;
use crate::{Owner, Unavailable};

/// `struct counts` of `programs/signal.h`.
pub(super) type Counts = [u64; 5];

/// The number under which the programs count for cgroups that got no entry of their own.
const SHARED: u32 = 0;

/// What became of the events of observed cgroups: `generated` is the sum of the other three.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// All of them.
    pub generated: u64,
    /// Sent through the ring buffer.
    pub delivered: u64,
    /// Counted beside an equal one.
    pub folded: u64,
    /// Lost: the ring buffer or the table was full.
    pub dropped: u64,
}

/// What became of the events of one owner.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnerCounters {
    /// How many.
    pub counters: Counters,
    /// What may have been missed: the kinds of the events that were dropped, each once.
    pub dropped_kinds: Vec<SignalKind>,
}

/// The counters of all containers since the sensors were opened. The programs keep those of the four thousand cgroups that were
/// active last; a container whose entry was evicted has no proof any more that nothing was dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CountersByOwner {
    /// By owner. The node's own cgroups have entries as far as they were observed before they were known to be that.
    pub by_owner: BTreeMap<Owner, OwnerCounters>,
    /// Of cgroups whose owner is unknown, and of those for which the programs had no room.
    pub unattributed: OwnerCounters,
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

impl OwnerCounters {
    fn add(&mut self, by_cpu: &[Counts]) {
        self.counters.add(Counters::sum(by_cpu));
        let dropped = by_cpu.iter().fold(0, |all, counts| all | counts[4]);
        let is_dropped = |number: u32| dropped >> number & 1 == 1;
        let behaviors = numbered().filter(|(number, ..)| is_dropped(*number));
        self.dropped_kinds.extend(behaviors.flat_map(|(.., behavior)| behavior.kinds));
        self.dropped_kinds.sort_unstable();
        self.dropped_kinds.dedup();
    }
}

impl CountersByOwner {
    /// Adds up the programs' tables.
    pub(super) fn read(
        ebpf: &Ebpf,
        by_cgroup: &PerCpuHashMap<MapData, u64, Counts>,
        owner: impl Fn(u64) -> Option<Owner>,
    ) -> Result<Self, Unavailable> {
        let mut all = Self::default();
        for entry in by_cgroup.iter() {
            let (cgroup, counts) = entry.map_err(|error| read_failed(&error))?;
            let of = match owner(cgroup) {
                Some(owner) => all.by_owner.entry(owner).or_default(),
                None => &mut all.unattributed,
            };
            of.add(&counts);
        }
        all.unattributed.add(&counts_of(&by_behavior(ebpf)?, SHARED)?);
        Ok(all)
    }
}

/// One line per behavior, named by its sensor.
pub(super) fn read(ebpf: &Ebpf) -> Result<Vec<(&'static str, Counters)>, Unavailable> {
    let map = by_behavior(ebpf)?;
    numbered().map(|(number, sensor, _)| Ok((sensor.id, Counters::sum(&counts_of(&map, number)?)))).collect()
}

fn by_behavior(ebpf: &Ebpf) -> Result<PerCpuArray<&MapData, Counts>, Unavailable> {
    let map = ebpf.map("counters").ok_or(Unavailable::InvalidData("the object without its counters"))?;
    PerCpuArray::try_from(map).map_err(|error| read_failed(&error))
}

fn counts_of(map: &PerCpuArray<&MapData, Counts>, number: u32) -> Result<Vec<Counts>, Unavailable> {
    map.get(&number, 0).map(|by_cpu| by_cpu.to_vec()).map_err(|error| read_failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_the_sum_over_processors_and_name_each_dropped_kind_once() {
        let bit = |name: &str| numbered().find(|(.., behavior)| behavior.name == name).map(|(number, ..)| 1 << number);
        let (namespaces, listened) = (bit("NAMESPACES_CHANGED").unwrap(), bit("LISTENED").unwrap());
        let mut counters = OwnerCounters::default();
        counters.add(&[[5, 2, 2, 1, namespaces], [3, 1, 0, 2, namespaces | listened]]);
        assert_eq!(counters.counters, Counters { generated: 8, delivered: 3, folded: 2, dropped: 3 });
        assert_eq!(counters.dropped_kinds, [SignalKind::Listen, SignalKind::NamespaceEntry]);
    }
}
