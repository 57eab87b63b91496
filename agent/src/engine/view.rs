//! What the kernel of a node shows, as evidence: held against every control that has an eye for it, under the Pod's top owner.
//!
//! "Still there" is not said again: a new place is, and once an hour how often it was seen since. What could not be read is
//! no evidence here; a retest minds it.

use holdfast_controls::Control;
use holdfast_controls::facts::Facts;
use holdfast_controls::facts::pod::PodSpec;
use holdfast_controls::facts::workload::POD;
use holdfast_controls::inventory::ObjectKey;
use holdfast_controls::running::{self, ObservedContainer};
use holdfast_model::kernel::{NodeStatement, RunningContainer};
use holdfast_model::{Location, Occurrences, Origin, Resource, RuntimeDetection, UnixMillis};

use super::Engine;
use crate::places::Placed;
use holdfast_agent_core::ledger;

/// How long the same is not said again.
const QUIET_MILLIS: UnixMillis = 60 * 60 * 1000;
/// The most findings whose evidence is remembered; beyond it, evidence may be said again.
const REMEMBERED: usize = 65_536;

/// What was said of one finding, and what has been seen since.
#[derive(Debug)]
pub(super) struct Said {
    all: Occurrences,
    since: Option<Occurrences>,
    at: UnixMillis,
}

/// A finding: whose, and of which control.
pub(super) type Key = (Resource, &'static str);

impl Engine {
    /// Takes in what a node shows.
    pub fn view(&mut self, statement: &NodeStatement, now: UnixMillis) {
        self.forget_the_departed(statement);
        for container in running::asked(&statement.containers) {
            let Some(placed) = self.places.pod(&container.pod) else { continue };
            let Some(owner) = placed.owner.clone() else { continue };
            for (control, places) in self.evidence(statement, container, &placed) {
                self.show(&owner, control, Occurrences::once(places, now), now);
            }
        }
        for (owner, control, places) in self.unused(statement) {
            self.show(&owner, control, Occurrences::once(places, now), now);
        }
    }

    /// A Pod that is listed no more, and of which a node with an open eye shows nothing, has ended.
    fn forget_the_departed(&self, statement: &NodeStatement) {
        let shown = |uid: &str| statement.containers.iter().any(|container| container.pod == uid);
        for uid in statement.pods.iter().filter(|uid| statement.incomplete.is_none() && !shown(uid)) {
            self.places.has_ended(&statement.node, uid);
        }
    }

    fn evidence(
        &self,
        statement: &NodeStatement,
        container: &RunningContainer,
        placed: &Placed,
    ) -> Vec<(&'static Control, Vec<Location>)> {
        let Some(spec) = self.specification(placed) else { return Vec::new() };
        let known = placed.know(container);
        running::evidence(&ObservedContainer {
            node: &statement.node,
            pod: &placed.name,
            container: &known,
            host: &statement.host,
            listed: Some(spec),
            template: None,
            windows: self.windows,
        })
    }

    /// What a Pod was asked to be, as the API server has it now.
    pub(super) fn specification(&self, placed: &Placed) -> Option<&PodSpec> {
        let object = self.inventory.get(&ObjectKey::namespaced(&POD, &placed.namespace, &placed.name))?;
        match &object.facts {
            Facts::Workload(workload) if object.meta.uid == placed.uid => Some(&workload.pod),
            _ => None,
        }
    }

    /// Owes what is new, or has not been said for long.
    fn show(&mut self, owner: &Resource, control: &'static Control, seen: Occurrences, now: UnixMillis) {
        let seen = Occurrences { locations: ledger::fit(&seen.locations), ..seen };
        let key = (owner.clone(), control.id);
        let due = match self.shown.get_mut(&key) {
            None => Some(seen.clone()),
            Some(said) => {
                let is_new = said.all.fold(&seen);
                let since = match said.since.take() {
                    None => seen.clone(),
                    Some(mut since) => {
                        since.fold(&seen);
                        since
                    }
                };
                if is_new || now - said.at >= QUIET_MILLIS {
                    said.at = now;
                    Some(since)
                } else {
                    said.since = Some(since);
                    None
                }
            }
        };
        let Some(seen) = due else { return };
        if self.shown.len() >= REMEMBERED {
            self.shown.clear();
        }
        self.shown.entry(key).or_insert_with(|| Said { all: seen.clone(), since: None, at: now });
        let detection = self.detection(owner.clone(), control, seen);
        self.outbox.detect(detection);
    }

    /// What was seen, under its top owner.
    pub(super) fn detection(&self, owner: Resource, control: &'static Control, seen: Occurrences) -> RuntimeDetection {
        RuntimeDetection {
            origin: self.inventory.evaluate(&owner).map_or_else(Origin::default, |judgement| judgement.origin),
            resource: owner,
            control: control.control_id(),
            control_version: control.version,
            severity: control.severity,
            seen,
        }
    }
}
