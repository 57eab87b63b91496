//! What became of every act, as the kernel side counted it.

use aya::Ebpf;
use aya::maps::PerCpuArray;

use super::broken;
use crate::Blind;
use crate::sensors::{Act, SENSORS};

/// What became of the acts that the kernel side noticed, by act: `generated` is the sum of the other three.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Acts of watched cgroups.
    pub generated: u64,
    /// Sent through the ring.
    pub delivered: u64,
    /// Counted beside an equal one.
    pub folded: u64,
    /// Lost: the ring or the table was full.
    pub dropped: u64,
}

/// One line a sort of act, named by its sensor.
pub(super) fn read(ebpf: &Ebpf) -> Result<Vec<(&'static str, Counters)>, Blind> {
    let map = ebpf.map("counters").ok_or(Blind::Garbled("the object without its counters"))?;
    let map: PerCpuArray<_, u64> = PerCpuArray::try_from(map).map_err(|error| broken(&error))?;
    let read = |act: usize, counter: usize| {
        let index = u32::try_from(act * 4 + counter).unwrap_or(u32::MAX);
        map.get(&index, 0).map(|by_cpu| by_cpu.iter().sum()).map_err(|error| broken(&error))
    };
    let mut all = Vec::new();
    for (at, act) in Act::ALL.iter().enumerate() {
        let of = SENSORS.iter().find(|sensor| sensor.acts.contains(act)).map_or("", |sensor| sensor.id);
        let counters =
            Counters { generated: read(at, 0)?, delivered: read(at, 1)?, folded: read(at, 2)?, dropped: read(at, 3)? };
        all.push((of, counters));
    }
    Ok(all)
}
