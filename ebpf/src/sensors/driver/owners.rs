//! Whose the behaviors of a cgroup are: what was learned once, and whom to ask for the rest.
//!
//! Cgroups stand here as their serial numbers, which the kernel gives once. The ids that people see are ids of files: on a
//! node with hierarchies of version 1 a container may bear the id of another one's cgroup, while that lives or after it.

use std::collections::HashMap;

use aya::maps::{HashMap as KernelMap, MapData};

use super::living::Living;
use crate::Owner;
use crate::attribution::owner_of_path;
use crate::bytes::until_zero;
use crate::sensors::Event;

/// `struct path_text`.
pub(super) const PATH_BYTES: usize = 512;
/// As many owners as the kernel side keeps; beyond that they are asked for again.
const MOST_OWNERS: usize = 8192;

/// Whom to ask.
pub(super) trait Sources {
    /// The path of a cgroup, as it was made.
    fn path(&self, serial: u64) -> Option<String>;
    /// Whose it is, by whatever lives in it.
    fn living(&mut self, serial: u64) -> Option<Owner>;
    /// Lets the programs know, so that the host's own behaviors end there.
    fn tell(&mut self, serial: u64, owner: u32);
    /// Whether the programs still know.
    fn knows(&self, serial: u64) -> bool;
}

/// The owners of cgroups.
pub(super) struct Owners<S> {
    sources: S,
    known: HashMap<u64, Owner>,
}

impl<S: Sources> Owners<S> {
    pub(super) fn new(sources: S) -> Self {
        Self { sources, known: HashMap::new() }
    }

    /// Whose an act is; none if nobody can tell any more.
    pub(super) fn of(&mut self, event: &Event<'_>) -> Option<&Owner> {
        if !self.known.contains_key(&event.serial) {
            // The last is for a cgroup that was there before the sensors.
            let owner = self.named(event.serial).or_else(|| self.sources.living(event.serial))?;
            self.learn(event.serial, owner);
        }
        self.known.get(&event.serial)
    }

    /// Whose a cgroup is, as far as it was learned or made under the eyes of the programs.
    pub(super) fn named(&self, serial: u64) -> Option<Owner> {
        let made = || self.sources.path(serial).and_then(|path| owner_of_path(&path));
        self.known.get(&serial).cloned().or_else(made)
    }

    pub(super) fn learn(&mut self, serial: u64, owner: Owner) {
        let told = match &owner {
            Owner::Host => 1,
            Owner::Pod { container, .. } if container.is_empty() => 2,
            Owner::Pod { .. } => 3,
        };
        self.sources.tell(serial, told);
        if self.known.len() >= MOST_OWNERS {
            let sources = &self.sources;
            self.known.retain(|serial, _| sources.knows(*serial));
        }
        self.known.insert(serial, owner);
    }
}

/// The tables of the programs, and everything that lives.
pub(super) struct Kernel {
    pub(super) paths: KernelMap<MapData, u64, [u8; PATH_BYTES]>,
    pub(super) owners: KernelMap<MapData, u64, u32>,
    pub(super) living: Living,
}

impl Sources for Kernel {
    fn path(&self, serial: u64) -> Option<String> {
        let path = self.paths.get(&serial, 0).ok()?;
        Some(String::from_utf8_lossy(until_zero(&path)).into_owned())
    }

    fn living(&mut self, serial: u64) -> Option<Owner> {
        self.living.owner(serial)
    }

    fn tell(&mut self, serial: u64, owner: u32) {
        // A table that is full for a moment only means that the same question comes again.
        let _ = self.owners.insert(serial, owner, 0);
    }

