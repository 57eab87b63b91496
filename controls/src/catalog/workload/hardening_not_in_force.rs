//! Flags processes that are not as confined as their own specification asks: it drops all capabilities and the process has
//! some, it asks for a seccomp profile and no filter is there. No object shows it; only the kernel does.
//! What the specification does not ask for is the business of the control that flags the specification: one cause is one
//! finding. A container that no Pod lists has asked for nothing, and is left to the other controls.

use holdfast_model::{Method, OnDeletion, Severity};

use crate::catalog::{Control, Judge};
use crate::running::{self, Running};

pub(crate) const CONTROL: Control = Control {
    id: "workload.hardening-not-in-force",
    version: 1,
    title: "Processes are as confined as their specification asks",
    severity: Severity::High,
    description: "The kernel shows a process with rights that its own specification gives up. Whoever reads the \
                  specification, and every policy that admitted it, believes in a confinement that is not there.",
    remediation: "Restart the Pod and look again. If it returns, look at the container runtime of that node and its \
                  version, at what changes containers after they are made, and at programs with a set-user-ID bit.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead, Method::RuntimeRecheck],
    reads: &[],
    judge: Judge::Processes,
    running: Some(Running::Process(running::as_specified)),
    fix: None,
};
