//! SharedObservations a cluster: one collector a kind, driven by the table `holdfast_controls::KINDS`.
//!
//! A collector lists, watches, projects each object to its facts and forgets the object. It decides nothing: what it saw,
//! and what it could not see, goes as [`Event`]s to the engine, which owns the inventory. Errors never end a collector.

use holdfast_agent_core::pod_index::ScheduledPod;
use holdfast_agent_core::posture::{ObjectChange, Uids, Versions};
use holdfast_controls::inventory::ObjectKey;
use holdfast_controls::{KINDS, Kind};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::Api;

mod audit;
mod collector;
pub(crate) mod decode;
mod list;
pub mod path;
pub(crate) mod split;
mod watch;

pub use collector::Pace;

/// How many events may wait for the engine. Collectors wait when it is full: nothing is dropped.
pub const EVENTS: usize = 1024;

/// What a collector sends to the engine.
#[derive(Debug)]
pub enum Event {
    /// A change; of a Pod, with what the index keeps of it.
    Changed(ObjectChange, Option<Box<ScheduledPod>>),
    /// A list has ended. The engine answers with what it holds and the list did not have.
    Listed {
        /// The kind.
        kind: &'static Kind,
        /// The uids that the list had.
        seen: Uids,
        /// Receives the answer.
        missing: oneshot::Sender<Vec<(ObjectKey, String)>>,
    },
    /// A question: which versions of a kind's objects does the engine hold?
    Versions {
        /// The kind.
        kind: &'static Kind,
        /// Receives the answer.
        answer: oneshot::Sender<Versions>,
    },
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
