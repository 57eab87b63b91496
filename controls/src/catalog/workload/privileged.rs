//! Flags containers that run privileged. Pod Security Standards, baseline, "Privileged Containers":
//! `securityContext.privileged` must be undefined or false in containers, init containers and ephemeral containers.
//! It ignores what a privileged container also gets by implication (all capabilities, all devices): those fields are
//! controls of their own, and one cause is one finding.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Fix, Judge};
use crate::facts::pod::PodSpec;

pub(super) const CONTROL: Control = Control {
    id: "workload.privileged",
    version: 1,
    title: "Containers do not run privileged",
    severity: Severity::Critical,
    description: "A privileged container has every capability and every device of its node: whoever controls the \
                  container controls the node and all that runs on it.",
    remediation: "Remove `securityContext.privileged`, or set it to false. Where one capability or one device is really \
                  needed, grant that one instead.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead],
    reads: &[],
    judge: Judge::Pod(judge),
    fix: Some(Fix::SetInContainer("securityContext.privileged", "false")),
};

fn judge(pod: &PodSpec, fails: &mut Vec<Location>) {
    for (path, container) in pod.all_containers() {
        if container.security_context.as_ref().and_then(|context| context.privileged) == Some(true) {
            fails.push(
                Location::field(format!("{path}.securityContext.privileged"), "true").in_container(&container.name),
            );
        }
    }
}
