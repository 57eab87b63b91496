//! Flags containers that may write to their own image's file system. Beyond the Pod Security Standards. Ephemeral
//! containers are left out, being made to be written to, and so are pods for Windows, where the field may not be set.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Fix, Judge};
use crate::facts::pod::PodSpec;
use crate::process::{Process, Running, RuntimeVerdict};

pub(crate) const CONTROL: Control = Control {
    id: "workload.read-only-root",
    version: 1,
    title: "Containers cannot write to their image's file system",
    severity: Severity::Low,
    description: "A container that may write to its root file system lets an intruder replace programs and keep \
                  tools; what is written there is also lost at every restart, and fills the node's disk.",
    remediation: "Set `readOnlyRootFilesystem` to true, and mount an `emptyDir` where the program writes, such as \
                  `/tmp`.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead, Method::RuntimeRecheck],
    reads: &[],
    judge: Judge::Pod(judge),
    running: Some(Running::Process(root_read_only)),
    fix: Some(Fix::Set { field: "securityContext.readOnlyRootFilesystem", to: "true" }),
};

fn judge(pod: &PodSpec, fails: &mut Vec<Location>) {
    const FIELD: &str = "securityContext.readOnlyRootFilesystem";
    if pod.is_windows() {
        return;
    }
    for placed in pod.lasting_containers() {
        match placed.security_context().and_then(|context| context.read_only_root_filesystem) {
            Some(true) => {}
            Some(false) => fails.push(placed.at(FIELD, "false")),
            None => fails.push(placed.missing(FIELD)),
        }
    }
}

/// Ephemeral containers are made to be written to.
fn root_read_only(process: &Process<'_>) -> RuntimeVerdict {
    if process.spec.is_some_and(|spec| spec.is_ephemeral()) {
        return RuntimeVerdict::Agrees;
    }
    match process.privileges.root_read_only {
        Some(true) => RuntimeVerdict::Agrees,
        Some(false) => RuntimeVerdict::Contradicts("its root is mounted writable".to_owned()),
        None => RuntimeVerdict::Unread("how its root is mounted could not be read".into()),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::check::{fires, silent};

    #[test]
    fn false_and_absent_both_fail() {
        fires(
            &CONTROL,
            "containers: [{name: a}, {name: b, securityContext: {readOnlyRootFilesystem: false}}]",
            expect![[r#"
                containers[0].securityContext in a
                containers[1].securityContext.readOnlyRootFilesystem = false in b"#]],
        );
    }

    #[test]
    fn debug_containers_and_windows_are_left_out() {
        silent(
            &CONTROL,
            "{containers: [{name: a, securityContext: {readOnlyRootFilesystem: true}}], ephemeralContainers: [{name: debug}]}",
        );
        silent(&CONTROL, "{os: {name: windows}, containers: [{name: a}]}");
    }
}
