//! The field names and types that the Kubernetes API knows, learned from the API types themselves.
//!
//! Every type of `k8s_openapi` tells its deserializer the names of its fields and asks for each value by type. A
//! deserializer that only listens and hands out empty values therefore hears the whole schema, in the version that the
//! crate was built for, with no table to keep up to date. It knows nothing of which values are allowed.

use std::collections::HashMap;
use std::sync::OnceLock;

use k8s_openapi::Resource;
use k8s_openapi::api::{apps, batch, core, networking, rbac};
use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

/// The form of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Anything goes: quantities, ports by name or number, free objects.
    Any,
    /// Text.
    Text,
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// A list of this form: an index into the schema.
    List(usize),
    /// A map from text to this form: an index into the schema.
    Map(usize),
    /// An object with known fields: an index into the schema's structs.
    Struct(usize),
}

/// Everything that was heard.
#[derive(Debug, Default)]
pub struct Schema {
    shapes: Vec<Shape>,
    structs: Vec<Fields>,
    known: HashMap<(&'static str, usize), usize>,
    kinds: HashMap<(&'static str, &'static str), Shape>,
}

#[derive(Debug, Default)]
struct Fields(Vec<(&'static str, Shape)>);

impl Schema {
    /// The schema of the kinds that are judged, learned on first use.
    pub fn kubernetes() -> &'static Schema {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(|| {
            let mut schema = Schema::default();
            schema.learn::<apps::v1::DaemonSet>();
            schema.learn::<apps::v1::Deployment>();
            schema.learn::<apps::v1::ReplicaSet>();
            schema.learn::<apps::v1::StatefulSet>();
            schema.learn::<batch::v1::CronJob>();
            schema.learn::<batch::v1::Job>();
            schema.learn::<core::v1::Namespace>();
            schema.learn::<core::v1::Pod>();
            schema.learn::<core::v1::ReplicationController>();
            schema.learn::<core::v1::Service>();
            schema.learn::<core::v1::ServiceAccount>();
            schema.learn::<networking::v1::Ingress>();
            schema.learn::<networking::v1::NetworkPolicy>();
            schema.learn::<rbac::v1::ClusterRole>();
            schema.learn::<rbac::v1::ClusterRoleBinding>();
            schema.learn::<rbac::v1::Role>();
            schema.learn::<rbac::v1::RoleBinding>();
            schema
        })
    }

    /// The form of a kind; `Any` for one that was not learned.
    pub fn of(&self, group: &str, kind: &str) -> Shape {
        self.kinds.iter().find(|((g, k), _)| *g == group && *k == kind).map_or(Shape::Any, |(_, shape)| *shape)
    }

    /// The form of a list's items or a map's values.
    pub fn inner(&self, at: usize) -> Shape {
        self.shapes[at]
    }

    /// The form of a field; `None` when the API has no such field there.
    pub fn field(&self, at: usize, name: &str) -> Option<Shape> {
        let fields = &self.structs[at].0;
        fields.binary_search_by(|(known, _)| (*known).cmp(name)).ok().map(|found| fields[found].1)
    }

    /// The field's name that is most like this one, if any is close enough to be meant.
    pub fn nearest(&self, at: usize, name: &str) -> Option<&'static str> {
        let near = |known: &str| match distance(&known.to_ascii_lowercase(), &name.to_ascii_lowercase()) {
            far if far > 2 || far * 3 > known.len() => None,
            near => Some(near),
        };
        self.structs[at].0.iter().filter_map(|(known, _)| Some((near(known)?, *known))).min().map(|(_, known)| known)
    }

    fn learn<T: Resource + DeserializeOwned>(&mut self) {
        let mut shape = Shape::Any;
        // A type that wants more than an empty value stays `Any`: its fields are then not checked.
        if T::deserialize(Listener { schema: self, heard: &mut shape }).is_ok() {
            self.kinds.insert((T::GROUP, T::KIND), shape);
        }
    }
}

/// Edits between two short words, capped: longer words are never alike.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 64 || b.len() > 64 {
        return usize::MAX / 4;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let cost = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Text that every text field takes, times included.
const SOME_TEXT: &str = "1970-01-01T00:00:00Z";

struct Listener<'a> {
    schema: &'a mut Schema,
    heard: &'a mut Shape,
}

macro_rules! hear {
    ($($method:ident => $shape:ident, $visit:ident($value:expr);)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            *self.heard = Shape::$shape;
            visitor.$visit($value)
        })+
    };
}

