//! Network: who may reach whom, as far as the API says. Whether a network plugin enforces it is another question.

use super::Control;

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
