//! RBAC and service accounts: what roles grant and whom bindings give it to.
//!
//! One cause is one finding. A wildcard is a finding of the wildcard's own control, so the controls about single rights look
//! for rights that are written out. A role that is filled by aggregation is judged where its rules are written. A role or
//! binding that the API server makes itself is judged like any other, except for what its default form has (`defaults.rs`).

use super::Control;

mod anonymous_binding;
mod authenticated_binding;
mod automounted_token;
mod bind_verb;
mod bound;
mod cluster_admin_broad;
mod cluster_admin_service_account;
mod csr_approval;
mod default_service_account_binding;
mod defaults;
mod escalate_verb;
mod impersonate_verb;
mod nodes_proxy;
mod pods_attach;
mod pods_exec;
mod right;
mod secrets_readable;
mod token_creation;
mod unauthenticated_binding;
mod webhook_configuration;
mod wildcard_resources;
mod wildcard_verbs;

/// The controls of this archetype, by id.
pub const CONTROLS: &[Control] = &[
    anonymous_binding::CONTROL,
    authenticated_binding::CONTROL,
    automounted_token::CONTROL,
    bind_verb::CONTROL,
    cluster_admin_broad::CONTROL,
    cluster_admin_service_account::CONTROL,
    csr_approval::CONTROL,
    default_service_account_binding::CONTROL,
    escalate_verb::CONTROL,
    impersonate_verb::CONTROL,
    nodes_proxy::CONTROL,
    pods_attach::CONTROL,
    pods_exec::CONTROL,
    secrets_readable::CONTROL,
    token_creation::CONTROL,
    unauthenticated_binding::CONTROL,
    webhook_configuration::CONTROL,
    wildcard_resources::CONTROL,
    wildcard_verbs::CONTROL,
];
