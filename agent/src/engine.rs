//! The one owner of the inventory and the ledger: events in, batches out.
//!
//! [`Engine`] does no IO and reads no clock: an event is applied, touched subjects are judged, what is new is owed to the
//! aggregator, and a batch is drafted when the uplink asks for one. [`run`] is the task around it. Until everything that can
//! be seen has been listed once, only failures are said: what looks like a pass may only be half a cluster.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use holdfast_controls::inventory::ObjectKey;
use holdfast_controls::peers::Peers;
use holdfast_controls::{Inventory, KINDS, Kind};
use holdfast_model::container_observation::ObservationWindows;
use holdfast_model::{ClusterId, Coverage, CoverageState, DetectionBatch, Resource, UnixMillis};
use holdfast_proto::{limits, v1};

use crate::collect::Unreadable;
use crate::outbox::{Draft, Outbox};
use crate::places::{Placed, Places};
use holdfast_agent_core::ledger::Ledger;
use holdfast_agent_core::text::clip;

mod act;
mod departed;
mod events;
mod judge;
mod outward;
mod task;
mod usage;
mod view;
mod wire;

pub use task::{ALL_JUDGED, Command, Handle, Opening, Stopped, run};

/// A burst of events is judged at least this often.
const BURST: Duration = Duration::from_millis(100);
/// The first lists are judged at least this often.
const FIRST_LISTS: Duration = Duration::from_secs(2);
/// How long a kind may fail before the rest goes on without it.
const PATIENCE_MILLIS: UnixMillis = 60_000;
/// The first minor version of Kubernetes whose resource versions are ordered.
const ORDERED_VERSIONS: u32 = 34;

/// A subject that would fill a message beyond this is said in parts. A single statement takes a tenth of it.
const FULL_BYTES: usize = limits::MESSAGE_BYTES - 128 * 1024;

/// How far the agent has come with its cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Kinds that are seen.
    pub kinds_seen: usize,
    /// Kinds in all.
    pub kinds: usize,
    /// Whether everything that can be seen has been listed once.
    pub synced: bool,
    /// Subjects that are judged.
    pub subjects: usize,
    /// Statements that fail.
    pub failing: usize,
    /// Objects whose facts are kept.
    pub objects: usize,
    /// Batches that have left since the start.
    pub sent: u64,
    /// Those of them that are committed.
    pub acknowledged: u64,
}

#[derive(Debug)]
struct KindState {
    state: CoverageState,
    reason: String,
    since: UnixMillis,
    listed: bool,
}

/// The state of one cluster, and what is owed about it.
pub struct Engine {
    inventory: Inventory,
    ledger: Ledger,
    outbox: Outbox,
    kinds: BTreeMap<&'static Kind, KindState>,
    unreadable: BTreeMap<ObjectKey, Unreadable>,
    deleted: BTreeMap<Resource, String>,
    again: Vec<Arc<Resource>>,
    retested: HashMap<String, u64>,
    versions_compare: bool,
    synced: bool,
    places: Places,
    /// Whose addresses are.
    peers: Peers,
    /// Batches that have left, and those that were committed.
    sent: u64,
    acknowledged: u64,
    /// Pods whose top owner is awaited.
    ownerless: BTreeMap<ObjectKey, Box<Placed>>,
    /// Coverage of what is no kind: the nodes' eyes, objects that cannot be read.
    told: BTreeMap<String, Coverage>,
    /// What the kernel showed and was said, by finding.
    shown: HashMap<view::Key, view::Said>,
    /// What each container uses of what it is given, as far as it was looked at.
    used: HashMap<view::Key, usage::ByContainer>,
    /// How long containers must have been watched.
    windows: ObservationWindows,
    /// What sensors saw and the aggregator has not committed yet.
    sighted: act::Batches,
    /// Pods that have just gone.
    departed: departed::Departed,
    /// Everything that can be looked at has been told once.
    covered: bool,
}

impl Engine {
    /// Knows nothing yet of this cluster. `run` names this start of the agent: what it looks at itself is numbered within it.
    pub fn new(cluster: ClusterId, run: &str, now: UnixMillis) -> Self {
        let starting = |&kind| {
            let state = KindState { state: CoverageState::Starting, reason: String::new(), since: now, listed: false };
            (kind, state)
        };
        let mut inventory = Inventory::default();
        KINDS.iter().for_each(|kind| inventory.set_coverage(kind, CoverageState::Starting));
        Self {
            inventory,
            ledger: Ledger::new(cluster),
            outbox: Outbox::new(run),
            kinds: KINDS.iter().map(starting).collect(),
            unreadable: BTreeMap::new(),
            deleted: BTreeMap::new(),
            again: Vec::new(),
            retested: HashMap::new(),
            versions_compare: false,
            synced: false,
            places: Places::default(),
            peers: Peers::default(),
            sent: 0,
            acknowledged: 0,
            ownerless: BTreeMap::new(),
            told: BTreeMap::new(),
            shown: HashMap::new(),
            used: HashMap::new(),
            windows: ObservationWindows::default(),
            sighted: act::Batches::new(),
            departed: departed::Departed::default(),
            covered: false,
        }
    }

    /// Where Pods are, kept up to date from now on. Cheap to clone, and shared.
    pub fn places(&self) -> Places {
        self.places.clone()
    }

    /// Takes in the coverage of something that others look at: kept, and said again at every session.
    pub fn tell(&mut self, coverage: Coverage) {
        self.outbox.cover(coverage.clone());
        // What is absent needs no second word: a record that lacks it is right.
        match coverage.state {
            CoverageState::Absent => self.told.remove(&coverage.subject),
            _ => self.told.insert(coverage.subject.clone(), coverage),
        };
    }

