//! Flags SELinux options that leave the container's own confinement. Pod Security Standards, baseline, "SELinux":
//! `type` must be one of the container types (one more since 1.31), `user` and `role` must be unset, on the pod and on
//! its containers.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Fix, Judge, Relation};
use crate::facts::pod::{PodSpec, SeLinux, short};
use crate::facts::pod_security::Version;

pub(crate) const CONTROL: Control = Control {
    id: "workload.selinux",
    version: 1,
    title: "SELinux confines containers as containers",
    severity: Severity::High,
    description: "A custom SELinux type, user or role replaces the confinement that keeps a container from the files \
                  and processes of its node; `spc_t` and `unconfined_t` remove it altogether.",
    remediation: "Remove `type`, `user` and `role` from `seLinuxOptions`; `level` may stay.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead],
    reads: &[Relation::Namespace, Relation::ServerVersion],
    judge: Judge::PodUnder(judge),
    running: None,
    fix: Some(Fix::Remove("seLinuxOptions.*")),
};

fn judge(pod: &PodSpec, policy: Version, fails: &mut Vec<Location>) {
    if let Some(options) = pod.security_context.as_ref().and_then(|context| context.se_linux_options.as_ref()) {
        push(options, policy, fails, |field, value| Location::field(field, short(value)));
    }
    for placed in pod.all_containers() {
        if let Some(options) = placed.security_context().and_then(|context| context.se_linux_options.as_ref()) {
            push(options, policy, fails, |field, value| placed.at(field, value));
        }
    }
}

fn push(options: &SeLinux, policy: Version, fails: &mut Vec<Location>, at: impl Fn(&str, &str) -> Location) {
    if !is_container_type(&options.kind, policy) {
        fails.push(at("securityContext.seLinuxOptions.type", &options.kind));
    }
    if !options.user.is_empty() {
        fails.push(at("securityContext.seLinuxOptions.user", &options.user));
    }
    if !options.role.is_empty() {
        fails.push(at("securityContext.seLinuxOptions.role", &options.role));
    }
}

fn is_container_type(kind: &str, policy: Version) -> bool {
    match kind {
        "" | "container_t" | "container_init_t" | "container_kvm_t" => true,
        "container_engine_t" => policy.reaches(31),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::check::{fires, silent};

    #[test]
    fn type_user_and_role_are_places_of_their_own() {
        fires(
            &CONTROL,
            "
    securityContext: {seLinuxOptions: {type: spc_t, level: 's0:c1'}}
    containers: [{name: a, securityContext: {seLinuxOptions: {type: container_t, user: u, role: r}}}]",
            expect![[r#"
                securityContext.seLinuxOptions.type = spc_t
                containers[0].securityContext.seLinuxOptions.user = u in a
                containers[0].securityContext.seLinuxOptions.role = r in a"#]],
        );
    }

    #[test]
    fn the_container_types_are_fine() {
        silent(&CONTROL, "{securityContext: {seLinuxOptions: {level: 's0:c1', type: container_kvm_t, user: ''}}}");
        silent(&CONTROL, "containers: [{name: a, securityContext: {seLinuxOptions: {type: container_engine_t}}}]");
    }

    #[test]
    fn the_engine_type_came_with_1_31() {
        assert!(is_container_type("container_engine_t", Version::minor(31)));
        assert!(!is_container_type("container_engine_t", Version::minor(30)));
    }
}
