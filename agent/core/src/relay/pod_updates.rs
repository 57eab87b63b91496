//! What a node is sent of its Pods: all of them once, then what differs; each update fits a message.

use std::sync::Arc;

use holdfast_model::limits::BATCH_BYTES;

use crate::pod_index::{PodsByUid, ScheduledPod};
use crate::size;

/// uids in one update: a uid has 36 characters, so that some thousands of them fit.
const UIDS: usize = 4096;

/// One update of a node's Pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodUpdate {
    /// The whole set begins anew.
    pub reset: bool,
    /// With this update the node knows all its Pods.
    pub complete: bool,
    /// New or changed Pods.
    pub pods: Vec<Arc<ScheduledPod>>,
    /// uids of Pods that are there no more.
    pub removed: Vec<String>,
}

/// Everything, in as many updates as it takes.
pub fn whole(pods: &PodsByUid) -> Vec<PodUpdate> {
    let mut updates = chunks(pods.values(), Vec::new());
    if updates.is_empty() {
        updates.push(PodUpdate::default());
    }
    if let Some(first) = updates.first_mut() {
        first.reset = true;
    }
    completed(updates)
}

/// What differs; nothing where nothing does.
pub fn difference(sent: &PodsByUid, now: &PodsByUid) -> Vec<PodUpdate> {
    let changed = now.values().filter(|pod| sent.get(&pod.uid).is_none_or(|before| before != *pod));
    let removed = sent.keys().filter(|uid| !now.contains_key(*uid)).cloned().collect();
    completed(chunks(changed, removed))
}

fn completed(mut updates: Vec<PodUpdate>) -> Vec<PodUpdate> {
    if let Some(last) = updates.last_mut() {
        last.complete = true;
    }
    updates
}

fn chunks<'a>(pods: impl Iterator<Item = &'a Arc<ScheduledPod>>, removed: Vec<String>) -> Vec<PodUpdate> {
    let (mut updates, mut bytes) = (Vec::new(), 0);
    let mut open = PodUpdate::default();
    for pod in pods {
        let size = size::pod(pod);
        if bytes + size > BATCH_BYTES && !open.pods.is_empty() {
            updates.push(std::mem::take(&mut open));
            bytes = 0;
        }
        bytes += size;
        open.pods.push(pod.clone());
    }
    if !open.pods.is_empty() {
        updates.push(open);
    }
    updates.extend(removed.chunks(UIDS).map(|removed| PodUpdate { removed: removed.to_vec(), ..PodUpdate::default() }));
    updates
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use holdfast_controls::peers::Addresses;
    use holdfast_model::limits::MESSAGE_BYTES;

    use super::*;

    fn pods(names: &[(&str, &str)]) -> PodsByUid {
        let pod = |(uid, name): &(&str, &str)| {
            let pod = ScheduledPod {
                uid: (*uid).to_owned(),
                static_uid: None,
                namespace: "shop".into(),
                name: (*name).to_owned(),
                node: "a".into(),
                owner: None,
                ended: false,
                containers: Vec::new(),
                addresses: Addresses::default(),
            };
            (pod.uid.clone(), Arc::new(pod))
        };
        Arc::new(names.iter().map(pod).collect::<BTreeMap<_, _>>())
    }

    #[test]
    fn the_first_update_is_the_whole_and_the_next_ones_the_difference() {
        let empty = whole(&pods(&[]));
        assert!(empty.len() == 1 && empty[0].reset && empty[0].complete);
        let (before, now) = (pods(&[("u1", "a"), ("u2", "b")]), pods(&[("u2", "b2"), ("u3", "c")]));
        let updates = difference(&before, &now);
        let named: Vec<_> = updates.iter().flat_map(|update| &update.pods).map(|pod| pod.name.as_str()).collect();
        assert_eq!(named, ["b2", "c"]);
        assert_eq!(updates.iter().flat_map(|update| &update.removed).collect::<Vec<_>>(), ["u1"]);
        assert!(updates.iter().all(|update| !update.reset) && updates.last().unwrap().complete);
        assert!(difference(&now, &now).is_empty());
    }

    #[test]
    fn no_update_is_over_the_limit_of_a_message() {
        let long = "x".repeat(4000);
        let many: Vec<String> = (0..600).map(|n| format!("uid-{n:04}")).collect();
        let all: Vec<_> = many.iter().map(|uid| (uid.as_str(), long.as_str())).collect();
        let updates = whole(&pods(&all));
        assert!(updates.len() > 1);
        let bytes = |update: &PodUpdate| update.pods.iter().map(|pod| size::pod(pod)).sum::<usize>();
        assert!(updates.iter().all(|update| bytes(update) < MESSAGE_BYTES));
        assert_eq!(updates.iter().filter(|update| update.reset).count(), 1);
        assert_eq!(updates.iter().map(|update| update.pods.len()).sum::<usize>(), 600);
    }
}
