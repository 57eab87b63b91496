//! What the kernel of a node shows, held against every control that judges running processes, under the Pod's top owner. What
//! could not be read is no evidence here; a retest reports it.

use holdfast_controls::Control;
use holdfast_controls::running::{self, ObservedContainer};
use holdfast_model::container_observation::ObservationWindows;
use holdfast_model::kernel::{NodeStatement, RunningContainer};
use holdfast_model::{Location, Resource};

use super::Cluster;
use crate::pod_index::ScheduledPod;

/// Where running processes contradict a control.
pub(super) fn contradictions(
    cluster: Cluster<'_>,
    statement: &NodeStatement,
    windows: ObservationWindows,
) -> Vec<(Resource, &'static Control, Vec<Location>)> {
    let mut found = Vec::new();
    for container in running::asked(&statement.containers) {
        let Some(pod) = cluster.pods.pod(&container.pod) else { continue };
        let Some(owner) = &pod.owner else { continue };
        let evidence = of_container(cluster, statement, container, pod, windows);
        found.extend(evidence.into_iter().map(|(control, locations)| (owner.clone(), control, locations)));
    }
    found
}

fn of_container(
    cluster: Cluster<'_>,
    statement: &NodeStatement,
    container: &RunningContainer,
    pod: &ScheduledPod,
    windows: ObservationWindows,
) -> Vec<(&'static Control, Vec<Location>)> {
    let Some(specification) = cluster.posture.specification(pod) else { return Vec::new() };
    let container = pod.named_as_listed(container);
    running::evidence(&ObservedContainer {
        node: &statement.node,
        pod: &pod.name,
        container: &container,
        host: &statement.host,
        listed: Some(specification),
        template: None,
        windows,
    })
}