    fn knows(&self, serial: u64) -> bool {
        self.owners.get(&serial, 0).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    const SEEDS: std::ops::Range<u64> = 0..100;
    const STEPS: usize = 2000;
    /// `struct event`.
    const EVENT_BYTES: usize = 1928;

    /// The kernel side as this table sees it, which forgets the oldest where it has no room.
    struct Fake {
        room: usize,
        paths: BTreeMap<u64, String>,
        told: BTreeMap<u64, u32>,
        living: HashMap<u64, Owner>,
    }

    impl Sources for Fake {
        fn path(&self, serial: u64) -> Option<String> {
            self.paths.get(&serial).cloned()
        }

        fn living(&mut self, serial: u64) -> Option<Owner> {
            self.living.get(&serial).cloned()
        }

        fn tell(&mut self, serial: u64, owner: u32) {
            self.told.insert(serial, owner);
            keep(&mut self.told, self.room);
        }

        fn knows(&self, serial: u64) -> bool {
            self.told.contains_key(&serial)
        }
    }

    fn keep<T>(table: &mut BTreeMap<u64, T>, room: usize) {
        while table.len() > room {
            table.pop_first();
        }
    }

    /// A container with one process.
    struct Container {
        cgroup: u64,
        serial: u64,
        pid: u32,
        owner: Owner,
    }

    /// A node on which containers come and go faster than their behaviors are read, drawn from a seed.
    struct Story {
        random: StdRng,
        owners: Owners<Fake>,
        living: Vec<Container>,
        ring: VecDeque<(Vec<u8>, Owner)>,
        serial: u64,
        last: HashMap<u64, u64>,
        told: usize,
        reused: usize,
        unnamed: usize,
    }

    impl Story {
        fn tell(seed: u64, room: usize) -> Self {
            let fake = Fake { room, paths: BTreeMap::new(), told: BTreeMap::new(), living: HashMap::new() };
            let mut story = Self {
                random: StdRng::seed_from_u64(seed),
                owners: Owners::new(fake),
                living: Vec::new(),
                ring: VecDeque::new(),
                serial: 0,
                last: HashMap::new(),
                told: 0,
                reused: 0,
                unnamed: 0,
            };
            for _ in 0..STEPS {
                story.step(seed);
            }
            story
        }

        fn step(&mut self, seed: u64) {
            match self.random.random_range(0..10) {
                0..3 if self.living.len() < 24 => self.make(),
                3 | 4 => self.end(),
                5..9 => self.act(),
                _ => self.read(seed),
            }
        }

        /// A container whose id, and whose process's number, others had before, or have in another hierarchy.
        fn make(&mut self) {
            self.serial += self.random.random_range(1..4);
            let (path, owner) = named(self.serial);
            let pid = self.random.random_range(2..40);
            let taken = self.living.iter().any(|other| other.pid == pid);
            let cgroup = self.random.random_range(1..16);
            if taken {
                return;
            }
            let fake = &mut self.owners.sources;
            fake.paths.insert(self.serial, path);
            keep(&mut fake.paths, fake.room);
            fake.living.insert(self.serial, owner.clone());
            self.living.push(Container { cgroup, serial: self.serial, pid, owner });
        }

        fn end(&mut self) {
            if !self.living.is_empty() {
                let ended = self.living.swap_remove(self.random.random_range(0..self.living.len()));
                self.owners.sources.living.remove(&ended.serial);
            }
        }

        fn act(&mut self) {
            if self.living.is_empty() {
                return;
            }
            let at = self.random.random_range(0..self.living.len());
            let Container { cgroup, serial, pid, owner } = &self.living[at];
            let mut bytes = vec![0; EVENT_BYTES];
            bytes[..8].copy_from_slice(&cgroup.to_ne_bytes());
            bytes[8..16].copy_from_slice(&serial.to_ne_bytes());
            bytes[32..40].copy_from_slice(&serial.to_ne_bytes());
            bytes[40..44].copy_from_slice(&pid.to_ne_bytes());
            self.ring.push_back((bytes, owner.clone()));
        }

        fn read(&mut self, seed: u64) {
            for _ in 0..self.random.random_range(0..16) {
                let Some((bytes, expected)) = self.ring.pop_front() else { return };
                let event = Event::read(&bytes).unwrap();
                let owner = self.owners.of(&event).cloned();
                let before = self.last.insert(event.cgroup, event.serial);
                self.reused += usize::from(before.is_some_and(|serial| serial != event.serial));
                self.told += usize::from(owner.is_some());
                self.unnamed += usize::from(owner.is_none());
                assert!(owner.is_none_or(|owner| owner == expected), "seed {seed}: {event:?} is of {expected:?}");
            }
        }
    }

    /// A Pod's container, or, now and then, a service of the host's.
    fn named(number: u64) -> (String, Owner) {
        let (pod, id) = (format!("{number:08x}-0000-4000-8000-000000000000"), format!("{number:064x}"));
        let spelled = pod.replace('-', "_");
        let path = match number % 4 {
            0 => return (format!("/system.slice/{number}.service"), Owner::Host),
            1 => format!("/kubepods/burstable/pod{pod}/{id}"),
            2 => format!("/kubepods.slice/kubepods-pod{spelled}.slice/cri-containerd-{id}.scope"),
            _ => format!("/system.slice/containerd.service/kubepods-pod{spelled}.slice:cri-containerd:{id}"),
        };
        (path, Owner::Pod { pod, container: id })
    }

    #[test]
    fn an_act_is_its_own_containers_however_often_the_id_of_the_cgroup_was_anothers() {
        println!("seeds {SEEDS:?}");
        let mut reused = 0;
        for seed in SEEDS {
            let story = Story::tell(seed, usize::MAX);
            assert_eq!(story.unnamed, 0, "seed {seed}");
            reused += story.reused;
        }
        assert!(reused > 10_000, "only {reused} behaviors under an id that was another's before");
    }

    #[test]
    fn an_act_whose_container_was_forgotten_is_nobodys_rather_than_anothers() {
        println!("seeds {SEEDS:?}");
        let stories = SEEDS.map(|seed| Story::tell(seed, 4));
        let (told, unnamed) = stories.fold((0, 0), |sum, story| (sum.0 + story.told, sum.1 + story.unnamed));
        assert!(told > 1000 && unnamed > 100, "{told} told, {unnamed} not");
    }
}
