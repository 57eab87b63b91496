//! Flags Windows host processes. Pod Security Standards, baseline, "HostProcess": `windowsOptions.hostProcess` must be
//! undefined or false, on the pod and on its containers.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Fix, Judge};
use crate::facts::pod::{PodSpec, Windows};

pub(crate) const CONTROL: Control = Control {
    id: "workload.host-process",
    version: 1,
    title: "Windows containers are not host processes",
    severity: Severity::Critical,
    description: "A HostProcess container runs on its Windows node without isolation, with the rights of the account \
                  that it names: it is the node.",
    remediation: "Remove `windowsOptions.hostProcess`. Node agents that need it belong in a namespace of their own, \
                  with an approved exception.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead],
    reads: &[],
    judge: Judge::Pod(judge),
    running: None,
    fix: Some(Fix::Remove("windowsOptions.hostProcess")),
};

fn judge(pod: &PodSpec, fails: &mut Vec<Location>) {
    const FIELD: &str = "securityContext.windowsOptions.hostProcess";
    let is_set = |options: Option<&Windows>| options.and_then(|options| options.host_process) == Some(true);
    if is_set(pod.security_context.as_ref().and_then(|context| context.windows_options.as_ref())) {
        fails.push(Location::field(FIELD, "true"));
    }
    for placed in pod.all_containers() {
        if is_set(placed.security_context().and_then(|context| context.windows_options.as_ref())) {
            fails.push(placed.at(FIELD, "true"));
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::check::{fires, silent};

    #[test]
    fn pod_and_container_are_places_of_their_own() {
        fires(
            &CONTROL,
            "
    securityContext: {windowsOptions: {hostProcess: true}}
    containers: [{name: agent, securityContext: {windowsOptions: {hostProcess: true}}}]",
            expect![[r#"
                securityContext.windowsOptions.hostProcess = true
                containers[0].securityContext.windowsOptions.hostProcess = true in agent"#]],
        );
    }

    #[test]
    fn other_windows_options_are_fine() {
        silent(
            &CONTROL,
            "{os: {name: windows}, securityContext: {windowsOptions: {hostProcess: false, runAsUserName: x}}}",
        );
    }
}
