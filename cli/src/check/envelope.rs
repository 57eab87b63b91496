//! Opens a document of unknown kind: one object, read whole, or a list, whose objects are handed on one at a time and then
//! forgotten, so that a list of ten thousand costs no more memory than its largest object.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::schema::Shape;
use super::track::Track;

/// Reads one document; `each` takes the objects of a list with their number, from 1.
pub struct Envelope<'f> {
    each: &'f mut dyn FnMut(Value, usize),
}

/// What a document turned out to be.
pub enum Opened {
    /// A list, whose objects have been handed on.
    List,
    /// One object.
    Object(Value),
    /// Neither: why, for people.
    Nothing(&'static str),
}

impl<'f> Envelope<'f> {
    /// An envelope whose list items go to `each`.
    pub fn new(each: &'f mut dyn FnMut(Value, usize)) -> Self {
        Self { each }
    }

    /// Reads the document, tracked.
    pub fn read<'de, D: Deserializer<'de>>(self, track: &mut Track, from: D) -> Result<Opened, D::Error> {
        track.wrap(from, Shape::Any).deserialize_any(self)
    }
}

const NO_MAP: &str = "this is no manifest: a manifest is a map with `apiVersion` and `kind`";

impl<'de> Visitor<'de> for Envelope<'_> {
    type Value = Opened;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Kubernetes object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Opened, A::Error> {
        let mut rest = Map::new();
        let mut listed = false;
        while let Some(key) = fields.next_key::<String>()? {
            if key == "items" {
                listed |= fields.next_value_seed(Items { each: &mut *self.each })?;
            } else {
                rest.insert(key, fields.next_value()?);
            }
        }
        let is_list = rest.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
        Ok(if listed || is_list { Opened::List } else { Opened::Object(Value::Object(rest)) })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Opened, A::Error> {
        while items.next_element::<serde::de::IgnoredAny>()?.is_some() {}
        Ok(Opened::Nothing(
            "this is a bare list; put the objects under `items` of a `kind: List`, or between `---` lines",
        ))
    }

    fn visit_str<E>(self, _: &str) -> Result<Opened, E> {
        Ok(Opened::Nothing(NO_MAP))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Opened, E> {
        Ok(Opened::Nothing(NO_MAP))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Opened, E> {
        Ok(Opened::Nothing(NO_MAP))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Opened, E> {
        Ok(Opened::Nothing(NO_MAP))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Opened, E> {
        Ok(Opened::Nothing(NO_MAP))
    }

    fn visit_unit<E>(self) -> Result<Opened, E> {
        Ok(Opened::Nothing(NO_MAP))
    }
}

/// `items`: answers whether there were any to read.
struct Items<'f> {
    each: &'f mut dyn FnMut(Value, usize),
}

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<bool, A::Error> {
        let mut number = 0;
        while let Some(value) = items.next_element::<Value>()? {
            number += 1;
            (self.each)(value, number);
        }
        Ok(true)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(true)
    }
}
