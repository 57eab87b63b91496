//! What was reported for the first event of each key, so that its repetitions can be reported with the kernel's own count.
//!
//! Bounded by bytes, in all and per cgroup: of a container that produces ever new keys each key is reported once, and repetitions
//! beyond its share show only in its counters.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use aya::maps::{MapData, PerCpuHashMap};
use holdfast_model::{RuntimeObservation, UnixMillis};

use crate::clock::millis;

/// The most bytes of all samples, and of those of one cgroup.
const MAX_BYTES: usize = 16 << 20;
const MAX_CGROUP_BYTES: usize = 1 << 20;

pub(super) type Key = [u64; 3];
pub(super) type Count = [u64; 2];

/// Every key that was reported, beside the kernel's table of counts.
pub(super) struct Samples {
    pub(super) folds: PerCpuHashMap<MapData, Key, Count>,
    by_key: HashMap<Key, Sample>,
    bytes: Bytes,
    /// Whether forgotten keys were removed since the last sweep: doing so looks every key up in the kernel.
    is_pruned: bool,
}

/// The bytes in use, in all and by cgroup.
#[derive(Debug, Default)]
struct Bytes {
    all: usize,
    by_cgroup: HashMap<u64, usize>,
}

/// What was reported for the first event of a key.
struct Sample {
    observations: Vec<RuntimeObservation>,
    /// Counted before the kernel's table evicted the key.
    before: u64,
    counted: u64,
    /// Whether there is a repetition that was not reported yet.
    is_pending: bool,
    bytes: usize,
}

impl Samples {
    pub(super) fn new(folds: PerCpuHashMap<MapData, Key, Count>) -> Self {
        Self { folds, by_key: HashMap::new(), bytes: Bytes::default(), is_pruned: false }
    }

    /// Whether events of this key were reported before. Then this one is counted here, and reported by the next sweep.
    pub(super) fn counts_again(&mut self, key: &Key, at: UnixMillis) -> bool {
        let sample = self.by_key.get_mut(key);
        let is_known = sample.is_some();
        sample.into_iter().for_each(|sample| sample.restart(at));
        is_known
    }

    pub(super) fn remember(&mut self, key: Key, observations: &[RuntimeObservation]) {
        let bytes = observations.iter().map(bytes_of).sum();
        // A cgroup that has used up its share must not cause pruning.
        if observations.is_empty() || !self.bytes.within_share(&key, bytes) {
            return;
        }
        if !self.is_pruned && !self.bytes.fits(&key, bytes) {
            self.is_pruned = true;
            let folds = &self.folds;
            // What is still to be reported stays for the sweep.
            let reported = self.by_key.iter().filter(|(_, sample)| !sample.is_pending);
            let gone = reported.filter(|(key, _)| folds.get(key, 0).is_err()).map(|(key, _)| *key).collect();
            self.forget_all(gone);
        }
        if self.bytes.fits(&key, bytes) {
            self.bytes.take(&key, bytes);
            let observations = observations.to_vec();
            self.by_key.insert(key, Sample { observations, before: 0, counted: 1, is_pending: false, bytes });
        }
    }

    /// What has been repeated since the last call. Keys that the kernel's table evicted are forgotten.
    pub(super) fn repeated(&mut self, boot: u64) -> Vec<RuntimeObservation> {
        let (mut repeated, mut gone) = (Vec::new(), Vec::new());
        for (key, sample) in &mut self.by_key {
            let Ok(by_cpu) = self.folds.get(key, 0) else {
                repeated.extend(sample.repetition(sample.counted, 0));
                gone.push(*key);
                continue;
            };
            let count = by_cpu.iter().map(|fold| fold[0]).sum();
            let last = by_cpu.iter().map(|fold| fold[1]).max().unwrap_or_default();
            repeated.extend(sample.repetition(count, millis(last, boot)));
        }
        self.forget_all(gone);
        self.is_pruned = false;
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
        self.by_cgroup.get(cgroup).copied().unwrap_or_default() + bytes <= MAX_CGROUP_BYTES
    }

    fn fits(&self, key: &Key, bytes: usize) -> bool {
        self.all + bytes <= MAX_BYTES && self.within_share(key, bytes)
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

/// The memory that a runtime observation takes.
fn bytes_of(observation: &RuntimeObservation) -> usize {
    let RuntimeObservation { pod, container, name, binary, arguments, path, object, .. } = observation;
    let texts: usize = [pod, container, name, binary, path, object].into_iter().map(String::capacity).sum();
    let words: usize = arguments.iter().map(|word| size_of::<String>() + word.capacity()).sum();
    size_of::<RuntimeObservation>() + texts + words
}

impl Sample {
    /// The kernel's table counts from this event again.
    fn restart(&mut self, at: UnixMillis) {
        (self.before, self.counted, self.is_pending) = (self.before + self.counted, 1, true);
        self.observations.iter_mut().for_each(|observation| observation.last = at.max(observation.last));
    }

    fn repetition(&mut self, count: u64, last: UnixMillis) -> Vec<RuntimeObservation> {
        if count == self.counted && !self.is_pending {
            return Vec::new();
        }
        (self.counted, self.is_pending) = (count, false);
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
    fn the_count_goes_on_when_the_kernel_has_evicted_the_key() {
        let mut sample = Sample { observations: Vec::new(), before: 0, counted: 1, is_pending: false, bytes: 0 };
        sample.repetition(5, 0);
        sample.restart(0);
        assert!(sample.is_pending, "the next sweep reports it, though the kernel's count is no higher than before");
        sample.repetition(1, 0);
        assert!(!sample.is_pending);
        sample.repetition(3, 0);
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
        assert_eq!(taken(&mut bytes, 1) * 2048, MAX_CGROUP_BYTES);
        let others: usize = (2..1000).map(|cgroup| taken(&mut bytes, cgroup)).sum();
        assert_eq!(others * 2048, MAX_BYTES - MAX_CGROUP_BYTES, "the others have shares of their own");
        bytes.give_back(&[1, 0, 0], MAX_CGROUP_BYTES);
        assert!(!bytes.by_cgroup.contains_key(&1) && bytes.fits(&[1000, 0, 0], MAX_CGROUP_BYTES));
    }
}
