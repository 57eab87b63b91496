//! Pods and everything that makes Pods. The members of the family differ in one thing: where the pod template stands.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::labels::{Interned, Interner, Labels};
use super::metadata::{Meta, MetadataShape};
use super::pod::{PodSpec, ProfileAnnotation};
use super::{Family, Kind, null_as_default};

macro_rules! kinds {
    ($($name:ident = $group:literal, $version:literal, $kind:literal, $plural:literal;)+) => {
        $(
            #[doc = concat!("`", $kind, "`.")]
            pub const $name: Kind = Kind {
                group: $group, version: $version, kind: $kind, plural: $plural, namespaced: true, family: Family::Workload, reason: "what runs, as it is configured and as it is now",
            };
        )+
    };
}

kinds! {
    POD = "", "v1", "Pod", "pods";
    REPLICATION_CONTROLLER = "", "v1", "ReplicationController", "replicationcontrollers";
    DEPLOYMENT = "apps", "v1", "Deployment", "deployments";
    REPLICA_SET = "apps", "v1", "ReplicaSet", "replicasets";
    STATEFUL_SET = "apps", "v1", "StatefulSet", "statefulsets";
    DAEMON_SET = "apps", "v1", "DaemonSet", "daemonsets";
    JOB = "batch", "v1", "Job", "jobs";
    CRON_JOB = "batch", "v1", "CronJob", "cronjobs";
}

/// The kinds of the family in the order in which they are listed: owners first.
pub(super) const KINDS: &[&Kind] =
    &[&CRON_JOB, &DEPLOYMENT, &DAEMON_SET, &STATEFUL_SET, &JOB, &REPLICA_SET, &REPLICATION_CONTROLLER, &POD];

/// The facts of a workload or a Pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Workload {
    /// The Pod's own specification, or the template's.
    pub pod: PodSpec,
    /// The Pod's own labels, or the template's: what Services and network policies select by.
    pub labels: Labels,
    /// Field path of the object that holds `metadata` and `spec` of the pod: empty for a Pod, `spec.template` for a Deployment.
    pub template_path: &'static str,
    /// The label selector of the workload's Pods, as the API takes it in a query; `None` where it has none or it can't be
    /// written so: then every Pod of the namespace has to be looked at.
    pub selector: Option<Box<str>>,
}

impl Workload {
    /// Field path of the pod specification: `spec`, `spec.template.spec`.
    pub fn spec_path(&self) -> String {
        self.rooted("").trim_end_matches('.').to_owned()
    }

    /// A path that a judge of pods gave, from the object's root: below the pod specification, or `metadata.…` beside it.
    pub fn rooted(&self, path: &str) -> String {
        let dot = if self.template_path.is_empty() { "" } else { "." };
        let spec = if path.starts_with("metadata.") { "" } else { "spec." };
        format!("{}{dot}{spec}{path}", self.template_path)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodShape {
    #[serde(deserialize_with = "null_as_default")]
    metadata: MetadataShape,
    #[serde(deserialize_with = "null_as_default")]
    spec: PodSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Templated {
    #[serde(deserialize_with = "null_as_default")]
    metadata: MetadataShape,
    #[serde(deserialize_with = "null_as_default")]
    spec: TemplatedSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TemplatedSpec {
    #[serde(deserialize_with = "null_as_default")]
    template: PodShape,
    #[serde(deserialize_with = "null_as_default")]
    selector: Selector,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Scheduled {
    #[serde(deserialize_with = "null_as_default")]
    metadata: MetadataShape,
    #[serde(deserialize_with = "null_as_default")]
    spec: ScheduledSpec,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ScheduledSpec {
    #[serde(deserialize_with = "null_as_default")]
    job_template: Templated,
}

/// `LabelSelector`; a ReplicationController's plain map of labels reads as an empty one.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Selector {
    #[serde(deserialize_with = "null_as_default")]
    match_labels: BTreeMap<String, String>,
}

impl Selector {
    /// `app=web,tier=front`. Expressions only narrow, so leaving them out asks for a few Pods more, never for fewer.
    fn query(&self) -> Option<Box<str>> {
        let pairs: Vec<_> = self.match_labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        (!pairs.is_empty()).then(|| pairs.join(",").into())
    }
}

impl PodShape {
    /// The pod's facts, and its metadata apart from them.
    fn split(mut self) -> (MetadataShape, PodSpec, Labels) {
        let annotations = self.metadata.annotations.iter();
        self.spec.profile_annotations =
            annotations.filter_map(|(key, value)| ProfileAnnotation::forbidden(key, value)).collect();
        let labels = Labels::from(&self.metadata.labels);
        (self.metadata, self.spec, labels)
    }
}

impl Interned for Workload {
    fn intern(&mut self, interner: &mut Interner) {
        interner.share(&mut self.labels);
    }
}

pub(super) fn project<'de, D: Deserializer<'de>>(kind: &'static Kind, from: D) -> Result<(Meta, Workload), D::Error> {
    let (metadata, template, template_path, selector) = if *kind == POD {
        let (metadata, pod, labels) = PodShape::deserialize(from)?.split();
        (metadata, (pod, labels), "", None)
    } else if *kind == CRON_JOB {
        let Scheduled { metadata, spec } = Scheduled::deserialize(from)?;
        let (_, pod, labels) = spec.job_template.spec.template.split();
        (metadata, (pod, labels), "spec.jobTemplate.spec.template", None)
    } else {
        let Templated { metadata, spec } = Templated::deserialize(from)?;
        let (_, pod, labels) = spec.template.split();
        (metadata, (pod, labels), "spec.template", spec.selector.query())
    };
    let (pod, labels) = template;
    Ok((metadata.into_meta(), Workload { pod, labels, template_path, selector }))
}
