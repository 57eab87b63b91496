//! What was said about the first act of each sort, so that its repetitions can be told with the kernel's own count.

use std::collections::HashMap;

use aya::maps::{MapData, PerCpuHashMap};
use holdfast_model::{Sighting, UnixMillis};

use super::clock::millis;

const MOST_SAMPLES: usize = 16_384;

pub(super) type Key = [u64; 3];
pub(super) type Count = [u64; 2];

/// Every sort that was told, beside the kernel's table of counts.
pub(super) struct Samples {
    folds: PerCpuHashMap<MapData, Key, Count>,
    by_key: HashMap<Key, Sample>,
}

/// What was said about the first act of a sort.
struct Sample {
    sightings: Vec<Sighting>,
    /// Counted before the kernel's table forgot the sort.
    before: u64,
    counted: u64,
}

impl Samples {
    pub(super) fn new(folds: PerCpuHashMap<MapData, Key, Count>) -> Self {
        Self { folds, by_key: HashMap::new() }
    }

    /// How often an act of this sort was told already.
    pub(super) fn told(&self, key: &Key) -> u64 {
        self.by_key.get(key).map_or(0, |sample| sample.before + sample.counted)
    }

    pub(super) fn remember(&mut self, key: Key, sightings: &[Sighting], before: u64) {
        if sightings.is_empty() {
            return;
        }
        if self.by_key.len() >= MOST_SAMPLES {
            let folds = &self.folds;
            self.by_key.retain(|key, _| folds.get(key, 0).is_ok());
        }
        self.by_key.insert(key, Sample { sightings: sightings.to_vec(), before, counted: 1 });
    }

    /// What has been repeated since it was last asked for; what the kernel's table forgot is forgotten.
    pub(super) fn repeated(&mut self, boot: u64) -> Vec<Sighting> {
        let mut repeated = Vec::new();
        let folds = &self.folds;
        self.by_key.retain(|key, sample| match folds.get(key, 0) {
            Ok(by_cpu) => {
                let count = by_cpu.iter().map(|fold| fold[0]).sum();
                let last = by_cpu.iter().map(|fold| fold[1]).max().unwrap_or_default();
                repeated.extend(sample.again(count, millis(last, boot)));
                true
            }
            Err(_) => false,
        });
        repeated
    }
}

impl Sample {
    fn again(&mut self, count: u64, last: UnixMillis) -> Vec<Sighting> {
        if count == self.counted {
            return Vec::new();
        }
        self.counted = count;
        for sighting in &mut self.sightings {
            sighting.count = self.before + count;
            sighting.last = last.max(sighting.last);
        }
        self.sightings.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sort_that_the_kernel_forgot_goes_on_counting() {
        let mut sample = Sample { sightings: Vec::new(), before: 5, counted: 1 };
        sample.again(3, 0);
        assert_eq!(sample.before + sample.counted, 8);
    }
}
