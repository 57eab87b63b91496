//! Flags containers whose processes may gain rights. Pod Security Standards, restricted, "Privilege Escalation":
//! `allowPrivilegeEscalation` must be false in every container. Since 1.25 pods for Windows are exempt.
//! The API server refuses false beside `privileged` or an added `SYS_ADMIN`: fix those first.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Fix, Judge, Relation};
use crate::facts::pod::PodSpec;
use crate::facts::pod_security::Version;
use crate::process::{Process, Running, RuntimeVerdict};

pub(crate) const CONTROL: Control = Control {
    id: "workload.privilege-escalation",
    version: 1,
    title: "Processes cannot gain rights",
    severity: Severity::Medium,
    description: "Unless `allowPrivilegeEscalation` is false, a program with a set-user-ID bit gives an ordinary \
                  process in the container the rights of root.",
    remediation: "Set `allowPrivilegeEscalation` to false. Fix `workload.privileged` and an added `SYS_ADMIN` first: \
                  the API server refuses the combination.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead, Method::RuntimeRecheck],
    reads: &[Relation::Namespace, Relation::ServerVersion],
    judge: Judge::PodUnder(judge),
    running: Some(Running::Process(cannot_escalate)),
    fix: Some(Fix::Set { field: "securityContext.allowPrivilegeEscalation", to: "false" }),
};

fn judge(pod: &PodSpec, policy: Version, fails: &mut Vec<Location>) {
    const FIELD: &str = "securityContext.allowPrivilegeEscalation";
    if policy.exempts_windows() && pod.is_windows() {
        return;
    }
    for placed in pod.all_containers() {
        match placed.security_context().and_then(|context| context.allow_privilege_escalation) {
            Some(false) => {}
            Some(true) => fails.push(placed.at(FIELD, "true")),
            None => fails.push(placed.missing(FIELD)),
        }
    }
}

/// An exec can gain nothing any more.
fn cannot_escalate(process: &Process<'_>) -> RuntimeVerdict {
    if process.privileges.no_new_privs {
        RuntimeVerdict::Agrees
    } else {
        RuntimeVerdict::Contradicts("no_new_privs is not set".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::check::{fires, silent};

    #[test]
    fn true_and_absent_both_fail() {
        fires(
            &CONTROL,
            "containers: [{name: a}, {name: b, securityContext: {}}, {name: c, securityContext: {allowPrivilegeEscalation: true}}]",
            expect![[r#"
                containers[0].securityContext in a
                containers[1].securityContext.allowPrivilegeEscalation in b
                containers[2].securityContext.allowPrivilegeEscalation = true in c"#]],
        );
    }

    #[test]
    fn false_is_required_of_no_windows_pod() {
        silent(&CONTROL, "containers: [{name: a, securityContext: {allowPrivilegeEscalation: false}}]");
        silent(&CONTROL, "{os: {name: windows}, containers: [{name: a}]}");
    }
}
