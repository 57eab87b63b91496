//! The owners of cgroups: those that are known, and the sources for the rest.
//!
//! A cgroup is identified by its serial number, which the kernel gives once. The ids that people see are ids of files: on a
//! node with hierarchies of version 1 a container's cgroup may have the id of another one's, at the same time or later.

use std::collections::HashMap;

use aya::maps::{HashMap as KernelMap, MapData};

use super::live_cgroups::LiveCgroups;
use crate::Owner;
use crate::attribution::owner_of_path;
use crate::bytes::until_zero;
use crate::sensors::Event;

/// `struct path_text`.
pub(super) const PATH_BYTES: usize = 512;
/// As many owners as the programs keep; beyond that they are looked up again.
const MAX_OWNERS: usize = 8192;

/// Where owners are looked up.
pub(super) trait Sources {
    /// The path of a cgroup, as it was made.
    fn path(&self, serial: u64) -> Option<String>;
    /// The owner of a cgroup, by the processes in it.
    fn by_processes(&mut self, serial: u64) -> Option<Owner>;
    /// Passes an owner to the programs, which then drop the host's own events.
    fn set_owner(&mut self, serial: u64, owner: u32);
    /// Whether the programs still know the owner.
    fn is_known(&self, serial: u64) -> bool;
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

    /// The owner of an event; none if it cannot be found out any more.
    pub(super) fn of(&mut self, event: &Event<'_>) -> Option<&Owner> {
        if !self.known.contains_key(&event.serial) {
            // The last is for a cgroup that was made before the sensors were attached.
            let owner = self.named(event.serial).or_else(|| self.sources.by_processes(event.serial))?;
            self.learn(event.serial, owner);
        }
        self.known.get(&event.serial)
    }

    /// The owner of a cgroup, if it is known or the programs have the path.
    pub(super) fn named(&self, serial: u64) -> Option<Owner> {
        let made = || self.sources.path(serial).and_then(|path| owner_of_path(&path));
        self.known.get(&serial).cloned().or_else(made)
    }

    pub(super) fn learn(&mut self, serial: u64, owner: Owner) {
        let number = match &owner {
            Owner::Host => 1,
            Owner::Pod { container, .. } if container.is_empty() => 2,
            Owner::Pod { .. } => 3,
        };
        self.sources.set_owner(serial, number);
        if self.known.len() >= MAX_OWNERS {
            let sources = &self.sources;
            self.known.retain(|serial, _| sources.is_known(*serial));
        }
        self.known.insert(serial, owner);
    }
}

/// The maps of the programs, and the processes that run.
pub(super) struct Kernel {
    pub(super) paths: KernelMap<MapData, u64, [u8; PATH_BYTES]>,
    pub(super) owners: KernelMap<MapData, u64, u32>,
    pub(super) live: LiveCgroups,
}

impl Sources for Kernel {
    fn path(&self, serial: u64) -> Option<String> {
        let path = self.paths.get(&serial, 0).ok()?;
        Some(String::from_utf8_lossy(until_zero(&path)).into_owned())
    }

    fn by_processes(&mut self, serial: u64) -> Option<Owner> {
        self.live.owner(serial)
    }

    fn set_owner(&mut self, serial: u64, owner: u32) {
        // A map that is full for a moment only means that the owner is looked up again.
        let _ = self.owners.insert(serial, owner, 0);
    }

    fn is_known(&self, serial: u64) -> bool {
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

    /// The programs' maps, which evict the oldest entry where they have no room.
    struct Fake {
        room: usize,
        paths: BTreeMap<u64, String>,
        owners: BTreeMap<u64, u32>,
        live: HashMap<u64, Owner>,
    }

    impl Sources for Fake {
        fn path(&self, serial: u64) -> Option<String> {
            self.paths.get(&serial).cloned()
        }

        fn by_processes(&mut self, serial: u64) -> Option<Owner> {
            self.live.get(&serial).cloned()
        }

        fn set_owner(&mut self, serial: u64, owner: u32) {
            self.owners.insert(serial, owner);
            keep(&mut self.owners, self.room);
        }

        fn is_known(&self, serial: u64) -> bool {
            self.owners.contains_key(&serial)
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

    /// A node on which containers come and go faster than their events are read, generated from a seed.
    struct Simulation {
        random: StdRng,
        owners: Owners<Fake>,
        live: Vec<Container>,
        ring: VecDeque<(Vec<u8>, Owner)>,
        serial: u64,
        last: HashMap<u64, u64>,
        attributed: usize,
        reused: usize,
        unnamed: usize,
    }

    impl Simulation {
        fn run(seed: u64, room: usize) -> Self {
            let fake = Fake { room, paths: BTreeMap::new(), owners: BTreeMap::new(), live: HashMap::new() };
            let mut simulation = Self {
                random: StdRng::seed_from_u64(seed),
                owners: Owners::new(fake),
                live: Vec::new(),
                ring: VecDeque::new(),
                serial: 0,
                last: HashMap::new(),
                attributed: 0,
                reused: 0,
                unnamed: 0,
            };
            for _ in 0..STEPS {
                simulation.step(seed);
            }
            simulation
        }

        fn step(&mut self, seed: u64) {
            match self.random.random_range(0..10) {
                0..3 if self.live.len() < 24 => self.make(),
                3 | 4 => self.end(),
                5..9 => self.produce(),
                _ => self.read(seed),
            }
        }

        /// A container with an id, and a process number, that others had before, or have in another hierarchy.
        fn make(&mut self) {
            self.serial += self.random.random_range(1..4);
            let (path, owner) = named(self.serial);
            let pid = self.random.random_range(2..40);
            let taken = self.live.iter().any(|other| other.pid == pid);
            let cgroup = self.random.random_range(1..16);
            if taken {
                return;
            }
            let fake = &mut self.owners.sources;
            fake.paths.insert(self.serial, path);
            keep(&mut fake.paths, fake.room);
            fake.live.insert(self.serial, owner.clone());
            self.live.push(Container { cgroup, serial: self.serial, pid, owner });
        }

        fn end(&mut self) {
            if !self.live.is_empty() {
                let ended = self.live.swap_remove(self.random.random_range(0..self.live.len()));
                self.owners.sources.live.remove(&ended.serial);
            }
        }

        fn produce(&mut self) {
            if self.live.is_empty() {
                return;
            }
            let at = self.random.random_range(0..self.live.len());
            let Container { cgroup, serial, pid, owner } = &self.live[at];
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
                self.attributed += usize::from(owner.is_some());
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
    fn an_event_is_its_own_containers_however_often_the_id_of_its_cgroup_was_used() {
        println!("seeds {SEEDS:?}");
        let mut reused = 0;
        for seed in SEEDS {
            let simulation = Simulation::run(seed, usize::MAX);
            assert_eq!(simulation.unnamed, 0, "seed {seed}");
            reused += simulation.reused;
        }
        assert!(reused > 10_000, "only {reused} events under an id that was another's before");
    }

    #[test]
    fn an_event_whose_container_was_evicted_is_unattributed_and_never_anothers() {
        println!("seeds {SEEDS:?}");
        let runs = SEEDS.map(|seed| Simulation::run(seed, 4));
        let (attributed, unnamed) = runs.fold((0, 0), |sum, run| (sum.0 + run.attributed, sum.1 + run.unnamed));
        assert!(attributed > 1000 && unnamed > 100, "{attributed} attributed, {unnamed} not");
    }
}
