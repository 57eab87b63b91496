//! Flags processes that are not as confined as their own specification asks: it drops all capabilities and the process has
//! some, it asks for a seccomp profile and no filter is there. No object shows it; only the kernel does.
//! What the specification does not ask for is the business of the control that flags the specification: one cause is one
//! finding. A container that no Pod lists has asked for nothing, and is left to the other controls.

use holdfast_model::{Method, OnDeletion, Severity};

use crate::catalog::{Control, Judge};
use crate::process::{Process, Running, RuntimeVerdict, Spec};

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
    running: Some(Running::Process(as_specified)),
    fix: None,
};

/// Every control on processes whose judge the specification passes is met. The first
/// contradiction speaks.
fn as_specified(process: &Process<'_>) -> RuntimeVerdict {
    let Some(spec) = process.spec else {
        return RuntimeVerdict::Unread("no specification of its container is listed".into());
    };
    let mut unread = None;
    for control in super::CONTROLS.iter().filter(|control| asks_for(control, &spec)) {
        let Some(Running::Process(rule)) = control.running else { continue };
        match rule(process) {
            RuntimeVerdict::Agrees => {}
            RuntimeVerdict::Contradicts(fact) => {
                return RuntimeVerdict::Contradicts(format!("{fact}, though its specification meets {}", control.id));
            }
            RuntimeVerdict::Unread(why) => unread = Some(why),
        }
    }
    unread.map_or(RuntimeVerdict::Agrees, RuntimeVerdict::Unread)
}

/// Whether a specification meets a control that judges specifications.
fn asks_for(control: &Control, spec: &Spec<'_>) -> bool {
    !matches!(control.judge, Judge::Processes) && control.running.is_some() && control.is_met_by(spec.pod)
}
