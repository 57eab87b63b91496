//! Pods that have just gone: what they did may be told a moment later. PURE, bounded in number and in time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use holdfast_controls::facts::pod::PodSpec;
use holdfast_model::UnixMillis;

use crate::places::Placed;

/// How long a Pod is remembered.
const REMEMBERED_MILLIS: UnixMillis = 120_000;
/// The most Pods that are remembered.
const PODS: usize = 4096;

/// Pods that have gone, by uid.
#[derive(Debug, Default)]
pub(super) struct Departed {
    pods: HashMap<String, (Arc<Placed>, PodSpec)>,
    order: VecDeque<(UnixMillis, String)>,
}

impl Departed {
    pub(super) fn put(&mut self, placed: Arc<Placed>, spec: PodSpec, now: UnixMillis) {
        self.order.push_back((now, placed.uid.clone()));
        self.pods.insert(placed.uid.clone(), (placed, spec));
        while self.order.front().is_some_and(|(at, _)| now - at > REMEMBERED_MILLIS || self.order.len() > PODS) {
            if let Some((_, uid)) = self.order.pop_front() {
                self.pods.remove(&uid);
            }
        }
    }

    pub(super) fn get(&self, uid: &str) -> Option<&(Arc<Placed>, PodSpec)> {
        self.pods.get(uid)
    }
}
