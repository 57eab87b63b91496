//! Flags containers that may run as root. Pod Security Standards, restricted, "Running as Non-root": `runAsNonRoot`
//! must be true, in each container or in the pod for those that do not say; an explicit false fails wherever it stands.
//! Where the field is absent, the place to fix is the pod's, which covers every container that does not say. A pod's
//! explicit false is the one place for all that inherit it.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Fix, Judge};
use crate::facts::pod::PodSpec;
use crate::process::{Process, Running, RuntimeVerdict};

pub(crate) const CONTROL: Control = Control {
    id: "workload.run-as-non-root",
    version: 1,
    title: "Containers must run as another user than root",
    severity: Severity::Medium,
    description: "Root in a container is root on its node, held back only by namespaces, capabilities and seccomp: \
                  each hole in one of them then gives away the node.",
    remediation: "Set `runAsNonRoot` to true for the pod, give the image a numeric user other than 0, and see that \
                  it starts: the kubelet refuses an image that would run as root.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead, Method::RuntimeRecheck],
    reads: &[],
    judge: Judge::Pod(judge),
    running: Some(Running::Process(not_root)),
    fix: Some(Fix::Set { field: "securityContext.runAsNonRoot", to: "true" }),
};

fn judge(pod: &PodSpec, fails: &mut Vec<Location>) {
    const FIELD: &str = "securityContext.runAsNonRoot";
    let context = pod.security_context.as_deref();
    let inherited = context.and_then(|context| context.run_as_non_root);
    if inherited == Some(false) {
        fails.push(Location::field(FIELD, "false"));
    }
    let place = if context.is_some() { FIELD } else { "securityContext" };
    for placed in pod.all_containers() {
        match placed.security_context().and_then(|context| context.run_as_non_root) {
            Some(true) => {}
            Some(false) => fails.push(placed.at(FIELD, "false")),
            None if inherited.is_some() => {}
            None => fails.push(Location::field(place, "").in_container(&placed.container.name)),
        }
    }
}

/// Not root as the host counts users, whatever the process calls itself inside a user namespace.
pub(super) fn not_root(process: &Process<'_>) -> RuntimeVerdict {
    if process.privileges.uid == 0 {
        RuntimeVerdict::Contradicts("it runs as uid 0 of the node".to_owned())
    } else {
        RuntimeVerdict::Agrees
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::check::{fires, silent};

    #[test]
    fn an_explicit_false_is_its_own_place() {
        fires(
            &CONTROL,
            "
    securityContext: {runAsNonRoot: true}
    containers: [{name: a, securityContext: {runAsNonRoot: false}}, {name: b}]",
            expect!["containers[0].securityContext.runAsNonRoot = false in a"],
        );
        fires(
            &CONTROL,
            "
    securityContext: {runAsNonRoot: false}
    containers: [{name: a, securityContext: {runAsNonRoot: true}}, {name: b}]",
            expect!["securityContext.runAsNonRoot = false"],
        );
    }

    #[test]
    fn the_pods_field_is_the_place_where_nobody_says() {
        fires(
            &CONTROL,
            "containers: [{name: a}, {name: b}]",
            expect![[r#"
            securityContext in a
            securityContext in b"#]],
        );
    }

    #[test]
    fn the_pod_or_every_container_may_say_it() {
        silent(&CONTROL, "{securityContext: {runAsNonRoot: true}, containers: [{name: a}]}");
        silent(&CONTROL, "containers: [{name: a, securityContext: {runAsNonRoot: true}}]");
    }
}