    /// How long containers must have been watched before what they did not do counts.
    pub fn set_windows(&mut self, windows: ObservationWindows) {
        self.windows = windows;
    }

    /// Everything that others look at has been told: a row of the record that was not is of something that is no more.
    pub fn covered(&mut self) {
        if !std::mem::replace(&mut self.covered, true) {
            self.outbox.complete_coverage();
        }
    }

    /// Notes the API server's minor version: Pod Security is measured against it, and versions are compared from 34 on.
    pub fn set_server_minor(&mut self, minor: u32) {
        self.inventory.set_server_minor(minor);
        self.versions_compare = minor >= ORDERED_VERSIONS;
    }

    /// Whether judging now is worth it: while the first lists are under way most subjects would be judged several times.
    pub fn is_due(&self, waited: Duration, now: UnixMillis) -> bool {
        let wait = if self.synced { BURST } else { FIRST_LISTS };
        waited >= wait || (!self.synced && self.has_seen_everything(now))
    }

    /// Judges what the events since the last call have touched, and answers how many subjects that were.
    pub fn settle(&mut self, now: UnixMillis) -> usize {
        if !self.synced && self.has_seen_everything(now) {
            self.synced = true;
            self.again.extend(self.ledger.subjects().cloned());
        }
        let mut touched = self.inventory.take_touched();
        touched.extend(self.again.drain(..));
        for subject in &touched {
            if let Some(report) = self.judge(subject) {
                self.outbox.owe(report);
            }
        }
        self.place_again();
        self.pack(now);
        touched.len()
    }

    /// A new session with the aggregator. Answers the ledger's root, or none while the first lists are under way.
    pub fn restart(&mut self) -> Option<[u8; 32]> {
        // Coverage is in no digest, and few: a record that was restored from an older copy hears all of it.
        for (kind, known) in &self.kinds {
            let KindState { state, reason, since, .. } = known;
            let (subject, reason) = (kind.subject(), clip(reason));
            self.outbox.cover(Coverage { subject, state: *state, reason, since: *since });
        }
        self.told.values().for_each(|coverage| self.outbox.cover(coverage.clone()));
        let ledger = &self.ledger;
        self.outbox.restart(|resource, control| ledger.fails_on(resource, control));
        if self.covered {
            self.outbox.complete_coverage();
        }
        self.synced.then(|| self.ledger.digest().root())
    }

    /// The ledger's buckets and their root.
    pub fn buckets(&self) -> v1::Buckets {
        let digest = self.ledger.digest();
        v1::Buckets {
            digests: digest.buckets().iter().map(|bucket| bucket.to_vec()).collect(),
            root_digest: digest.root().to_vec(),
        }
    }

    /// The aggregator holds something else in these buckets: everything that fails in them is said again.
    pub fn resync(&mut self, buckets: Vec<u8>) {
        let failing = self.ledger.failing_in(&buckets);
        self.outbox.resync(buckets, failing);
    }

    /// The next batch, up to the wire's limit; `None` when there is nothing to say. Call after `settle`.
    pub fn draft(&mut self) -> Option<Draft> {
        if self.outbox.is_empty() {
            return None;
        }
        let (mut draft, mut flight) = self.outbox.begin();
        let mut bytes = draft.encoded_len();
        while bytes < limits::BATCH_BYTES {
            let Some((resource, mut owed)) = self.outbox.take_next() else { break };
            let mut wire = self.wire_reports(&resource, &owed);
            while bytes + wire::size(&wire) > FULL_BYTES && owed.due.len() > 1 {
                self.outbox.put_back(&resource, owed.split_off_half());
                wire = self.wire_reports(&resource, &owed);
            }
            bytes += wire::size(&wire);
            flight.carry(&resource, &owed);
            draft.reports.extend(wire);
        }
        let departed = self.outbox.depart(draft, flight);
        self.sent += u64::from(departed.is_some());
        departed
    }

    /// Everything up to this batch has been committed.
    pub fn acknowledged(&mut self, sequence: u64) {
        let flying = self.outbox.flying();
        for DetectionBatch { source, run, sequence, .. } in self.outbox.acknowledged(sequence) {
            self.settled(&source, &run, sequence);
        }
        self.acknowledged += flying.saturating_sub(self.outbox.flying());
    }

    /// A retest has read these (uid, resourceVersion): older watch events of the same objects are dropped from now on.
    ///
    /// Versions are opaque, except that Kubernetes from 1.34 on documents decimal ones as ordered. On older servers nothing
    /// is dropped: the watch arrives at what the retest saw by itself, only later.
    pub fn retested(&mut self, reads: Vec<(String, String)>) {
        if !self.versions_compare {
            return;
        }
        for (uid, version) in reads {
            let held = self.retested.entry(uid).or_default();
            *held = version.parse().unwrap_or(0).max(*held);
        }
    }

    /// Whether everything that can be seen has been listed once.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        Progress {
            kinds_seen: self.kinds.values().filter(|kind| kind.state == CoverageState::Seen).count(),
            kinds: self.kinds.len(),
            synced: self.synced,
            subjects: self.inventory.subjects().count(),
            failing: self.ledger.failing(),
            objects: self.inventory.len(),
            sent: self.sent,
            acknowledged: self.acknowledged,
        }
    }

    /// Nothing more is to come of the first lists: what is refused or not served will not.
    fn has_seen_everything(&self, now: UnixMillis) -> bool {
        self.kinds.values().all(|kind| match kind.state {
            CoverageState::Forbidden | CoverageState::Absent | CoverageState::Seen => true,
            CoverageState::Failing => kind.listed || now - kind.since > PATIENCE_MILLIS,
            CoverageState::Starting => false,
        })
    }
}
