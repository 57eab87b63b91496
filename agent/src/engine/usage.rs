//! What a workload is given and never uses, over all its Pods on all nodes. Nodes are looked at one after the other, so what
//! each container answered is kept until the others have: only when every Pod of the workload has been asked does anything
//! follow. Who answers what is decided by `holdfast_controls::running::Used`.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_controls::Control;
use holdfast_controls::catalog;
use holdfast_controls::process::{Allowance, Running};
use holdfast_controls::running::{self, ObservedContainer, Used};
use holdfast_model::kernel::NodeStatement;
use holdfast_model::{Location, Resource};

use super::Engine;

/// The most findings for which answers are kept; beyond it they are gathered anew.
const REMEMBERED: usize = 65_536;

/// What containers answered, by uid of the Pod and id of the container.
pub(super) type ByContainer = BTreeMap<(String, String), Used>;

impl Engine {
    /// Takes in a node's statement, and answers what of the workloads in it is unused.
    pub(super) fn unused(&mut self, statement: &NodeStatement) -> Vec<(Resource, &'static Control, Vec<Location>)> {
        let mut found = Vec::new();
        for (owner, answers) in self.answers(statement) {
            // One that has ended or has no node yet runs nothing that could be asked.
            let placed = self.inventory.pods_of(&owner).filter(|pod| self.places.pod(&pod.meta.uid).is_some());
            let pods: BTreeSet<String> = placed.map(|pod| pod.meta.uid.clone()).collect();
            for (control, answers) in answers {
                if self.used.len() >= REMEMBERED {
                    self.used.clear();
                }
                let known = self.used.entry((owner.clone(), control.id)).or_default();
                let stated = |uid: &String| statement.pods.contains(uid);
                known.retain(|(uid, _), _| pods.contains(uid) && !stated(uid));
                known.extend(answers);
                let places = places(known, &pods);
                if !places.is_empty() {
                    found.push((owner.clone(), control, places));
                }
            }
        }
        found
    }

    /// What the containers of a statement use, by workload and control.
    fn answers(&self, statement: &NodeStatement) -> BTreeMap<Resource, Vec<(&'static Control, ByContainer)>> {
        let mut all: BTreeMap<Resource, Vec<(&'static Control, ByContainer)>> = BTreeMap::new();
        for container in running::asked(&statement.containers) {
            let Some(placed) = self.places.pod(&container.pod) else { continue };
            let (Some(owner), Some(spec)) = (placed.owner.clone(), self.specification(&placed)) else { continue };
            let known = placed.know(container);
            let seen = ObservedContainer {
                node: &statement.node,
                pod: &placed.name,
                container: &known,
                host: &statement.host,
                listed: Some(spec),
                template: self.inventory.template_of(&owner),
                windows: self.windows,
            };
            let of_owner =
                all.entry(owner).or_insert_with(|| controls().map(|(of, _)| (of, ByContainer::new())).collect());
            for ((_, answers), (_, allowance)) in of_owner.iter_mut().zip(controls()) {
                let key = (container.pod.clone(), container.id.clone());
                answers.insert(key, Used::of(allowance, &seen));
            }
        }
        all
    }
}

/// The controls that ask whether what is given is used.
fn controls() -> impl Iterator<Item = (&'static Control, Allowance)> {
    catalog::all().filter_map(|control| match control.running {
        Some(Running::Use(allowance)) => Some((control, allowance)),
        _ => None,
    })
}

/// What no container uses; nothing while a Pod has not been asked.
fn places(known: &ByContainer, pods: &BTreeSet<String>) -> Vec<Location> {
    let asked: BTreeSet<&String> = known.keys().map(|(uid, _)| uid).collect();
    if !pods.iter().all(|uid| asked.contains(uid)) {
        return Vec::new();
    }
    let mut all = Used::default();
    known.values().for_each(|used| all.fold(used));
    all.settle().0
}
