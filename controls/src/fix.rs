//! From the places where a control fails to the patch that makes it pass: RFC 6902 operations, built from the stored places
//! and the control's [`Fix`] alone, without the object.
//!
//! A place is a path such as `spec.containers[0].securityContext` or `metadata.annotations["a/b"]`. It names the wrong field,
//! or, where that is absent, its first missing ancestor; so whatever the end of the path lacks of the fix's field is made
//! with it. Operations come in an order that applies: additions, then removals from the back of each list.
//! Whether a patch may be applied, and where its source is, is for others to say; `kubectl` makes the line that applies it.

use std::collections::BTreeSet;

use holdfast_model::{Location, Resource};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::catalog::{Control, Fix};

/// A JSON patch of the operations that fixes need.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonPatch(pub Vec<Operation>);

/// One operation of RFC 6902.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Operation {
    /// Sets a member, there or not, or inserts a list element.
    Add {
        /// JSON pointer.
        path: String,
        /// The value.
        value: Value,
    },
    /// Removes what is there.
    Remove {
        /// JSON pointer.
        path: String,
    },
    /// Sets what is there.
    Replace {
        /// JSON pointer.
        path: String,
        /// The value.
        value: Value,
    },
}

/// Why a patch does not apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The pointer leads nowhere in this object.
    #[error("the object has nothing at {0}")]
    Nothing(String),
    /// The pointer is not a JSON pointer, or names the whole object.
    #[error("{0:?} does not name a place in an object")]
    Pointer(String),
}

/// A step of a path: a field or key, or an index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Index(usize),
    Key(String),
}

/// The patch that makes a control pass where it fails. `None` where there is no such patch: the control has no fix, or one
/// of the places is not in the resource itself, or is not one that the fix knows.
pub fn patch(control: &Control, places: &[Location]) -> Option<JsonPatch> {
    let fix = control.fix.as_ref()?;
    let mut added: Vec<(Vec<Step>, Value)> = Vec::new();
    let mut removed = BTreeSet::new();
    for place in places {
        if place.object.is_some() {
            return None;
        }
        match edit(fix, parse(&place.path)?)? {
            (path, Some(value)) if !added.iter().any(|(known, _)| *known == path) => added.push((path, value)),
            (_, Some(_)) => {}
            (path, None) => _ = removed.insert(path),
        }
    }
    let additions = added.into_iter().map(|(path, value)| Operation::Add { path: pointer(&path), value });
    let removals = removed.iter().rev().map(|path| Operation::Remove { path: pointer(path) });
    let operations: Vec<_> = additions.chain(removals).collect();
    (!operations.is_empty()).then_some(JsonPatch(operations))
}

/// The objects that make a control pass where something is missing, as YAML; `None` where its fix is another one. The
/// subject's name may hold anything: it stands there as a JSON string, which YAML reads as it is.
pub fn manifest(control: &Control, resource: &Resource) -> Option<String> {
    let Some(Fix::Create(template)) = control.fix else { return None };
    let name = serde_json::to_string(&resource.name).ok()?;
    Some(template.replace("{namespace}", &name))
}

/// What a fix does at one place: the value to set there, or `None` to remove what is there.
fn edit(fix: &Fix, path: Vec<Step>) -> Option<(Vec<Step>, Option<Value>)> {
    match fix {
        Fix::Set { field, to } => {
            let field: Vec<&str> = field.split('.').collect();
            let there = (1..=field.len()).rev().find(|&n| ends_with(&path, &field[..n]))?;
            // The catalog's values are JSON; a test builds every fix.
            let value: Value = serde_json::from_str(to).ok()?;
            let value = field[there..].iter().rev().fold(value, |value, name| serde_json::json!({*name: value}));
            Some((path, Some(value)))
        }
        Fix::Remove(pattern) => {
            let spaced = pattern.replace("[]", ".[]");
            let pattern: Vec<&str> = spaced.split('.').collect();
            ends_with(&path, &pattern).then_some((path, None))
        }
        Fix::FirstOf(fixes) => fixes.iter().find_map(|fix| edit(fix, path.clone())),
        Fix::Label { key, to } => {
            let is_label = ends_with(&path, &["metadata", "labels", key]);
            let value = if is_label { Value::from(*to) } else { serde_json::json!({*key: to}) };
            (is_label || ends_with(&path, &["metadata", "labels"])).then_some((path, Some(value)))
        }
        Fix::Create(_) => None,
    }
}

