//! Between the relay's messages and what the core knows.

use holdfast_agent_core::pod_index::{PodContainer, ScheduledPod};
use holdfast_agent_core::relay::node_coverage::KernelViewReport;
use holdfast_agent_core::relay::pod_updates::PodUpdate;
use holdfast_agent_core::relay::sensor_records::SensorReport;
use holdfast_proto::{convert, v1};

pub(super) fn pod_update_to_wire(update: PodUpdate) -> v1::PodUpdate {
    let PodUpdate { reset, complete, pods, removed } = update;
    v1::PodUpdate { reset, complete, pods: pods.iter().map(|pod| pod_to_wire(pod)).collect(), removed }
}

fn pod_to_wire(pod: &ScheduledPod) -> v1::Pod {
    let container = |container: &PodContainer| v1::PodContainer {
        name: container.name.clone(),
        id: container.id.clone(),
        role: container.role.to_owned(),
        image: container.image.clone(),
    };
    v1::Pod {
        uid: pod.uid.clone(),
        static_uid: pod.static_uid.clone().unwrap_or_default(),
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        owner: pod.owner.as_ref().map(convert::resource_to_wire),
        containers: pod.containers.iter().map(container).collect(),
    }
}

pub(super) fn kernel_view(state: &v1::KernelViewState) -> KernelViewReport {
    KernelViewReport { is_available: state.available, state: state.state.clone(), reason: state.reason.clone() }
}

pub(super) fn sensors(heartbeat: &v1::NodeHeartbeat) -> SensorReport {
    let view = heartbeat.kernel_view.as_ref();
    SensorReport {
        clock: heartbeat.clock,
        attached: view.map_or(0, |view| view.sensors.len()),
        probe_at: heartbeat.probe_at,
        reason: view.map_or_else(String::new, |view| view.reason.clone()),
        counters: heartbeat.counters.iter().map(|(name, count)| (name.clone(), *count)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use holdfast_agent_core::{pod_index, size};
    use holdfast_controls::facts::workload::POD;
    use holdfast_model::Resource;
    use prost::Message;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_takes_no_more_on_the_wire_than_the_core_reckons() {
        for length in [0, 1, 200, 4000] {
            let text = "x".repeat(length);
            let status = json!({"name": text, "containerID": format!("c://{text}"), "imageID": format!("r@{text}")});
            let object = json!({
                "metadata": {"uid": "u1", "name": text, "namespace": text}, "spec": {"nodeName": "a"},
                "status": {"containerStatuses": [status, status], "initContainerStatuses": [status]},
            });
            let mut pod = *pod_index::read(&POD, object.to_string().as_bytes()).unwrap();
            pod.owner = Some(Resource::namespaced("apps", "Deployment", "shop", &text));
            let bound = size::pod(&pod);
            let update = PodUpdate { pods: vec![Arc::new(pod)], ..PodUpdate::default() };
            let taken = pod_update_to_wire(update).encoded_len();
            assert!(taken <= bound, "{taken} > {bound}");
        }
    }
}
