//! Labels, and the selectors that ask for them, as `k8s.io/apimachinery/pkg/labels` matches them.
//!
//! Pods of one workload have the same labels, and workloads share keys and values: an inventory keeps each set and each text
//! once, through its [`Interner`].

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::null_as_default;

/// The labels of an object, or those that a Service selects by, in order of their keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Labels(Option<Arc<[Pair]>>);

type Pair = (Arc<str>, Arc<str>);

/// `LabelSelector`. Empty, it matches everything; what its absence means is said by whoever holds it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// `matchLabels`.
    #[serde(deserialize_with = "null_as_default")]
    pub match_labels: Labels,
    /// `matchExpressions`.
    #[serde(deserialize_with = "null_as_default")]
    pub match_expressions: Box<[Requirement]>,
}

/// One of `matchExpressions`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Requirement {
    /// `key`.
    #[serde(deserialize_with = "null_as_default")]
    pub key: Box<str>,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`. The API server refuses any other; in a manifest one matches nothing.
    #[serde(deserialize_with = "null_as_default")]
    pub operator: Box<str>,
    /// `values`.
    #[serde(deserialize_with = "null_as_default")]
    pub values: Box<[Box<str>]>,
}

impl Labels {
    /// The value of a label.
    pub fn get(&self, key: &str) -> Option<&str> {
        let pairs = self.0.as_deref()?;
        let at = pairs.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
        Some(&pairs[at].1)
    }

    /// Every label, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|pairs| pairs.iter()).map(|(key, value)| (&**key, &**value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether all of these are among others.
    pub fn are_among(&self, others: &Labels) -> bool {
        self.iter().all(|(key, value)| others.get(key) == Some(value))
    }
}

impl From<&BTreeMap<String, String>> for Labels {
    fn from(labels: &BTreeMap<String, String>) -> Self {
        let pairs = labels.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into()));
        Self((!labels.is_empty()).then(|| pairs.collect()))
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // As the API server does, a value of null is read as an empty one.
        let labels = BTreeMap::<String, Option<String>>::deserialize(from)?;
        Ok(Self::from(&labels.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect()))
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        for (key, value) in self.iter() {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl LabelSelector {
    /// Whether it asks for nothing, so that everything matches.
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// Whether an object with these labels matches.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.match_labels.are_among(labels) && self.match_expressions.iter().all(|one| one.matches(labels))
    }
}

impl Requirement {
    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        let is_listed = value.is_some_and(|value| self.values.iter().any(|one| **one == *value));
        match &*self.operator {
            "In" => is_listed,
            "NotIn" => !is_listed,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    }
}

/// Facts that may hold labels.
pub(crate) trait Interned {
    /// Shares what an interner has already.
    fn intern(&mut self, _: &mut Interner) {}
}

/// Every set of labels of an inventory, and every text in them, once.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    sets: HashSet<Labels>,
    texts: HashSet<Arc<str>>,
    /// So many sets were still in use when the unused ones were last let go.
    used: usize,
}

impl Interner {
    /// Takes the shared copy in place of these labels.
    pub(crate) fn share(&mut self, labels: &mut Labels) {
        let Some(pairs) = &labels.0 else { return };
        if let Some(known) = self.sets.get(labels) {
            *labels = known.clone();
            return;
        }
        let mut text = |text: &Arc<str>| match self.texts.get(text) {
            Some(known) => known.clone(),
            None => {
                self.texts.insert(text.clone());
                text.clone()
            }
        };
        *labels = Labels(Some(pairs.iter().map(|(key, value)| (text(key), text(value))).collect()));
        self.sets.insert(labels.clone());
        self.let_go_of_unused();
    }

    /// Once there are twice as many sets as were in use: each costs a constant share of such a walk.
    fn let_go_of_unused(&mut self) {
        const FEW: usize = 1024;
        if self.sets.len() > 2 * self.used + FEW {
            self.sets.retain(|set| set.0.as_ref().is_some_and(|pairs| Arc::strong_count(pairs) > 1));
            self.texts.retain(|text| Arc::strong_count(text) > 1);
            self.used = self.sets.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn labels(of: Value) -> Labels {
        serde_json::from_value(of).unwrap()
    }

    #[test]
    fn selectors_match_as_the_api_servers_do() {
        let web = labels(json!({"app": "web", "tier": "front", "empty": null}));
        let expression = |operator: &str, key: &str, values: Value| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        let cases = [
            (json!({}), true),
            (json!({"matchLabels": null, "matchExpressions": null}), true),
            (json!({"matchLabels": {"app": "web"}}), true),
            (json!({"matchLabels": {"app": "web", "tier": "back"}}), false),
            (json!({"matchLabels": {"empty": ""}}), true),
            (json!({"matchLabels": {"absent": ""}}), false),
            (expression("In", "app", json!(["web", "api"])), true),
            (expression("In", "absent", json!(["web"])), false),
            (expression("NotIn", "app", json!(["api"])), true),
            (expression("NotIn", "app", json!(["web"])), false),
            (expression("NotIn", "absent", json!(["web"])), true),
            (expression("Exists", "tier", json!(null)), true),
            (expression("Exists", "absent", json!([])), false),
            (expression("DoesNotExist", "absent", json!([])), true),
            (expression("DoesNotExist", "tier", json!([])), false),
            (expression("Gt", "app", json!(["1"])), false),
            (
                json!({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}),
                false,
            ),
        ];
        for (selector, expected) in cases {
            let read: LabelSelector = serde_json::from_value(selector.clone()).unwrap();
            assert_eq!(read.matches(&web), expected, "{selector}");
        }
    }

    #[test]
    fn equal_sets_are_one_and_what_nobody_uses_is_let_go() {
        let mut interner = Interner::default();
        let (mut one, mut other) = (labels(json!({"app": "web", "x": "1"})), labels(json!({"app": "web", "x": "1"})));
        let mut third = labels(json!({"app": "web"}));
        [&mut one, &mut other, &mut third].into_iter().for_each(|labels| interner.share(labels));
        let pairs = |labels: &Labels| labels.0.clone().unwrap();
        assert!(Arc::ptr_eq(&pairs(&one), &pairs(&other)) && Arc::ptr_eq(&pairs(&one)[0].0, &pairs(&third)[0].0));
        for i in 0..10_000 {
            interner.share(&mut labels(json!({"app": format!("gone-{i}")})));
        }
        assert!(interner.sets.len() < 2_500 && interner.texts.len() < 2_500, "{}", interner.sets.len());
        assert!(interner.sets.contains(&one) && interner.sets.contains(&third), "what is used stays");
    }
}
