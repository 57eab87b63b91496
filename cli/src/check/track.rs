//! Tracks a deserialization: its position, the fields that the API does not have, the values of the wrong type.
//!
//! A wrapper around any serde deserializer. The projection inside reads the few fields that it needs and skips the rest; the
//! wrapper visits all of them, in the same single pass. It decides nothing: it notes, and the caller reports.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::{self, Write};

use serde::de::value::{CowStrDeserializer, Error as ValueError};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use super::schema::{Schema, Shape};

/// The most notes about one document.
const MAX_NOTES: usize = 20;

/// What was found so far.
#[derive(Debug)]
pub struct Track {
    schema: &'static Schema,
    path: String,
    /// Whether duplicate keys are looked for here: JSON's deserializer accepts them.
    duplicates: bool,
    /// The field at which the deserialization failed; empty at the root.
    pub failed_at: Option<String>,
    /// Fields that the API does not have, and values that are not of its type.
    pub notes: Vec<Note>,
    /// The document's `apiVersion`, once it was read.
    pub api_version: Option<String>,
    /// The document's `kind`, once it was read.
    pub kind: Option<String>,
}

/// One thing that the API server would refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Field path from the object's root.
    pub field: String,
    /// What is wrong, for people.
    pub message: String,
}

impl Track {
    /// At the root, with nothing found.
    pub fn new(duplicates: bool) -> Self {
        Self {
            schema: Schema::kubernetes(),
            path: String::new(),
            duplicates,
            failed_at: None,
            notes: Vec::new(),
            api_version: None,
            kind: None,
        }
    }

    /// The wrapper around `inner`, whose root has this shape.
    pub fn wrap<D>(&mut self, inner: D, shape: Shape) -> Tracked<'_, D> {
        Tracked { inner, shape, track: self }
    }

    fn note(&mut self, message: String) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(Note { field: self.path.clone(), message });
        }
    }

    fn enter_key(&mut self, key: &str) -> usize {
        let length = self.path.len();
        let plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if plain {
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(key);
        } else {
            let shown: String = key.chars().take(100).collect();
            let _ = write!(self.path, "[{shown:?}]");
        }
        length
    }

    fn enter_index(&mut self, index: usize) -> usize {
        let length = self.path.len();
        let _ = write!(self.path, "[{index}]");
        length
    }

    fn leave<T, E>(&mut self, length: usize, result: Result<T, E>) -> Result<T, E> {
        if result.is_err() && self.failed_at.is_none() {
            self.failed_at = Some(self.path.clone());
        }
        self.path.truncate(length);
        result
    }

    fn saw_text(&mut self, text: &str) {
        match self.path.as_str() {
            "kind" => self.kind = Some(text.to_owned()),
            "apiVersion" => self.api_version = Some(text.to_owned()),
            _ => {}
        }
    }

    fn expect(&mut self, shape: Shape, seen: Seen) {
        let wanted = match (shape, seen) {
            (Shape::Any, _) => return,
            (Shape::Text, Seen::Text) | (Shape::Bool, Seen::Bool) | (Shape::Integer, Seen::Integer) => return,
            (Shape::Number, Seen::Integer | Seen::Number) => return,
            (Shape::List(_), Seen::List) | (Shape::Map(_) | Shape::Struct(_), Seen::Map) => return,
            (Shape::Text, _) => "text; quote it",
            (Shape::Bool, _) => "`true` or `false`, without quotes",
            (Shape::Integer, _) => "a whole number, without quotes",
            (Shape::Number, _) => "a number, without quotes",
            (Shape::List(_), _) => "a list",
            (Shape::Map(_) | Shape::Struct(_), _) => "a map of fields",
        };
        self.note(format!("this is {}, but the API takes {wanted}", seen.as_str()));
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Seen {
    Text,
    Bool,
    Integer,
    Number,
    List,
    Map,
}

impl Seen {
    fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Bool => "a boolean",
            Self::Integer | Self::Number => "a number",
            Self::List => "a list",
            Self::Map => "a map",
        }
    }
}

/// A deserializer, visitor, seed or access that is tracked.
pub struct Tracked<'t, I> {
    inner: I,
    shape: Shape,
    track: &'t mut Track,
}

