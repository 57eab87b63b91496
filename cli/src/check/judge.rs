//! From facts to findings: the same inventory and the same controls that the agent uses, over what the files hold.
//!
//! Files are not a cluster. A kind that a control reads beside its subject may have objects elsewhere, so without
//! `--complete` such a control answers "unknown": neither a pass nor a failure. Namespaces alone count as seen: what
//! pod controls ask of them is which version of the Pod Security Standards to use, and the latest is the right answer for
//! a manifest whose namespace the files do not hold.
//! Two documents may define the same object, as overlays do: each is judged, the later ones in a layer of their own.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZero;
use std::thread;

use holdfast_controls::evaluate::Answer;
use holdfast_controls::facts::namespace::NAMESPACE;
use holdfast_controls::inventory::ObjectKey;
use holdfast_controls::{Control, Inventory, Judgement, KINDS, Kind, Object};
use holdfast_model::{CoverageState, Location, Resource};

use super::filter::Filter;
use super::report::{Finding, Place, Report};

/// The objects of all files.
#[derive(Default)]
pub struct Bench {
    layers: Vec<Layer>,
    objects: usize,
}

#[derive(Default)]
struct Layer {
    inventory: Inventory,
    places: HashMap<ObjectKey, Place>,
}

impl Bench {
    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects
    }

    /// Takes in an object. Answers where the same object was defined before, if it was.
    pub fn put(&mut self, object: Object, place: Place) -> Option<Place> {
        let key = ObjectKey::of(&object);
        let taken = self.layers.iter().filter_map(|layer| layer.places.get(&key)).next().cloned();
        let at = self.layers.iter().position(|layer| !layer.places.contains_key(&key)).unwrap_or(self.layers.len());
        if at == self.layers.len() {
            self.layers.push(Layer::default());
        }
        let layer = &mut self.layers[at];
        layer.inventory.apply(object);
        layer.places.insert(key, place);
        self.objects += 1;
        taken
    }

    /// Judges everything, on all cores, into the report.
    pub fn judge(mut self, complete: bool, filter: &Filter, report: &mut Report) {
        report.judged = self.objects;
        for layer in &mut self.layers {
            let seen = KINDS.iter().filter(|kind| complete || ***kind == NAMESPACE);
            seen.for_each(|kind| layer.inventory.set_coverage(kind, CoverageState::Seen));
            let parts = layer.judge(filter);
            for part in parts {
                report.findings.extend(part.findings);
                for (control, (count, reason)) in part.unknown {
                    report.unknown.entry(control).or_insert((0, reason)).0 += count;
                }
            }
        }
        report.findings.sort_by(|a, b| (&a.place, &a.resource).cmp(&(&b.place, &b.resource)));
    }
}

#[derive(Default)]
struct Part {
    findings: Vec<Finding>,
    unknown: BTreeMap<&'static str, (usize, String)>,
}

impl Layer {
    fn judge(&self, filter: &Filter) -> Vec<Part> {
        let subjects: Vec<&Resource> = self.inventory.subjects().map(AsRef::as_ref).collect();
        let workers = thread::available_parallelism().map_or(1, NonZero::get).min(32);
        let share = subjects.len().div_ceil(workers).max(1);
        thread::scope(|scope| {
            let parts: Vec<_> =
                subjects.chunks(share).map(|subjects| scope.spawn(move || self.judge_part(subjects, filter))).collect();
            // A judge cannot fail; a panic in one is a defect that must not pass for "no findings".
            parts.into_iter().map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        })
    }

    fn judge_part(&self, subjects: &[&Resource], filter: &Filter) -> Part {
        let mut part = Part::default();
        for judgement in subjects.iter().filter_map(|subject| self.inventory.evaluate(subject)) {
            self.keep(judgement, filter, &mut part);
        }
        part
    }

    fn keep(&self, judgement: Judgement, filter: &Filter, part: &mut Part) {
        let resource = judgement.resource;
        let fails = judgement.outcomes.iter().any(|outcome| matches!(outcome.answer, Answer::Fail(_)));
        let level = fails.then(|| self.inventory.pod_security_level(&resource)).flatten();
        for outcome in judgement.outcomes {
            let control = outcome.control;
            if !filter.wants(control) {
                continue;
            }
            match outcome.answer {
                Answer::Pass => {}
                // What would make a live workload unknown, as its Pods, has no part in whether a manifest is well.
                Answer::Unknown(_) if self.shows(control) => {}
                Answer::Unknown(reason) => part.unknown.entry(control.id).or_insert((0, reason)).0 += 1,
                Answer::Fail(locations) => {
                    let fields = self.placed(&resource, locations);
                    let own = self.place(&resource.kind, resource.namespace.as_deref(), &resource.name);
                    let place = own.or(fields.first().map(|(place, _)| place)).cloned().unwrap_or_default();
                    part.findings.push(Finding { resource: resource.clone(), control, place, level, fields });
                }
            }
        }
    }

    fn shows(&self, control: &Control) -> bool {
        control.kinds().all(|kind| self.inventory.coverage(kind) == Some(CoverageState::Seen))
    }

    fn placed(&self, resource: &Resource, locations: Vec<Location>) -> Vec<(Place, Location)> {
        let namespace = resource.namespace.as_deref();
        let own = self.place(&resource.kind, namespace, &resource.name);
        let place = |location: &Location| {
            let other = location.object.as_deref().and_then(|object| object.split_once(' '));
            let other =
                other.and_then(|(kind, name)| self.place(kind, namespace, name).or(self.place(kind, None, name)));
            other.or(own).cloned().unwrap_or_default()
        };
        locations.into_iter().map(|location| (place(&location), location)).collect()
    }

    fn place(&self, kind: &str, namespace: Option<&str>, name: &str) -> Option<&Place> {
        let kind: &'static Kind = KINDS.iter().copied().find(|known| known.kind == kind)?;
        self.places.get(&ObjectKey { kind, namespace: namespace.map(str::to_owned), name: name.to_owned() })
    }
}
