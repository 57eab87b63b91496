//! Flags containers that keep the runtime's default capabilities. Pod Security Standards, restricted since 1.22,
//! "Capabilities": `capabilities.drop` must include `ALL`, exactly.
//! Since 1.25 pods for Windows are exempt, where the field may not be set.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Fix, Judge, Relation};
use crate::facts::pod::PodSpec;
use crate::facts::pod_security::Version;
use crate::process::{Process, Running, RuntimeVerdict, capability, rights};

pub(crate) const CONTROL: Control = Control {
    id: "workload.capabilities-not-dropped",
    version: 1,
    title: "Containers drop all capabilities",
    severity: Severity::Medium,
    description: "Unless they are dropped, a container has some fourteen capabilities that its program almost never \
                  needs, and that an intruder in it does: to forge packets, to change owners, to become another \
                  user.",
    remediation: "Set `capabilities.drop` to `[ALL]`, and add `NET_BIND_SERVICE` where the program listens on a port \
                  below 1024.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead, Method::RuntimeRecheck],
    reads: &[Relation::Namespace, Relation::ServerVersion],
    judge: Judge::PodUnder(judge),
    running: Some(Running::Process(all_dropped)),
    fix: Some(Fix::Set { field: "securityContext.capabilities.drop", to: r#"["ALL"]"# }),
};

fn judge(pod: &PodSpec, policy: Version, fails: &mut Vec<Location>) {
    if policy.exempts_windows() && pod.is_windows() {
        return;
    }
    for placed in pod.all_containers() {
        let capabilities = placed.security_context().and_then(|context| context.capabilities.as_ref());
        match capabilities.map(|capabilities| &capabilities.drop) {
            None => fails.push(placed.missing("securityContext.capabilities")),
            Some(None) => fails.push(placed.at("securityContext.capabilities.drop", "")),
            Some(Some(drop)) if !drop.iter().any(|capability| &**capability == "ALL") => {
                fails.push(placed.at("securityContext.capabilities.drop", &format!("[{}]", drop.join(", "))));
            }
            Some(Some(_)) => {}
        }
    }
}

/// Nothing but what the specification adds, which other controls judge.
fn all_dropped(process: &Process<'_>) -> RuntimeVerdict {
    let added = process.spec.map_or(capability::set(["NET_BIND_SERVICE"]), |spec| spec.adds());
    rights::holds_only(process, added)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::check::{fires, silent};

    #[test]
    fn the_first_missing_ancestor_is_the_place() {
        fires(
            &CONTROL,
            "
    containers:
    - {name: a}
    - {name: b, securityContext: {}}
    - {name: c, securityContext: {capabilities: {add: [CHOWN]}}}
    - {name: d, securityContext: {capabilities: {drop: [NET_RAW, all]}}}",
            expect![[r#"
                containers[0].securityContext in a
                containers[1].securityContext.capabilities in b
                containers[2].securityContext.capabilities.drop in c
                containers[3].securityContext.capabilities.drop = [NET_RAW, all] in d"#]],
        );
    }

    #[test]
    fn all_among_others_drops_all() {
        silent(&CONTROL, "containers: [{name: a, securityContext: {capabilities: {drop: [NET_RAW, ALL]}}}]");
        silent(&CONTROL, "{os: {name: windows}, containers: [{name: a}]}");
    }
}
