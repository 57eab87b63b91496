//! What a workload is given and never uses, over all its Pods on all nodes. Nodes are read one after the other, so what each
//! container answered is kept until the others have: only when every Pod of the workload has been asked does anything follow.
//! Which use answers which control is decided by `holdfast_controls::running::Used`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use holdfast_controls::Control;
use holdfast_controls::catalog;
use holdfast_controls::process::{Allowance, Running};
use holdfast_controls::running::{self, ObservedContainer, Used};
use holdfast_model::container_observation::ObservationWindows;
use holdfast_model::kernel::NodeStatement;
use holdfast_model::{Location, Resource};

use super::{Cluster, Finding};

/// The most findings for which answers are kept; beyond it they are gathered anew.
const REMEMBERED: usize = 65_536;

/// What containers answered, by uid of the Pod and id of the container.
type ByContainer = BTreeMap<(String, String), Used>;

/// What containers answered, by finding.
#[derive(Debug, Default)]
pub(super) struct UsageAnswers(HashMap<Finding, ByContainer>);

impl UsageAnswers {
    /// Takes in a node's statement, and answers what of the workloads in it is unused.
    pub(super) fn apply(
        &mut self,
        cluster: Cluster<'_>,
        statement: &NodeStatement,
        windows: ObservationWindows,
    ) -> Vec<(Resource, &'static Control, Vec<Location>)> {
        let mut found = Vec::new();
        for (owner, answers) in answers(cluster, statement, windows) {
            // One that has ended or has no node yet runs nothing that could be asked.
            let of_owner = cluster.posture.inventory().pods_of(&owner);
            let scheduled = of_owner.filter(|pod| cluster.pods.pod(&pod.meta.uid).is_some());
            let pods: BTreeSet<String> = scheduled.map(|pod| pod.meta.uid.clone()).collect();
            for (control, answers) in answers {
                if self.0.len() >= REMEMBERED {
                    self.0.clear();
                }
                let known = self.0.entry((owner.clone(), control.id)).or_default();
                let is_stated = |uid: &String| statement.pods.contains(uid);
                known.retain(|(uid, _), _| pods.contains(uid) && !is_stated(uid));
                known.extend(answers);
                let locations = unused(known, &pods);
                if !locations.is_empty() {
                    found.push((owner.clone(), control, locations));
                }
            }
        }
        found
    }
}

/// What the containers of a statement use, by workload and control.
fn answers(
    cluster: Cluster<'_>,
    statement: &NodeStatement,
    windows: ObservationWindows,
) -> BTreeMap<Resource, Vec<(&'static Control, ByContainer)>> {
    let Cluster { posture, pods } = cluster;
    let mut all: BTreeMap<Resource, Vec<(&'static Control, ByContainer)>> = BTreeMap::new();
    for container in running::asked(&statement.containers) {
        let Some(pod) = pods.pod(&container.pod) else { continue };
        let (Some(owner), Some(specification)) = (pod.owner.clone(), posture.specification(pod)) else { continue };
        let named = pod.named_as_listed(container);
        let seen = ObservedContainer {
            node: &statement.node,
            pod: &pod.name,
            container: &named,
            host: &statement.host,
            listed: Some(specification),
            template: posture.inventory().template_of(&owner),
            windows,
        };
        let of_owner = all.entry(owner).or_insert_with(|| controls().map(|(of, _)| (of, ByContainer::new())).collect());
        for ((_, answers), (_, allowance)) in of_owner.iter_mut().zip(controls()) {
            let key = (container.pod.clone(), container.id.clone());
            answers.insert(key, Used::of(allowance, &seen));
        }
    }
    all
}

/// The controls that ask whether what is given is used.
fn controls() -> impl Iterator<Item = (&'static Control, Allowance)> {
    catalog::all().filter_map(|control| match control.running {
        Some(Running::Use(allowance)) => Some((control, allowance)),
        _ => None,
    })
}

/// What no container uses; nothing while a Pod has not been asked.
fn unused(known: &ByContainer, pods: &BTreeSet<String>) -> Vec<Location> {
    let asked: BTreeSet<&String> = known.keys().map(|(uid, _)| uid).collect();
    if !pods.iter().all(|uid| asked.contains(uid)) {
        return Vec::new();
    }
    let mut all = Used::default();
    known.values().for_each(|used| all.fold(used));
    all.settle().0
}
