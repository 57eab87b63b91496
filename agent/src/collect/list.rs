//! The paged list: page by page, item by item, to the engine. For servers without WatchList, and wherever that fails.

use futures::StreamExt;
use holdfast_agent_core::pod_index;
use holdfast_agent_core::posture::{ObjectChange, Uids};
use holdfast_controls::Kind;
use tokio::sync::mpsc;

use super::split::{Items, ListMeta};
use super::{EngineGone, Event, decode, path};
use crate::api::{Api, Refusal};

/// How a list ended early.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The API server refused or broke off.
    Refused(Refusal),
    /// The engine is gone.
    EngineGone,
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<EngineGone> for Stopped {
    fn from(_: EngineGone) -> Self {
        Self::EngineGone
    }
}

/// What came of a list.
pub(super) struct Listed {
    /// The version to watch from.
    pub(super) resource_version: String,
    /// Every uid that was in it, also of objects that could not be read.
    pub(super) seen: Uids,
}

/// Lists everything of a kind. A continuation that has expired starts over once, in one piece.
pub(super) async fn list(api: &Api, kind: &'static Kind, events: &mpsc::Sender<Event>) -> Result<Listed, Stopped> {
    match pages(api, kind, path::PAGE, events).await {
        Err(Stopped::Refused(Refusal::Expired(_))) => pages(api, kind, 0, events).await,
        other => other,
    }
}

async fn pages(api: &Api, kind: &'static Kind, limit: u32, events: &mpsc::Sender<Event>) -> Result<Listed, Stopped> {
    let mut seen = Uids::new();
    let mut next: Option<String> = None;
    loop {
        let meta = page(api, kind, &path::page(kind, limit, next.as_deref()), &mut seen, events).await?;
        next = meta.next().map(str::to_owned);
        if next.is_none() {
            return Ok(Listed { resource_version: meta.resource_version, seen });
        }
    }
}

async fn page(
    api: &Api,
    kind: &'static Kind,
    path: &str,
    seen: &mut Uids,
    events: &mpsc::Sender<Event>,
) -> Result<ListMeta, Stopped> {
    let mut body = api.open(path, "application/json").await?;
    let mut items = Items::default();
    let mut found = Vec::new();
    while let Some(bytes) = body.next().await {
        items.feed(&bytes?, |item| found.push((decode::object(kind, item), pod_index::read(kind, item))))?;
        for (object, pod) in found.drain(..) {
            let (uid, change) = match object {
                Ok(object) => (object.meta.uid.as_str().into(), ObjectChange::Seen(object)),
                Err(unreadable) => (unreadable.uid.as_str().into(), ObjectChange::Unreadable(unreadable)),
            };
            seen.insert(uid);
            events.send(Event::Changed(change, pod)).await.map_err(|_| EngineGone)?;
        }
    }
    Ok(items.finish()?)
}
