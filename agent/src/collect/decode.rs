//! Bytes of the API server to facts: one object, or one line of a watch. What cannot be read is named, never skipped.

use std::borrow::Cow;
use std::collections::BTreeMap;

use holdfast_controls::inventory::ObjectKey;
use holdfast_controls::{Kind, Object, project};
use holdfast_proto::limits;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::{Refusal, Status};
use holdfast_agent_core::pod_index::{self, ScheduledPod};
use holdfast_agent_core::posture::Unreadable;
use holdfast_agent_core::text;

/// One event of a watch: a line of its body.
#[derive(Debug)]
pub enum WatchEvent {
    /// ADDED or MODIFIED; of a Pod, with what the index keeps of it.
    Seen(Box<Object>, Option<Box<ScheduledPod>>),
    /// DELETED.
    Deleted(Identity),
    /// BOOKMARK: everything up to this version has been sent; `initial` when it ends a WatchList's beginning.
    Bookmark {
        /// The version to go on from.
        resource_version: String,
        /// Whether it says that the initial events have ended.
        initial_events_end: bool,
    },
    /// ADDED or MODIFIED, of an object that has not its kind's form.
    Unreadable(Unreadable, String),
    /// ERROR.
    Error(Refusal),
}

/// What of an object names it.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Identity {
    /// `name`.
    pub name: String,
    /// `namespace`.
    pub namespace: Option<String>,
    /// `uid`.
    pub uid: String,
    /// `resourceVersion`.
    pub resource_version: String,
    /// Only looked at in bookmarks.
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl Identity {
    /// The key of the object.
    pub fn key(&self, kind: &'static Kind) -> ObjectKey {
        ObjectKey { kind, namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(rename = "type", borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Identified {
    metadata: Identity,
}

/// Projects one object.
pub fn object(kind: &'static Kind, bytes: &[u8]) -> Result<Box<Object>, Unreadable> {
    match project(kind, &mut serde_json::Deserializer::from_slice(bytes)) {
        Ok(object) if object.meta.name.len() > limits::STRING_BYTES => {
            Err(unreadable(kind, bytes, "metadata.name: longer than can be reported"))
        }
        Ok(object) if !object.meta.name.is_empty() => Ok(Box::new(object)),
        Ok(_) => Err(unreadable(kind, bytes, "metadata.name: missing")),
        Err(error) => Err(unreadable(kind, bytes, &error.to_string())),
    }
}

/// `metadata` of any object, as far as it names the object.
pub fn identity(bytes: &[u8]) -> Result<Identity, Refusal> {
    let identified = serde_json::from_slice::<Identified>(bytes);
    identified.map(|identified| identified.metadata).map_err(|error| {
        Refusal::Failing(format!("an object does not name itself: {}", text::line(&error.to_string())))
    })
}

/// Reads one line of a watch.
pub fn watch_event(kind: &'static Kind, bytes: &[u8]) -> Result<WatchEvent, Refusal> {
    let shape: Shape<'_> = serde_json::from_slice(bytes).map_err(|error| {
        Refusal::Failing(format!("a line of the watch is no event: {}", text::line(&error.to_string())))
    })?;
    let raw = shape.object.get().as_bytes();
    Ok(match &*shape.event {
        "ADDED" | "MODIFIED" => match object(kind, raw) {
            Ok(object) => WatchEvent::Seen(object, pod_index::read(kind, raw)),
            Err(unreadable) => WatchEvent::Unreadable(unreadable, identity(raw)?.resource_version),
        },
        "DELETED" => WatchEvent::Deleted(identity(raw)?),
        "BOOKMARK" => bookmark(identity(raw)?),
        "ERROR" => WatchEvent::Error(error(raw)),
        other => return Err(Refusal::Failing(format!("the watch sent an event of type {:?}", text::line(other)))),
    })
}

fn error(raw: &[u8]) -> Refusal {
    match serde_json::from_slice::<Status>(raw) {
        Ok(status) => status.into_refusal(),
        Err(error) => {
            Refusal::Failing(format!("the watch ended with an unreadable error: {}", text::line(&error.to_string())))
        }
    }
}

fn bookmark(identity: Identity) -> WatchEvent {
    let annotations = identity.annotations.unwrap_or_default();
    WatchEvent::Bookmark {
        resource_version: identity.resource_version,
        initial_events_end: annotations.get("k8s.io/initial-events-end").is_some_and(|value| value == "true"),
    }
}

/// An object whose very name is unreadable is named by nothing; its kind and the problem are still reported.
fn unreadable(kind: &'static Kind, bytes: &[u8], problem: &str) -> Unreadable {
    let identity = identity(bytes).unwrap_or_default();
    Unreadable { key: identity.key(kind), problem: text::line(problem), uid: identity.uid }
}

#[cfg(test)]
mod tests {
    use holdfast_controls::facts::workload::POD;

    use super::*;

    #[test]
    fn each_type_of_event_is_recognised() {
        let read = |text: &str| watch_event(&POD, text.as_bytes());
        assert!(matches!(read(r#"{"type":"ADDED","object":{"metadata":{"name":"a"}}}"#), Ok(WatchEvent::Seen(..))));
        assert!(matches!(
            read(r#"{"type":"DELETED","object":{"metadata":{"name":"a","uid":"u"},"spec":7}}"#),
            Ok(WatchEvent::Deleted(identity)) if identity.uid == "u"
        ));
        let end = r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7","annotations":{"k8s.io/initial-events-end":"true"}}}}"#;
        assert!(
            matches!(read(end), Ok(WatchEvent::Bookmark { resource_version, initial_events_end: true }) if resource_version == "7")
        );
        let expired =
            r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}"#;
        assert!(matches!(read(expired), Ok(WatchEvent::Error(Refusal::Expired(_)))));
        assert!(read("{}").is_err() && read("\u{0}").is_err());
    }

    #[test]
    fn an_object_of_the_wrong_form_is_named_with_its_problem() {
        let bytes = br#"{"metadata":{"name":"web","namespace":"shop","uid":"u"},"spec":{"containers":7}}"#;
        let Unreadable { key, uid, problem } = object(&POD, bytes).unwrap_err();
        assert_eq!((key.name.as_str(), key.namespace.as_deref(), uid.as_str()), ("web", Some("shop"), "u"));
        assert!(problem.contains("invalid type"), "{problem}");
    }
}