/// Scalars are deserialized by their own type, so that a quoted `"yes"` is never read as a boolean.
macro_rules! by_own_type {
    ($($method:ident)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.deserialize_any(visitor)
        })+
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Tracked<'_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_any(Tracked { inner: visitor, shape: self.shape, track: self.track })
    }

    by_own_type! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64 deserialize_char
        deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_unit deserialize_seq
        deserialize_map deserialize_identifier deserialize_ignored_any
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_option(Tracked { inner: visitor, shape: self.shape, track: self.track })
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_any(ByName(visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_enum(name, variants, visitor)
    }
}

/// A struct by the names of its fields only: derived visitors would accept a list of the fields in order, too.
struct ByName<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for ByName<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(fields)
    }
}

macro_rules! scalars {
    ($($method:ident($type:ty) => $seen:ident;)+) => {
        $(fn $method<E: serde::de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.track.expect(self.shape, Seen::$seen);
            self.inner.$method(value)
        })+
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Tracked<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    scalars! {
        visit_bool(bool) => Bool;
        visit_i64(i64) => Integer;
        visit_u64(u64) => Integer;
        visit_i128(i128) => Integer;
        visit_u128(u128) => Integer;
        visit_f64(f64) => Number;
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<V::Value, E> {
        self.track.expect(self.shape, Seen::Text);
        self.track.saw_text(value);
        self.inner.visit_str(value)
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, value: &'de str) -> Result<V::Value, E> {
        self.track.expect(self.shape, Seen::Text);
        self.track.saw_text(value);
        self.inner.visit_borrowed_str(value)
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<V::Value, E> {
        self.track.expect(self.shape, Seen::Text);
        self.track.saw_text(&value);
        self.inner.visit_string(value)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(Tracked { inner: from, shape: self.shape, track: self.track })
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(Tracked { inner: from, shape: self.shape, track: self.track })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.track.expect(self.shape, Seen::List);
        let shape = match self.shape {
            Shape::List(at) => self.track.schema.inner(at),
            _ => Shape::Any,
        };
        self.inner.visit_seq(TrackedItems { items, shape, next: 0, track: self.track })
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<V::Value, A::Error> {
        self.track.expect(self.shape, Seen::Map);
        let seen = self.track.duplicates.then(HashSet::new);
        self.inner.visit_map(TrackedFields {
            fields,
            shape: self.shape,
            key: Cow::Borrowed(""),
            seen,
            track: self.track,
        })
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Tracked<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Tracked { inner: from, shape: self.shape, track: self.track })
    }
}

struct TrackedItems<'t, A> {
    items: A,
    shape: Shape,
    next: usize,
    track: &'t mut Track,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for TrackedItems<'_, A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        let length = self.track.enter_index(self.next);
        self.next += 1;
        let item = self.items.next_element_seed(Tracked { inner: seed, shape: self.shape, track: self.track });
        self.track.leave(length, item)
    }
}

struct TrackedFields<'t, 'de, A> {
    fields: A,
    shape: Shape,
    key: Cow<'de, str>,
    seen: Option<HashSet<String>>,
    track: &'t mut Track,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for TrackedFields<'_, 'de, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let Some(key) = self.fields.next_key_seed(KeyText)? else { return Ok(None) };
        if self.seen.as_mut().is_some_and(|seen| !seen.insert(key.to_string())) {
            let length = self.track.enter_key(&key);
            return self.track.leave(length, Err(A::Error::custom("this key comes twice; keep one of the two")));
        }
        let text: CowStrDeserializer<'_, ValueError> = Cow::Borrowed(&*key).into_deserializer();
        let known = seed.deserialize(text).map_err(A::Error::custom)?;
        self.key = key;
        Ok(Some(known))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        let length = self.track.enter_key(&self.key);
        let shape = match self.shape {
            Shape::Struct(at) => self.track.schema.field(at, &self.key).unwrap_or_else(|| {
                let meant = self.track.schema.nearest(at, &self.key);
                let meant = meant.map_or(String::new(), |name| format!("; did you mean `{name}`?"));
                self.track.note(format!("the API has no such field, so it has no effect{meant}"));
                Shape::Any
            }),
            Shape::Map(at) => self.track.schema.inner(at),
            _ => Shape::Any,
        };
        let value = self.fields.next_value_seed(Tracked { inner: seed, shape, track: self.track });
        self.track.leave(length, value)
    }
}

/// A key as text, borrowed where the format allows it.
struct KeyText;

impl<'de> DeserializeSeed<'de> for KeyText {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Cow<'de, str>, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeyText {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(key.to_owned()))
    }

    fn visit_string<E>(self, key: String) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(key))
    }
}