impl<'de> Deserializer<'de> for Listener<'_> {
    type Error = Error;

    hear! {
        deserialize_any => Any, visit_str(SOME_TEXT);
        deserialize_bool => Bool, visit_bool(false);
        deserialize_i32 => Integer, visit_i32(0);
        deserialize_i64 => Integer, visit_i64(0);
        deserialize_u32 => Integer, visit_u32(0);
        deserialize_u64 => Integer, visit_u64(0);
        deserialize_f64 => Number, visit_f64(0.0);
        deserialize_str => Text, visit_str(SOME_TEXT);
        deserialize_string => Text, visit_str(SOME_TEXT);
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut item = Shape::Any;
        let value = visitor.visit_seq(OneItem { schema: self.schema, heard: Some(&mut item) })?;
        self.schema.shapes.push(item);
        *self.heard = Shape::List(self.schema.shapes.len() - 1);
        Ok(value)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut entry = Shape::Any;
        let fields: &'static [&'static str] = &[SOME_TEXT];
        let listen = EachField { schema: self.schema, fields, next: 0, heard: |_, shape| entry = shape };
        let value = visitor.visit_map(listen)?;
        self.schema.shapes.push(entry);
        *self.heard = Shape::Map(self.schema.shapes.len() - 1);
        Ok(value)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let key = (name, fields.as_ptr().addr());
        let known = self.schema.known.get(&key).copied();
        // A type inside itself is handed no fields, so that listening ends.
        let listen: &'static [&'static str] = if known.is_some() { &[] } else { fields };
        let at = known.unwrap_or_else(|| {
            self.schema.structs.push(Fields::default());
            self.schema.known.insert(key, self.schema.structs.len() - 1);
            self.schema.structs.len() - 1
        });
        let mut heard = Vec::new();
        let listen =
            EachField { schema: self.schema, fields: listen, next: 0, heard: |name, shape| heard.push((name, shape)) };
        let value = visitor.visit_map(listen)?;
        if known.is_none() {
            // `apiVersion` and `kind` are compared with the type's own and can't be listened to.
            heard.extend(["apiVersion", "kind"].into_iter().filter(|n| fields.contains(n)).map(|n| (n, Shape::Text)));
            heard.sort_by_key(|(name, _)| *name);
            heard.dedup_by_key(|(name, _)| *name);
            self.schema.structs[at] = Fields(heard);
        }
        *self.heard = Shape::Struct(at);
        Ok(value)
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u8 u16 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier ignored_any
    }
}

struct OneItem<'a> {
    schema: &'a mut Schema,
    heard: Option<&'a mut Shape>,
}

impl<'de> SeqAccess<'de> for OneItem<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(heard) = self.heard.take() else { return Ok(None) };
        seed.deserialize(Listener { schema: self.schema, heard }).map(Some)
    }
}

struct EachField<'a, F> {
    schema: &'a mut Schema,
    fields: &'static [&'static str],
    next: usize,
    heard: F,
}

impl<'de, F: FnMut(&'static str, Shape)> MapAccess<'de> for EachField<'_, F> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        while let Some(name) = self.fields.get(self.next) {
            // A top-level type checks these two against its own.
            if !(matches!(*name, "apiVersion" | "kind") && self.fields.contains(&"metadata")) {
                let name: StrDeserializer<'_, Error> = name.into_deserializer();
                return seed.deserialize(name).map(Some);
            }
            self.next += 1;
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let mut shape = Shape::Any;
        let value = seed.deserialize(Listener { schema: self.schema, heard: &mut shape })?;
        (self.heard)(self.fields[self.next], shape);
        self.next += 1;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use holdfast_controls::KINDS;

    use super::*;

    fn at<'p>(path: impl IntoIterator<Item = &'p str>, group: &str, kind: &str) -> Option<Shape> {
        let schema = Schema::kubernetes();
        path.into_iter().try_fold(schema.of(group, kind), |shape, step| match shape {
            Shape::Struct(at) => schema.field(at, step),
            Shape::List(at) | Shape::Map(at) => Some(schema.inner(at)),
            _ => None,
        })
    }

    #[test]
    fn every_kind_that_is_judged_has_its_fields_known() {
        for kind in KINDS {
            let shape = Schema::kubernetes().of(kind.group, kind.kind);
            assert!(matches!(shape, Shape::Struct(_)), "{kind}: {shape:?}");
        }
    }

    #[test]
    fn fields_are_known_with_their_types_to_the_bottom() {
        let container = ["spec", "template", "spec", "containers", "0"];
        let field =
            |names: &[&'static str]| at(container.into_iter().chain(names.iter().copied()), "apps", "Deployment");
        assert_eq!(field(&["securityContext", "privileged"]), Some(Shape::Bool));
        assert_eq!(field(&["securityContext", "capabilities", "drop", "0"]), Some(Shape::Text));
        assert_eq!(field(&["ports", "0", "containerPort"]), Some(Shape::Integer));
        assert_eq!(field(&["resources", "limits", "memory"]), Some(Shape::Any));
        assert_eq!(field(&["securityContext", "priviledged"]), None);
        assert_eq!(at(["metadata", "creationTimestamp"], "", "Pod"), Some(Shape::Text));
        assert_eq!(at(["spec", "involvedObject"], "", "Pod"), None);
    }

    #[test]
    fn a_misspelt_name_finds_the_one_that_was_meant() {
        let schema = Schema::kubernetes();
        let path = ["spec", "containers", "0", "securityContext"];
        let Some(Shape::Struct(context)) = at(path, "", "Pod") else { panic!("no security context") };
        assert_eq!(schema.nearest(context, "priviledged"), Some("privileged"));
        assert_eq!(schema.nearest(context, "runasNonRoot"), Some("runAsNonRoot"));
        assert_eq!(schema.nearest(context, "replicas"), None);
    }
}
