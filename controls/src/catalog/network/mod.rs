//! Network: who may reach whom, as far as the API says. Whether a network plugin enforces it is another question.

use super::Control;
use crate::facts::{Kind, network_policy, workload};

mod default_deny_egress;
mod default_deny_ingress;
mod ingress_without_tls;
mod service_external_ips;

/// The controls of this archetype, by id.
pub const CONTROLS: &[Control] = &[
    default_deny_egress::CONTROL,
    default_deny_ingress::CONTROL,
    ingress_without_tls::CONTROL,
    service_external_ips::CONTROL,
];

/// What a judgement about a namespace's isolation reads: its policies, and whether there is anything to isolate.
const WORKLOADS_AND_POLICIES: &[&Kind] = &[
    &network_policy::NETWORK_POLICY,
    &workload::CRON_JOB,
    &workload::DAEMON_SET,
    &workload::DEPLOYMENT,
    &workload::JOB,
    &workload::POD,
    &workload::REPLICATION_CONTROLLER,
    &workload::REPLICA_SET,
    &workload::STATEFUL_SET,
];