/// Whether a path ends with these: a field's name, `*` for any field, `[]` for any index or key.
fn ends_with(path: &[Step], pattern: &[&str]) -> bool {
    path.len() >= pattern.len()
        && path[path.len() - pattern.len()..].iter().zip(pattern).all(|(step, &wanted)| match step {
            Step::Index(_) => wanted == "[]",
            Step::Key(key) => wanted == "*" || wanted == "[]" || wanted == key,
        })
}

/// Reads a place's path: fields separated by dots, `[0]` for an index, `["key"]` for a key with other characters.
fn parse(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(bracket) = rest.strip_prefix('[') {
            if bracket.starts_with('"') {
                let mut keys = serde_json::Deserializer::from_str(bracket).into_iter::<String>();
                steps.push(Step::Key(keys.next()?.ok()?));
                rest = bracket[keys.byte_offset()..].strip_prefix(']')?;
            } else {
                let (index, after) = bracket.split_once(']')?;
                steps.push(Step::Index(index.parse().ok()?));
                rest = after;
            }
        } else {
            let field = rest.strip_prefix('.').unwrap_or(rest);
            let (name, after) = field.split_at(field.find(['.', '[']).unwrap_or(field.len()));
            if name.is_empty() {
                return None;
            }
            steps.push(Step::Key(name.to_owned()));
            rest = after;
        }
    }
    Some(steps)
}

fn pointer(path: &[Step]) -> String {
    let step = |step: &Step| match step {
        Step::Index(index) => format!("/{index}"),
        Step::Key(key) => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
    };
    path.iter().map(step).collect()
}

/// Applies a patch to an object, operation by operation. At the first that does not apply it stops: work on a copy.
pub fn apply(patch: &JsonPatch, object: &mut Value) -> Result<(), PatchError> {
    patch.0.iter().try_for_each(|operation| match operation {
        Operation::Add { path, value } => {
            let (parent, last) = descend(object, path)?;
            match parent {
                Value::Object(fields) => _ = fields.insert(last, value.clone()),
                Value::Array(list) => {
                    let end = if last == "-" { Some(list.len()) } else { last.parse().ok() };
                    let at = end.filter(|at| *at <= list.len()).ok_or_else(|| PatchError::Nothing(path.clone()))?;
                    list.insert(at, value.clone());
                }
                _ => return Err(PatchError::Nothing(path.clone())),
            }
            Ok(())
        }
        Operation::Remove { path } => {
            let (parent, last) = descend(object, path)?;
            let removed = match parent {
                Value::Object(fields) => fields.remove(&last),
                Value::Array(list) => last.parse().ok().filter(|at| *at < list.len()).map(|at: usize| list.remove(at)),
                _ => None,
            };
            removed.map(drop).ok_or_else(|| PatchError::Nothing(path.clone()))
        }
        Operation::Replace { path, value } => {
            let place = object.pointer_mut(path).ok_or_else(|| PatchError::Nothing(path.clone()))?;
            *place = value.clone();
            Ok(())
        }
    })
}

