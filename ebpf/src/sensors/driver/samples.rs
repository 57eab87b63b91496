//! What was said about the first act of each sort, so that its repetitions can be told with the kernel's own count.
//!
//! Bounded by bytes, for all and for each cgroup: whoever does ever new things is told once for each of them, and what he
//! repeats beyond his share is counted in his book alone.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use aya::maps::{MapData, PerCpuHashMap};
use holdfast_model::{RuntimeObservation, UnixMillis};

use crate::clock::millis;

/// What all samples may take, and those of one cgroup.
const MOST_BYTES: usize = 16 << 20;
const SHARE_BYTES: usize = 1 << 20;

pub(super) type Key = [u64; 3];
pub(super) type Count = [u64; 2];

/// Every sort that was told, beside the kernel's table of counts.
pub(super) struct Samples {
    pub(super) folds: PerCpuHashMap<MapData, Key, Count>,
    by_key: HashMap<Key, Sample>,
    bytes: Bytes,
    /// Whether they were looked through since the last sweep: each look asks the kernel of every sort.
    tidied: bool,
}

/// What is taken, and by which cgroup.
#[derive(Debug, Default)]
struct Bytes {
    all: usize,
    by_cgroup: HashMap<u64, usize>,
}

/// What was said about the first act of a sort.
struct Sample {
    observations: Vec<RuntimeObservation>,
    /// Counted before the kernel's table forgot the sort.
    before: u64,
    counted: u64,
    /// Done again, and not told yet.
    again: bool,
    bytes: usize,
}

impl Samples {
    pub(super) fn new(folds: PerCpuHashMap<MapData, Key, Count>) -> Self {
        Self { folds, by_key: HashMap::new(), bytes: Bytes::default(), tidied: false }
    }

    /// Whether behaviors of this sort were told before: then this one is counted here, and told by the next sweep.
    pub(super) fn is_again(&mut self, key: &Key, at: UnixMillis) -> bool {
        let sample = self.by_key.get_mut(key);
        let is_again = sample.is_some();
        sample.into_iter().for_each(|sample| sample.forgotten(at));
        is_again
    }

    pub(super) fn remember(&mut self, key: Key, observations: &[RuntimeObservation]) {
        let bytes = observations.iter().map(bytes_of).sum();
        // Whoever has used up his own share makes nobody look.
        if observations.is_empty() || !self.bytes.within_share(&key, bytes) {
            return;
        }
        if !self.tidied && !self.bytes.fits(&key, bytes) {
            self.tidied = true;
            let folds = &self.folds;
            // What is still to be told stays for the sweep.
            let told = self.by_key.iter().filter(|(_, sample)| !sample.again);
            let gone = told.filter(|(key, _)| folds.get(key, 0).is_err()).map(|(key, _)| *key).collect();
            self.forget_all(gone);
        }
        if self.bytes.fits(&key, bytes) {
            self.bytes.take(&key, bytes);
            let observations = observations.to_vec();
            self.by_key.insert(key, Sample { observations, before: 0, counted: 1, again: false, bytes });
        }
    }

    /// What has been repeated since it was last asked for; what the kernel's table forgot is forgotten.
    pub(super) fn repeated(&mut self, boot: u64) -> Vec<RuntimeObservation> {
        let (mut repeated, mut gone) = (Vec::new(), Vec::new());
        for (key, sample) in &mut self.by_key {
            let Ok(by_cpu) = self.folds.get(key, 0) else {
                repeated.extend(sample.again(sample.counted, 0));
                gone.push(*key);
                continue;
            };
            let count = by_cpu.iter().map(|fold| fold[0]).sum();
            let last = by_cpu.iter().map(|fold| fold[1]).max().unwrap_or_default();
            repeated.extend(sample.again(count, millis(last, boot)));
        }
        self.forget_all(gone);
        self.tidied = false;
        repeated
    }

    fn forget_all(&mut self, keys: Vec<Key>) {
        keys.iter().for_each(|key| self.forget(key));
    }

    fn forget(&mut self, key: &Key) {
        if let Some(sample) = self.by_key.remove(key) {
            self.bytes.give_back(key, sample.bytes);
        }
    }
}

impl Bytes {
    /// The first part of a key is its cgroup.
    fn within_share(&self, [cgroup, ..]: &Key, bytes: usize) -> bool {
        self.by_cgroup.get(cgroup).copied().unwrap_or_default() + bytes <= SHARE_BYTES
    }

    fn fits(&self, key: &Key, bytes: usize) -> bool {
        self.all + bytes <= MOST_BYTES && self.within_share(key, bytes)
    }

    fn take(&mut self, [cgroup, ..]: &Key, bytes: usize) {
        self.all += bytes;
        *self.by_cgroup.entry(*cgroup).or_default() += bytes;
    }

    fn give_back(&mut self, [cgroup, ..]: &Key, bytes: usize) {
        self.all = self.all.saturating_sub(bytes);
        if let Entry::Occupied(mut own) = self.by_cgroup.entry(*cgroup) {
            *own.get_mut() = own.get().saturating_sub(bytes);
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}

/// What a runtime observation takes in memory.
fn bytes_of(observation: &RuntimeObservation) -> usize {
    let RuntimeObservation { pod, container, name, binary, arguments, path, object, .. } = observation;
    let texts: usize = [pod, container, name, binary, path, object].into_iter().map(String::capacity).sum();
    let words: usize = arguments.iter().map(|word| size_of::<String>() + word.capacity()).sum();
    size_of::<RuntimeObservation>() + texts + words
}

impl Sample {
    /// The kernel's table begins anew with this act.
    fn forgotten(&mut self, at: UnixMillis) {
        (self.before, self.counted, self.again) = (self.before + self.counted, 1, true);
        self.observations.iter_mut().for_each(|observation| observation.last = at.max(observation.last));
    }

    fn again(&mut self, count: u64, last: UnixMillis) -> Vec<RuntimeObservation> {
        if count == self.counted && !self.again {
            return Vec::new();
        }
        (self.counted, self.again) = (count, false);
        for observation in &mut self.observations {
            observation.count = self.before + count;
            observation.last = last.max(observation.last);
        }
        self.observations.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sort_that_the_kernel_forgot_goes_on_counting() {
        let mut sample = Sample { observations: Vec::new(), before: 0, counted: 1, again: false, bytes: 0 };
        sample.again(5, 0);
        sample.forgotten(0);
        assert!(sample.again, "the next sweep tells it, though the kernel counts no more than was known");
        sample.again(1, 0);
        assert!(!sample.again);
        sample.again(3, 0);
        assert_eq!(sample.before + sample.counted, 8);
    }

    #[test]
    fn a_cgroup_takes_no_more_than_its_share_and_all_no_more_than_the_whole() {
        let mut bytes = Bytes::default();
        let taken = |bytes: &mut Bytes, cgroup: u64| {
            let mut samples = 0;
            while bytes.fits(&[cgroup, samples, 0], 2048) {
                bytes.take(&[cgroup, samples, 0], 2048);
                samples += 1;
            }
            usize::try_from(samples).unwrap()
        };
        assert_eq!(taken(&mut bytes, 1) * 2048, SHARE_BYTES);
        let others: usize = (2..1000).map(|cgroup| taken(&mut bytes, cgroup)).sum();
        assert_eq!(others * 2048, MOST_BYTES - SHARE_BYTES, "the others have their own");
        bytes.give_back(&[1, 0, 0], SHARE_BYTES);
        assert!(!bytes.by_cgroup.contains_key(&1) && bytes.fits(&[1000, 0, 0], SHARE_BYTES));
    }
}
