//! What containers are given and never use: three controls that differ in data alone. No object shows it; only watching
//! does, from the container's own start and for long enough. `running::allowance` says what counts as given and as used.
//! Each has its patch where the thing can be taken away without touching what is used.

use holdfast_model::{Method, OnDeletion, Severity};

use crate::catalog::{Control, Fix, Judge};
use crate::process::{Allowance, Running};

/// Said by each of them for itself.
const NAMELESS: &str = "";

/// What all of them have in common.
const UNUSED: Control = Control {
    id: NAMELESS,
    version: 1,
    title: NAMELESS,
    severity: Severity::Low,
    description: NAMELESS,
    remediation: NAMELESS,
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead, Method::RuntimeRecheck],
    reads: &[],
    judge: Judge::Processes,
    running: None,
    fix: None,
};

pub(crate) const CAPABILITIES_UNUSED: Control = Control {
    id: "workload.capabilities-unused",
    title: "Capabilities that are given are used",
    description: "The container has capabilities that the kernel never saw it use since it was started: nothing would \
                  miss them but an intruder. Whether CAP_SYS_ADMIN is used the kernel does not tell, so it is left out.",
    remediation: "Drop them: `capabilities.drop: [ALL]`, and add by name only what is used.",
    running: Some(Running::Use(Allowance::Capabilities)),
    fix: Some(Fix::FirstOf(&[
        Fix::Remove("capabilities.add[]"),
        Fix::Set { field: "securityContext.capabilities.drop", to: r#"["ALL"]"# },
    ])),
    ..UNUSED
};

pub(crate) const TOKEN_UNUSED: Control = Control {
    id: "workload.token-unused",
    title: "Tokens that are mounted are read",
    description: "A token of the service account is mounted into the Pod, and no container has ever opened it: it serves \
                  only who breaks in and takes it along.",
    remediation: "Set `automountServiceAccountToken: false` in the pod specification.",
    running: Some(Running::Use(Allowance::Token)),
    fix: Some(Fix::Set { field: "automountServiceAccountToken", to: "false" }),
    ..UNUSED
};

pub(crate) const WRITABLE_ROOT_UNUSED: Control = Control {
    id: "workload.writable-root-unused",
    title: "Root file systems that can be written are written",
    description: "The container may write to its root file system and has not done so since it was started: it would run \
                  as well with a read-only one, where an intruder can leave nothing behind.",
    remediation: "Set `readOnlyRootFilesystem` to true.",
    running: Some(Running::Use(Allowance::WritableRoot)),
    fix: Some(Fix::Set { field: "securityContext.readOnlyRootFilesystem", to: "true" }),
    ..UNUSED
};
