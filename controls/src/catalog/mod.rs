//! The controls: a folder per archetype, a file per control, and one ordered list.
//!
//! To add one: write `<archetype>/<id>.rs` with its `CONTROL`, then add `mod x;` and `x::CONTROL,` to that folder's `mod.rs`.
//! Documentation, the command line's list and the API's list all derive from [`CONTROLS`]; a test compares it with the files.

use std::fmt;

use holdfast_model::{Archetype, ControlId, Location, Method, OnDeletion, Severity};

use crate::facts::pod::PodSpec;
use crate::facts::pod_security::Version;
use crate::facts::{Kind, Object, Projected};
use crate::inventory::Inventory;
use crate::process::Running;

pub use crate::inventory::{Relation, View};

pub mod admission;
#[cfg(test)]
pub(crate) mod check;
#[cfg(test)]
mod fixture;
pub mod network;
pub mod rbac;
pub mod workload;

/// One thing that must be true of a resource.
#[derive(Debug)]
pub struct Control {
    /// `<archetype>.<kebab-case>`.
    pub id: &'static str,
    /// Raised when `judge` may answer differently for the same facts: answers of another version prove nothing.
    pub version: u32,
    /// What holds when all is well, in a few words.
    pub title: &'static str,
    /// Severity before calibration.
    pub severity: Severity,
    /// What it is and why it matters, in plain words.
    pub description: &'static str,
    /// How to make it pass, in plain words.
    pub remediation: &'static str,
    /// What the subject's deletion means.
    pub on_deletion: OnDeletion,
    /// The retest methods that its proof needs.
    pub methods: &'static [Method],
    /// What the judgement depends on beside the subject itself and its Pods; its judge is shown nothing else. While a kind
    /// of them can't be seen, the answer is "unknown": neither a pass nor a failure.
    pub reads: &'static [Relation],
    /// The rule.
    pub judge: Judge,
    /// What the kernel must show of running processes, where it can contradict the rule: the method `runtime-recheck`.
    pub running: Option<Running>,
    /// The patch that makes it pass, where one exists that changes nothing else.
    pub fix: Option<Fix>,
}

/// What a control looks at. Each pushes the places where it fails; none means that it holds.
#[derive(Debug, Clone, Copy)]
pub enum Judge {
    /// A pod specification, of a template or of a Pod. Paths are relative to the pod specification, except that
    /// `metadata.…` is beside it.
    Pod(fn(&PodSpec, &mut Vec<Location>)),
    /// The same, under a version of the Pod Security Standards.
    PodUnder(fn(&PodSpec, Version, &mut Vec<Location>)),
    /// A pod specification with the rest of the cluster in view. Paths are relative to the pod specification.
    Workload(fn(&View<PodSpec>, &mut Vec<Location>)),
    /// Nothing that an object says: of pods, and only what runs can fail.
    Processes,
    /// The subject's own object, where it has the facts that the rule is about. The system's own namespaces are not asked.
    Object(&'static dyn JudgeObject),
}

/// A rule about objects with these facts.
pub struct Of<F: Projected>(pub fn(&View<F>, &mut Vec<Location>));

/// A rule about objects of one sort.
pub trait JudgeObject: fmt::Debug + Sync {
    /// The places where it fails, shown these relations; `None` for an object with other facts.
    fn judge(&self, around: &Inventory, object: &Object, declared: &'static [Relation]) -> Option<Vec<Location>>;
}

impl<F: Projected> JudgeObject for Of<F> {
    fn judge(&self, around: &Inventory, object: &Object, declared: &'static [Relation]) -> Option<Vec<Location>> {
        let facts = object.facts.get::<F>()?;
        let mut fails = Vec::new();
        (self.0)(&View::new(around, object, facts, declared), &mut fails);
        Some(fails)
    }
}

impl<F: Projected> fmt::Debug for Of<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Of").field(&std::any::type_name::<F>()).finish()
    }
}

/// How a patch is made from the places where a control fails, as data for [`fix::patch`](crate::fix::patch).
#[derive(Debug, Clone, Copy)]
pub enum Fix {
    /// Set a field to a JSON value. The place is the field, or its first missing ancestor, which is then made with it.
    Set {
        /// The end of the field's path: `securityContext.privileged`.
        field: &'static str,
        /// The value, as JSON.
        to: &'static str,
    },
    /// Remove the field or the list element that the place names, by the end of its path: `capabilities.add[]`. `[]` stands
    /// for any index or key, `*` for any field.
    Remove(&'static str),
    /// For each place, the first of these that fits it.
    FirstOf(&'static [Fix]),
    /// Set a label of the resource. The place is the label, or `metadata.labels` where there are none.
    Label {
        /// Its key.
        key: &'static str,
        /// Its value.
        to: &'static str,
    },
    /// Create these objects, YAML documents with `{namespace}` where the subject's name goes: for a Namespace that lacks
    /// something.
    Create(&'static str),
}

impl Judge {
    /// Whether it judges pods, whatever else it looks at.
    pub fn is_of_pods(&self) -> bool {
        matches!(self, Self::Pod(_) | Self::PodUnder(_) | Self::Workload(_) | Self::Processes)
    }

    /// What every judge of its sort reads beside the subject's own object.
    pub(crate) fn implies(&self) -> &'static [Relation] {
        if self.is_of_pods() { &[Relation::Pods] } else { &[] }
    }

    /// Asks a judge of pods alone; any other pushes nothing.
    pub fn pod(&self, pod: &PodSpec, policy: Version, fails: &mut Vec<Location>) {
        match self {
            Self::Pod(judge) => judge(pod, fails),
            Self::PodUnder(judge) => judge(pod, policy, fails),
            _ => {}
        }
    }
}

impl Control {
    /// The id as the model has it.
    pub fn control_id(&self) -> ControlId {
        ControlId::known(self.id)
    }

    /// Whether a Pod's specification meets it, by the newest version of the standards. What judges no specification is met.
    pub(crate) fn is_met_by(&self, pod: &PodSpec) -> bool {
        let mut fails = Vec::new();
        self.judge.pod(pod, Version::LATEST, &mut fails);
        fails.is_empty()
    }

    /// The first half of the id.
    pub fn archetype(&self) -> Archetype {
        let word = self.id.split_once('.').map_or("", |(archetype, _)| archetype);
        word.parse().unwrap_or(Archetype::Workload)
    }

    /// Everything that a judgement by it depends on beside the subject's own object.
    pub fn relations(&self) -> impl Iterator<Item = Relation> + use<> {
        self.judge.implies().iter().chain(self.reads).copied()
    }

    /// The kinds that a judgement depends on beside the subject itself and its Pods.
    pub fn kinds(&self) -> impl Iterator<Item = &'static Kind> + use<> {
        self.reads.iter().flat_map(|relation| relation.kinds()).copied()
    }

    /// The control with this id.
    pub fn find(id: &str) -> Option<&'static Control> {
        all().find(|control| control.id == id)
    }
}

/// Every control, by archetype, then by id.
pub const CONTROLS: &[&[Control]] = &[admission::CONTROLS, network::CONTROLS, rbac::CONTROLS, workload::CONTROLS];

/// Every control, one after the other.
pub fn all() -> impl Iterator<Item = &'static Control> {
    CONTROLS.iter().copied().flatten()
}