/// The parent of what a pointer names, and the last step.
fn descend<'a>(object: &'a mut Value, path: &str) -> Result<(&'a mut Value, String), PatchError> {
    let (parent, last) = path.rsplit_once('/').ok_or_else(|| PatchError::Pointer(path.to_owned()))?;
    let parent = object.pointer_mut(parent).ok_or_else(|| PatchError::Nothing(path.to_owned()))?;
    Ok((parent, last.replace("~1", "/").replace("~0", "~")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kubectl;

    fn of(id: &str, places: &[&str]) -> Option<Value> {
        let places: Vec<_> = places.iter().map(|path| Location::field(*path, "")).collect();
        patch(Control::find(id).unwrap(), &places).map(|patch| serde_json::to_value(patch).unwrap())
    }

    #[test]
    fn what_is_missing_is_made_with_the_field() {
        let places =
            ["spec.containers[0].securityContext", "spec.containers[1].securityContext.allowPrivilegeEscalation"];
        assert_eq!(
            of("workload.privilege-escalation", &places).unwrap(),
            json!([
                {"op": "add", "path": "/spec/containers/0/securityContext", "value": {"allowPrivilegeEscalation": false}},
                {"op": "add", "path": "/spec/containers/1/securityContext/allowPrivilegeEscalation", "value": false},
            ])
        );
    }

    #[test]
    fn list_elements_go_from_the_back() {
        let places = [2, 10, 0].map(|i| format!("spec.containers[0].securityContext.capabilities.add[{i}]"));
        let places: Vec<&str> = places.iter().map(String::as_str).collect();
        let patch = of("workload.capabilities-added", &places).unwrap();
        let order: Vec<_> = patch.as_array().unwrap().iter().map(|op| op["path"].as_str().unwrap()).collect();
        assert_eq!(order, [10, 2, 0].map(|i| format!("/spec/containers/0/securityContext/capabilities/add/{i}")));
    }

    #[test]
    fn a_place_that_several_containers_share_is_set_once() {
        let patch = of("workload.run-as-non-root", &["spec.securityContext", "spec.securityContext"]).unwrap();
        assert_eq!(patch, json!([{"op": "add", "path": "/spec/securityContext", "value": {"runAsNonRoot": true}}]));
    }

    #[test]
    fn an_annotation_key_is_escaped() {
        let place = r#"spec.template.metadata.annotations["container.apparmor.security.beta.kubernetes.io/a~b"]"#;
        assert_eq!(
            of("workload.apparmor", &[place]).unwrap(),
            json!([{
                "op": "remove",
                "path": "/spec/template/metadata/annotations/container.apparmor.security.beta.kubernetes.io~1a~0b",
            }])
        );
    }

    #[test]
    fn a_place_that_the_fix_does_not_know_has_no_patch() {
        assert_eq!(of("workload.host-pid", &["spec.hostPID", "spec.hostIPC"]), None);
        assert_eq!(of("workload.host-pid", &[]), None);
        assert_eq!(of("workload.host-path", &["spec.volumes[0].hostPath"]), None);
        for hostile in ["spec.hostPID]", "spec[x].hostPID", "spec..hostPID", "[\"a", "spec.a[-1].hostPID"] {
            assert_eq!(of("workload.host-pid", &[hostile]), None, "{hostile}");
        }
        let injected = Location::field("spec.hostPID", "true").in_object("Pod web-1");
        assert_eq!(patch(Control::find("workload.host-pid").unwrap(), &[injected]), None);
    }

    #[test]
    fn operations_apply_as_rfc_6902_says() {
        let ops = json!([
            {"op": "add", "path": "/list/1", "value": "b"},
            {"op": "add", "path": "/list/-", "value": "d"},
            {"op": "replace", "path": "/a~1b", "value": 2},
            {"op": "remove", "path": "/gone"},
        ]);
        let mut object = json!({"list": ["a", "c"], "a/b": 1, "gone": null});
        apply(&serde_json::from_value(ops).unwrap(), &mut object).unwrap();
        assert_eq!(object, json!({"list": ["a", "b", "c", "d"], "a/b": 2}));
    }

    #[test]
    fn what_does_not_apply_says_where() {
        for op in [
            json!({"op": "add", "path": "/a/b", "value": 1}),
            json!({"op": "add", "path": "/list/9", "value": 1}),
            json!({"op": "remove", "path": "/list/1"}),
            json!({"op": "remove", "path": "/a"}),
            json!({"op": "replace", "path": "/a", "value": 1}),
        ] {
            let path = op["path"].as_str().unwrap().to_owned();
            let patch = serde_json::from_value(json!([op])).unwrap();
            assert_eq!(apply(&patch, &mut json!({"list": [0]})), Err(PatchError::Nothing(path)));
        }
    }

    #[test]
    fn a_hostile_name_stays_inside_the_manifest() {
        let control = Control::find("network.default-deny-ingress").unwrap();
        let name = "x\nEOF\nrm -rf /\n---\nkind: Pod";
        let manifest = manifest(control, &Resource::cluster_scoped("", "Namespace", name)).unwrap();
        assert!(manifest.contains(r#"namespace: "x\nEOF\nrm -rf /\n---\nkind: Pod""#), "{manifest}");
        assert_eq!(kubectl::create_line(&manifest).matches("\nEOF").count(), 1);
    }
}
