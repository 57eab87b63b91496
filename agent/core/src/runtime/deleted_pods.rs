//! Pods that have just been deleted: what they did may arrive a moment later. Bounded in number and in time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use holdfast_controls::facts::pod::PodSpec;
use holdfast_model::UnixMillis;

use crate::pod_index::ScheduledPod;

/// How long a Pod is remembered.
const REMEMBERED_MILLIS: UnixMillis = 120_000;
/// The most Pods that are remembered.
const PODS: usize = 4096;

/// Pods with what they were asked to be, by uid.
#[derive(Debug, Default)]
pub(super) struct DeletedPods {
    pods: HashMap<String, (Arc<ScheduledPod>, PodSpec)>,
    order: VecDeque<(UnixMillis, String)>,
}

impl DeletedPods {
    pub(super) fn put(&mut self, pod: Arc<ScheduledPod>, specification: PodSpec, now: UnixMillis) {
        self.order.push_back((now, pod.uid.clone()));
        self.pods.insert(pod.uid.clone(), (pod, specification));
        while self.order.front().is_some_and(|(at, _)| now - at > REMEMBERED_MILLIS || self.order.len() > PODS) {
            if let Some((_, uid)) = self.order.pop_front() {
                self.pods.remove(&uid);
            }
        }
    }

    pub(super) fn get(&self, uid: &str) -> Option<(&Arc<ScheduledPod>, &PodSpec)> {
        self.pods.get(uid).map(|(pod, specification)| (pod, specification))
    }
}
