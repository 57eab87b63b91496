//! What a node is told of its Pods: the whole set once, then what differs. PURE.

use std::sync::Arc;

use holdfast_proto::{convert, limits, v1};
use prost::Message;

use crate::places::{NodePods, Placed};

/// Everything, in as many messages as it takes.
pub fn whole(pods: &NodePods) -> Vec<v1::PodUpdate> {
    let mut messages = chunks(pods.values(), Vec::new());
    if messages.is_empty() {
        messages.push(v1::PodUpdate::default());
    }
    if let Some(first) = messages.first_mut() {
        first.reset = true;
    }
    if let Some(last) = messages.last_mut() {
        last.complete = true;
    }
    messages
}

/// What differs; nothing where nothing does.
pub fn difference(told: &NodePods, now: &NodePods) -> Vec<v1::PodUpdate> {
    let changed = now.values().filter(|pod| told.get(&pod.uid).is_none_or(|before| before != *pod));
    let gone = told.keys().filter(|uid| !now.contains_key(*uid)).cloned().collect();
    let mut messages = chunks(changed, gone);
    if let Some(last) = messages.last_mut() {
        last.complete = true;
    }
    messages
}

fn chunks<'a>(pods: impl Iterator<Item = &'a Arc<Placed>>, gone: Vec<String>) -> Vec<v1::PodUpdate> {
    let (mut messages, mut bytes) = (Vec::new(), 0);
    let mut open = v1::PodUpdate::default();
    for pod in pods {
        let pod = to_wire(pod);
        let size = pod.encoded_len() + 8;
        if bytes + size > limits::BATCH_BYTES && !open.pods.is_empty() {
            messages.push(std::mem::take(&mut open));
            bytes = 0;
        }
        bytes += size;
        open.pods.push(pod);
    }
    if !open.pods.is_empty() {
        messages.push(open);
    }
    // A uid has 36 characters: some thousands of them fit.
    messages.extend(gone.chunks(4096).map(|gone| v1::PodUpdate { removed: gone.to_vec(), ..v1::PodUpdate::default() }));
    messages
}

fn to_wire(pod: &Placed) -> v1::Pod {
    let container = |container: &crate::places::PlacedContainer| v1::PodContainer {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use holdfast_controls::peers::Addresses;

    use super::*;

    fn pods(names: &[(&str, &str)]) -> NodePods {
        let pod = |(uid, name): &(&str, &str)| {
            let pod = Placed {
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
    fn the_first_word_is_the_whole_and_the_next_ones_the_difference() {
        let empty = whole(&pods(&[]));
        assert!(empty.len() == 1 && empty[0].reset && empty[0].complete);
        let (before, now) = (pods(&[("u1", "a"), ("u2", "b")]), pods(&[("u2", "b2"), ("u3", "c")]));
        let told = difference(&before, &now);
        let named: Vec<_> = told.iter().flat_map(|message| &message.pods).map(|pod| pod.name.as_str()).collect();
        assert_eq!(named, ["b2", "c"]);
        assert_eq!(told.iter().flat_map(|message| &message.removed).collect::<Vec<_>>(), ["u1"]);
        assert!(told.iter().all(|message| !message.reset) && told.last().unwrap().complete);
        assert!(difference(&now, &now).is_empty());
    }

    #[test]
    fn no_message_is_over_the_limit() {
        let long = "x".repeat(4000);
        let many: Vec<String> = (0..600).map(|n| format!("uid-{n:04}")).collect();
        let all: Vec<_> = many.iter().map(|uid| (uid.as_str(), long.as_str())).collect();
        let messages = whole(&pods(&all));
        assert!(messages.len() > 1);
        assert!(messages.iter().all(|message| message.encoded_len() < limits::MESSAGE_BYTES));
        assert_eq!(messages.iter().filter(|message| message.reset).count(), 1);
        assert_eq!(messages.iter().map(|message| message.pods.len()).sum::<usize>(), 600);
    }
}
