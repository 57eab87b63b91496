//! Watching a cluster: one collector a kind, driven by the table `holdfast_controls::KINDS`.
//!
//! A collector lists, watches, projects each object to its facts and forgets the object. It decides nothing: what it saw,
//! and what it could not see, goes as [`Event`]s to the engine, which owns the inventory. Errors never end a collector.

use std::collections::HashSet;

use holdfast_controls::inventory::ObjectKey;
use holdfast_controls::{KINDS, Kind, Object};
use holdfast_model::CoverageState;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::places::Placed;

mod audit;
mod collector;
pub(crate) mod decode;
mod list;
pub mod path;
pub(crate) mod split;
mod watch;

pub use audit::Versions;
pub use collector::Pace;

/// How many events may wait for the engine. Collectors wait when it is full: nothing is dropped.
pub const EVENTS: usize = 1024;

/// What a collector tells the engine.
#[derive(Debug)]
pub enum Event {
    /// An object, new or changed; of a Pod, where it is.
    Seen(Box<Object>, Option<Box<Placed>>),
    /// An object that is proved deleted: by a DELETED event of this uid, or by name at the API server.
    Deleted {
        /// Where it was.
        key: ObjectKey,
        /// Which one it was.
        uid: String,
    },
    /// An object that does not have its kind's form.
    Unreadable(Unreadable),
    /// A list has ended. The engine answers with what it knows and the list did not have.
    Listed {
        /// The kind.
        kind: &'static Kind,
        /// The uids that the list had.
        seen: Uids,
        /// Where the answer goes.
        missing: oneshot::Sender<Vec<(ObjectKey, String)>>,
    },
    /// A question: which versions of a kind's objects does the engine hold?
    Versions {
        /// The kind.
        kind: &'static Kind,
        /// Where the answer goes.
        answer: oneshot::Sender<Versions>,
    },
    /// Whether a kind can be seen has changed.
    Coverage {
        /// The kind.
        kind: &'static Kind,
        /// The state it is in now.
        state: CoverageState,
        /// Why, in the API server's words; empty when it is seen.
        reason: String,
    },
}

/// The uids that one list had.
pub type Uids = HashSet<Box<str>>;

/// An object that could not be projected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Where it is.
    pub key: ObjectKey,
    /// Its uid, where even that could be read.
    pub uid: String,
    /// What is wrong with it, by field.
    pub problem: String,
}

/// The engine is gone: the process ends, and so do the collectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineGone;

/// Starts one collector a kind. They end when the token is cancelled or the receiver is dropped.
pub fn start(api: &Api, pace: Pace, events: &mpsc::Sender<Event>, stop: &CancellationToken) -> JoinSet<()> {
    let mut collectors = JoinSet::new();
    for &kind in KINDS {
        let (api, events, stop) = (api.clone(), events.clone(), stop.clone());
        collectors.spawn(async move {
            let collector = collector::Collector::new(kind, api, pace, events);
            tokio::select! {
                () = stop.cancelled() => {}
                EngineGone = collector.run() => {}
            }
        });
    }
    collectors
}
