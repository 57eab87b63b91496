//! One watch, from its opening to its end: lines to events. With WatchList, its beginning is the list.

use std::time::Duration;

use futures::StreamExt;
use holdfast_agent_core::posture::{ObjectChange, Uids};
use holdfast_controls::Kind;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::decode::{self, WatchEvent};
use super::list::Stopped;
use super::split::Lines;
use super::{EngineGone, Event};
use crate::api::{Api, Refusal};

/// A bookmark comes about once a minute: a watch that is silent for longer than this has lost its other end.
const SILENCE: Duration = Duration::from_secs(180);

/// Where a watch stands. It outlives the connection, so that the next one goes on where this one ended.
#[derive(Debug, Default)]
pub(super) struct Position {
    /// The last version that was seen; empty before the first.
    pub(super) resource_version: String,
    /// The uids of the initial events, while they last.
    pub(super) initial: Option<Uids>,
}

/// Why a watch returned, other than by an error.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Paused {
    /// The initial events have ended; the caller settles the list and goes on reading.
    InitialEventsEnded,
    /// The server ended it, as it does every few minutes.
    Ended,
}

/// An open watch.
pub(super) struct Watch<S> {
    body: S,
    lines: Lines,
    waiting: std::collections::VecDeque<Result<WatchEvent, Refusal>>,
}

/// Opens a watch by its path.
pub(super) async fn open(
    api: &Api,
    path: &str,
) -> Result<Watch<impl futures::Stream<Item = Result<bytes::Bytes, Refusal>> + Send + Unpin + use<>>, Refusal> {
    let body = api.open(path, "application/json").await?;
    Ok(Watch { body, lines: Lines::default(), waiting: Default::default() })
}

impl<S: futures::Stream<Item = Result<bytes::Bytes, Refusal>> + Unpin> Watch<S> {
    /// Reads until the watch ends, fails, or has given all initial events.
    pub(super) async fn read(
        &mut self,
        kind: &'static Kind,
        at: &mut Position,
        events: &mpsc::Sender<Event>,
    ) -> Result<Paused, Stopped> {
        loop {
            while let Some(event) = self.waiting.pop_front() {
                if let Some(paused) = hand_on(event?, kind, at, events).await? {
                    return Ok(paused);
                }
            }
            let Ok(next) = timeout(SILENCE, self.body.next()).await else {
                return Ok(Paused::Ended);
            };
            let Some(bytes) = next else { return Ok(Paused::Ended) };
            let waiting = &mut self.waiting;
            self.lines.feed(&bytes?, |line| {
                if !line.is_empty() {
                    waiting.push_back(decode::watch_event(kind, line));
                }
            })?;
        }
    }
}

async fn hand_on(
    event: WatchEvent,
    kind: &'static Kind,
    at: &mut Position,
    events: &mpsc::Sender<Event>,
) -> Result<Option<Paused>, Stopped> {
    let (change, pod, version) = match event {
        WatchEvent::Seen(object, pod) => {
            note(at, &object.meta.uid);
            let version = object.meta.resource_version.clone();
            (ObjectChange::Seen(object), pod, version)
        }
        WatchEvent::Unreadable(unreadable, version) => {
            note(at, &unreadable.uid);
            (ObjectChange::Unreadable(unreadable), None, version)
        }
        WatchEvent::Deleted(identity) => {
            let (key, uid) = (identity.key(kind), identity.uid);
            (ObjectChange::Deleted { key, uid }, None, identity.resource_version)
        }
        WatchEvent::Bookmark { resource_version, initial_events_end } => {
            at.resource_version = resource_version;
            return Ok((initial_events_end && at.initial.is_some()).then_some(Paused::InitialEventsEnded));
        }
        WatchEvent::Error(refusal) => return Err(refusal.into()),
    };
    events.send(Event::Changed(change, pod)).await.map_err(|_| EngineGone)?;
    // Initial events come in no order of versions: only the bookmark that ends them is a place to go on from.
    if at.initial.is_none() && !version.is_empty() {
        at.resource_version = version;
    }
    Ok(None)
}

fn note(at: &mut Position, uid: &str) {
    if let Some(initial) = &mut at.initial {
        initial.insert(uid.into());
    }
}
