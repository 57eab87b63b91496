//! `metadata`: identity, controller owner and origin. Labels and annotations are read for known keys and dropped.

use std::collections::BTreeMap;

use holdfast_model::Origin;
use serde::{Deserialize, Serialize};

use super::{Kind, null_as_default};

/// What is kept of `metadata`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Meta {
    /// `name`; empty in a manifest that has only a `generateName`.
    pub name: String,
    /// `generateName`, where set and nobody owns the object: an owner names it better.
    pub generate_name: Option<String>,
    /// `namespace`.
    pub namespace: Option<String>,
    /// `uid`; empty in a manifest.
    pub uid: String,
    /// `resourceVersion`; empty in a manifest.
    pub resource_version: String,
    /// The one owner reference with `controller: true`.
    pub owner: Option<Owner>,
    /// The template that a run was made from, as its controller's labels name it: a run's own name changes every time.
    pub run_of: Option<Box<str>>,
    /// Where the object comes from.
    pub origin: Origin,
}

/// Labels by which controllers of runs name what the run was made from, the most lasting first.
const TEMPLATE_LABELS: [&str; 6] = [
    "workflows.argoproj.io/cron-workflow",
    "workflows.argoproj.io/workflow-template",
    "tekton.dev/pipeline",
    "tekton.dev/task",
    "actions.github.com/scale-set-name",
    "runner-deployment-name",
];

/// The longest name, in bytes, that is believed of anything but the object itself. The API server checks the length of no
/// reference and of no annotation; no object that the agent reads is owned by one with a longer name.
const NAME_BYTES: usize = 253;

/// A controller owner reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Owner {
    /// API group, without the version; with it where the kind is one that is read and the version is another.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
}

/// `metadata` as the API serves it, with what projections need of labels and annotations still in it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct MetadataShape {
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
    pub generate_name: Option<String>,
    pub namespace: Option<String>,
    #[serde(deserialize_with = "null_as_default")]
    pub uid: String,
    #[serde(deserialize_with = "null_as_default")]
    pub resource_version: String,
    #[serde(deserialize_with = "null_as_default")]
    pub labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_as_default")]
    pub annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_as_default")]
    owner_references: Vec<OwnerShape>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OwnerShape {
    #[serde(deserialize_with = "null_as_default")]
    api_version: String,
    #[serde(deserialize_with = "null_as_default")]
    kind: String,
    #[serde(deserialize_with = "null_as_default")]
    name: String,
    #[serde(deserialize_with = "null_as_default")]
    uid: String,
    controller: Option<bool>,
}

impl OwnerShape {
    fn fits(&self) -> bool {
        [&self.api_version, &self.kind, &self.name].into_iter().all(|text| text.len() <= NAME_BYTES)
    }

    /// An owner of a version that is not served never comes, and its dependents are never collected: it must not pass for
    /// one that is awaited.
    fn into_owner(self) -> Owner {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", &self.api_version));
        let served = Kind::find(group, &self.kind).is_none_or(|kind| kind.version == version);
        let group = if served { group.to_owned() } else { self.api_version };
        Owner { group, kind: self.kind, name: self.name, uid: self.uid }
    }
}

impl MetadataShape {
    /// Whether the API server's label for its default roles and bindings is there.
    pub(crate) fn is_bootstrap(&self) -> bool {
        self.labels.get("kubernetes.io/bootstrapping").is_some_and(|value| value == "rbac-defaults")
    }

    /// Keeps what is needed; labels and annotations are dropped here.
    pub(crate) fn into_meta(self) -> Meta {
        let origin = self.origin();
        let run_of = TEMPLATE_LABELS.iter().find_map(|key| self.labels.get(*key)).filter(|name| !name.is_empty());
        let run_of = run_of.map(|name| name.as_str().into());
        let owner = self.owner_references.into_iter().find(|owner| owner.controller == Some(true));
        let owner = owner.filter(OwnerShape::fits).map(OwnerShape::into_owner);
        Meta {
            name: self.name,
            generate_name: self.generate_name.filter(|_| owner.is_none()),
            namespace: self.namespace,
            uid: self.uid,
            resource_version: self.resource_version,
            owner,
            run_of,
            origin,
        }
    }

    /// Markers that the common tools leave: Helm's release annotations, Argo CD's tracking id, Flux's and Kustomize's labels.
    fn origin(&self) -> Origin {
        let label = |key: &str| self.labels.get(key).cloned();
        // Anybody may write any text into an annotation: what is no name names nothing.
        let named = |name: &str| (name.len() <= NAME_BYTES).then(|| name.to_owned());
        let annotation = |key: &str| self.annotations.get(key);
        let argo = annotation("argocd.argoproj.io/tracking-id").and_then(|id| named(id.split(':').next()?));
        let flux = label("kustomize.toolkit.fluxcd.io/name").or_else(|| label("helm.toolkit.fluxcd.io/name"));
        let helm = annotation("meta.helm.sh/release-name").and_then(|name| named(name));
        let (manager, release) = match (argo, flux, helm) {
            (Some(app), _, _) => (Some("Argo CD".to_owned()), Some(app)),
            (_, Some(name), _) => (Some("Flux".to_owned()), Some(name)),
            (_, _, Some(release)) => (Some("Helm".to_owned()), Some(release)),
            _ => (None, None),
        };
        Origin { owner: label("holdfast.dev/owner"), manager, release, chart: label("helm.sh/chart") }
    }
}
