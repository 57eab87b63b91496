//! Connections that leave the cluster, as evidence on the namespace that does not deny them: what a policy of its own would
//! have to allow, or would have stopped. Where egress is denied by default, a connection is evidence of nothing.

use holdfast_controls::Control;
use holdfast_controls::facts::namespace::NAMESPACE;
use holdfast_controls::peers::Peer;
use holdfast_model::Resource;
use holdfast_model::runtime_observation::{RuntimeObservation, SignalKind};

use super::Observed;
use crate::pod_index::ScheduledPod;

const EGRESS: &str = "network.default-deny-egress";

/// The namespace whose policy would have to allow this connection, with the fact in plain words.
pub(super) fn evidence(
    observed: &Observed<'_>,
    observation: &RuntimeObservation,
    pod: &ScheduledPod,
) -> Option<(Resource, (&'static Control, String))> {
    if observation.kind != SignalKind::Connect {
        return None;
    }
    let address = observation.address.filter(|to| to.port() != 0)?;
    if observed.peers.resolve(address, observation.last) != Peer::External {
        return None;
    }
    let namespace = Resource::cluster_scoped(NAMESPACE.group, NAMESPACE.kind, &pod.namespace);
    let control = Control::find(EGRESS).filter(|_| observed.cluster.posture.ledger().fails_on(&namespace, EGRESS))?;
    Some((namespace, (control, format!("a connection to {address}, outside the cluster"))))
}
