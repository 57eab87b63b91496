//! One watch, from its opening to its end: lines to events. With WatchList, its beginning is the list.

use std::time::Duration;

use futures::StreamExt;
use holdfast_controls::Kind;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::decode::{self, Line};
use super::list::Stopped;
use super::split::Lines;
use super::{EngineGone, Event, Uids};
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
    waiting: std::collections::VecDeque<Result<Line, Refusal>>,
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
            while let Some(line) = self.waiting.pop_front() {
                if let Some(paused) = take(line?, kind, at, events).await? {
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
                    waiting.push_back(decode::line(kind, line));
                }
            })?;
        }
    }
}

async fn take(
    line: Line,
    kind: &'static Kind,
    at: &mut Position,
    events: &mpsc::Sender<Event>,
) -> Result<Option<Paused>, Stopped> {
    let (event, version) = match line {
        Line::Seen(object, placed) => {
            note(at, &object.meta.uid);
            let version = object.meta.resource_version.clone();
            (Event::Seen(object, placed), version)
        }
        Line::Unreadable(unreadable, version) => {
            note(at, &unreadable.uid);
            (Event::Unreadable(unreadable), version)
        }
        Line::Deleted(identity) => {
            (Event::Deleted { key: identity.key(kind), uid: identity.uid }, identity.resource_version)
        }
        Line::Bookmark { resource_version, initial_events_end } => {
            at.resource_version = resource_version;
            return Ok((initial_events_end && at.initial.is_some()).then_some(Paused::InitialEventsEnded));
        }
        Line::Error(refusal) => return Err(refusal.into()),
    };
    events.send(event).await.map_err(|_| EngineGone)?;
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
