//! `metadata`: identity, controller owner and origin. Labels and annotations are read for known keys and dropped.

use std::collections::BTreeMap;

use holdfast_model::Origin;
use serde::{Deserialize, Serialize};

use super::null_as_default;

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

/// A controller owner reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Owner {
    /// API group, without the version.
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
        let owner = self.owner_references.into_iter().find(|owner| owner.controller == Some(true)).map(|owner| Owner {
            group: owner.api_version.split_once('/').map_or(String::new(), |(group, _)| group.to_owned()),
            kind: owner.kind,
            name: owner.name,
            uid: owner.uid,
        });
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
        let annotation = |key: &str| self.annotations.get(key).cloned();
        let argo =
            annotation("argocd.argoproj.io/tracking-id").map(|id| id.split(':').next().unwrap_or_default().to_owned());
        let flux = label("kustomize.toolkit.fluxcd.io/name").or_else(|| label("helm.toolkit.fluxcd.io/name"));
        let helm = annotation("meta.helm.sh/release-name");
        let (manager, release) = match (argo, flux, helm) {
            (Some(app), _, _) => (Some("Argo CD".to_owned()), Some(app)),
            (_, Some(name), _) => (Some("Flux".to_owned()), Some(name)),
            (_, _, Some(release)) => (Some("Helm".to_owned()), Some(release)),
            _ => (None, None),
        };
        Origin { owner: label("holdfast.dev/owner"), manager, release, chart: label("helm.sh/chart") }
    }
}
