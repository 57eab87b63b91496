//! Flags the user 0. Pod Security Standards, restricted since 1.23, "Running as Non-root user": `runAsUser` must not be
//! 0, on the pod and on its containers.
//! It does not ask which user the image has: `workload.run-as-non-root` does.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Fix, Judge};
use crate::facts::pod::PodSpec;
use crate::process::{Process, Running, RuntimeVerdict};

pub(crate) const CONTROL: Control = Control {
    id: "workload.run-as-root-user",
    version: 1,
    title: "No user 0 is asked for",
    severity: Severity::Medium,
    description: "`runAsUser: 0` runs the container as root whatever its image says. Root in a container is root on \
                  its node, held back only by namespaces, capabilities and seccomp.",
    remediation: "Remove `runAsUser: 0`, or set it to the user that owns the files of the program.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead, Method::RuntimeRecheck],
    reads: &[],
    judge: Judge::Pod(judge),
    running: Some(Running::Process(not_root_when_another_is_asked_for)),
    fix: Some(Fix::Remove("runAsUser")),
};

fn judge(pod: &PodSpec, fails: &mut Vec<Location>) {
    const FIELD: &str = "securityContext.runAsUser";
    if pod.security_context.as_ref().and_then(|context| context.run_as_user) == Some(0) {
        fails.push(Location::field(FIELD, "0"));
    }
    for placed in pod.all_containers() {
        if placed.security_context().and_then(|context| context.run_as_user) == Some(0) {
            fails.push(placed.at(FIELD, "0"));
        }
    }
}

/// Where another user is asked for, it is not root after all. Where none is, the image decides,
/// and `workload.run-as-non-root` watches it.
fn not_root_when_another_is_asked_for(process: &Process<'_>) -> RuntimeVerdict {
    match process.spec.map(|spec| spec.user()) {
        Some(None | Some(0)) => RuntimeVerdict::Agrees,
        Some(Some(user)) if process.privileges.uid == 0 => {
            RuntimeVerdict::Contradicts(format!("it runs as uid 0 of the node, where user {user} is asked for"))
        }
        Some(Some(_)) => RuntimeVerdict::Agrees,
        None => super::run_as_non_root::not_root(process),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::check::{fires, silent};

    #[test]
    fn a_zero_is_a_place_wherever_it_stands() {
        fires(
            &CONTROL,
            "{securityContext: {runAsUser: 0}, containers: [{name: a, securityContext: {runAsUser: 0}}, {name: b}]}",
            expect![[r#"
                securityContext.runAsUser = 0
                containers[0].securityContext.runAsUser = 0 in a"#]],
        );
    }

    #[test]
    fn other_users_and_a_root_group_are_not_its_business() {
        silent(
            &CONTROL,
            "{securityContext: {runAsUser: 1, runAsGroup: 0, fsGroup: 0}, containers: [{name: a, securityContext: {}}]}",
        );
    }
}
