//! What runs, as evidence: the kernel's view of nodes and the behaviors that sensors observed, folded by finding.
//!
//! The Pods and what they were asked to be come from outside ([`Cluster`]); what comes out are detections under the Pod's top
//! owner. Evidence that was reported is not reported again at once, and what sensors observed is counted once however often it
//! arrives.

use std::sync::Arc;

use holdfast_controls::Control;
use holdfast_controls::facts::pod::PodSpec;
use holdfast_controls::peers::Peers;
use holdfast_model::container_observation::ObservationWindows;
use holdfast_model::kernel::NodeStatement;
use holdfast_model::{DetectionBatch, Occurrences, Origin, Resource, RuntimeDetection, UnixMillis};

use crate::pod_index::{PodIndex, ScheduledPod};
use crate::posture::Posture;

mod batches;
mod deleted_pods;
mod egress;
mod evidence;
mod kernel_view;
mod usage;

pub use batches::{BatchId, BatchRefused, ObservationBatch};

use batches::ObservationBatches;
use deleted_pods::DeletedPods;
use evidence::ReportedEvidence;
use usage::UsageAnswers;

/// A finding by its resource and its control.
type Finding = (Resource, &'static str);

/// What evidence is judged against.
#[derive(Debug, Clone, Copy)]
pub struct Cluster<'a> {
    /// The objects, and what fails by them.
    pub posture: &'a Posture,
    /// Which Pods run where.
    pub pods: &'a PodIndex,
}

/// What became of batches when the runtime settled.
#[derive(Debug, Default)]
pub struct SettledBatches {
    /// RuntimeDetection batches to send; each is acknowledged with [`Runtime::acknowledge`].
    pub detections: Vec<DetectionBatch>,
    /// Batches that are evidence of nothing: done already.
    pub done: Vec<BatchId>,
}

/// Evidence that was observed, and evidence that was reported.
#[derive(Debug, Default)]
pub struct Runtime {
    reported: ReportedEvidence,
    usage: UsageAnswers,
    batches: ObservationBatches,
    deleted_pods: DeletedPods,
    /// Who has which address.
    pub peers: Peers,
    windows: ObservationWindows,
}

impl Runtime {
    /// Containers must have been watched for these windows before what they did not do counts.
    pub fn new(windows: ObservationWindows) -> Self {
        Self { windows, ..Self::default() }
    }

    /// Takes in what the kernel of a node shows, and answers what of it is evidence that has not been reported lately.
    pub fn apply_statement(
        &mut self,
        cluster: Cluster<'_>,
        statement: &NodeStatement,
        now: UnixMillis,
    ) -> Vec<RuntimeDetection> {
        let mut found = kernel_view::contradictions(cluster, statement, self.windows);
        found.extend(self.usage.apply(cluster, statement, self.windows));
        let mut detections = Vec::new();
        for (owner, control, locations) in found {
            let seen = Occurrences::once(locations, now);
            if let Some(seen) = self.reported.apply(&owner, control, seen, now) {
                detections.push(detection(cluster.posture, owner, control, seen));
            }
        }
        detections
    }

    /// Takes in what the sensors of a node observed. The same batch again is accepted and counted once.
    pub fn apply_batch(&mut self, batch: ObservationBatch, now: UnixMillis) -> Result<(), BatchRefused> {
        self.batches.add(batch, now)
    }

    /// A Pod is about to go: what it did may arrive a moment later.
    pub fn remember_pod(&mut self, cluster: Cluster<'_>, uid: &str, now: UnixMillis) {
        let Some(pod) = cluster.pods.pod(uid) else { return };
        if let Some(specification) = cluster.posture.specification(pod) {
            self.deleted_pods.put(pod.clone(), specification.clone(), now);
        }
    }

    /// A Pod's addresses, as they are now.
    pub fn apply_addresses(&mut self, pod: &ScheduledPod) {
        if pod.is_scheduled() {
            self.peers.put_pod(&pod.uid, pod.peer(), &pod.node, &pod.addresses);
        } else {
            self.peers.remove_pod(&pod.uid);
        }
    }

    /// Makes detection batches of the batches whose Pods are known by now, or have been waited for long enough.
    pub fn settle(&mut self, cluster: Cluster<'_>, now: UnixMillis) -> SettledBatches {
        let mut settled = SettledBatches::default();
        if !cluster.posture.is_synced() {
            return settled;
        }
        let observed = Observed { cluster, deleted_pods: &self.deleted_pods, peers: &self.peers };
        for (id, observations) in self.batches.take_ready(|node, uid| observed.pod(node, uid).is_some(), now) {
            let detections = observed.detections(&id.node, &observations, now);
            if detections.is_empty() {
                self.batches.acknowledge(&id);
                settled.done.push(id);
            } else {
                let BatchId { node: source, run, sequence } = id;
                settled.detections.push(DetectionBatch { source, run, sequence, detections });
            }
        }
        settled
    }

    /// This detection batch is committed. Whether a batch of sensors was waiting for it.
    pub fn acknowledge(&mut self, id: &BatchId) -> bool {
        self.batches.acknowledge(id)
    }

    /// Whether no batch waits.
    pub fn is_idle(&self) -> bool {
        self.batches.is_empty()
    }
}

/// What an observation is judged against.
#[derive(Clone, Copy)]
struct Observed<'a> {
    cluster: Cluster<'a>,
    deleted_pods: &'a DeletedPods,
    peers: &'a Peers,
}

impl<'a> Observed<'a> {
    /// The Pod of this node, listed or deleted a short while ago, with what it was asked to be.
    fn pod(&self, node: &str, uid: &str) -> Option<(&'a Arc<ScheduledPod>, &'a PodSpec)> {
        let Cluster { posture, pods } = self.cluster;
        let listed = pods.of_cgroup(uid).filter(|pod| pod.owner.is_some());
        let listed = listed.and_then(|pod| Some((pod, posture.specification(pod)?)));
        listed.or_else(|| self.deleted_pods.get(uid)).filter(|(pod, _)| pod.node == node)
    }
}

/// What was observed, under its top owner.
fn detection(posture: &Posture, resource: Resource, control: &'static Control, seen: Occurrences) -> RuntimeDetection {
    RuntimeDetection {
        origin: posture.evaluate(&resource).map_or_else(Origin::default, |judgement| judgement.origin),
        resource,
        control: control.control_id(),
        control_version: control.version,
        severity: control.severity,
        seen,
    }
}
