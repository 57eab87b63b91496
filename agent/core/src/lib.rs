//! What the agent of a cluster knows and what it has to send: pure state machines, fed and emptied by `holdfast-agent`.
//!
//! [`engine::Engine`] composes those of the cluster's part: [`posture`] (inventory and ledger), [`pod_index`], [`runtime`] and
//! [`outbox`]. [`observation_fold`] is the node's, [`relay`] is between the two. Time and ids come in as arguments; nothing here
//! waits, and nothing here knows a message of the wire.

pub mod engine;
pub mod ledger;
pub mod observation_fold;
pub mod outbox;
pub mod pod_index;
pub mod posture;
pub mod relay;
pub mod runtime;
pub mod size;
pub mod text;

#[cfg(test)]
mod tests {
    use holdfast_model::runtime_observation::{RuntimeObservation, SignalKind};

    /// What a shell in a container of Pod `u1` did so many times.
    pub(crate) fn observation(kind: SignalKind, path: &str, count: u64, first: i64) -> RuntimeObservation {
        RuntimeObservation {
            kind,
            cgroup: 7,
            pod: "u1".into(),
            container: "c1".into(),
            pid: 1,
            started: 1,
            name: "sh".into(),
            binary: "/bin/sh".into(),
            arguments: Vec::new(),
            path: path.into(),
            object: String::new(),
            address: None,
            count,
            first,
            last: first,
        }
    }
}
