//! Flags seccomp profiles that do not confine. Pod Security Standards, baseline, "Seccomp": a profile that is set must
//! be the runtime's default or one of the node's, on the pod and on its containers.
//! Before 1.19 the profile was an annotation; under such a policy the annotations count as well. No profile at all is
//! `workload.seccomp-unset`.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Fix, Judge, Relation};
use crate::facts::pod::{POD_SECCOMP_ANNOTATION, PodSpec, ProfileAnnotation, SECCOMP_ANNOTATION, short};
use crate::facts::pod_security::Version;
use crate::process::Running;

pub(crate) const CONTROL: Control = Control {
    id: "workload.seccomp-unconfined",
    version: 1,
    title: "Seccomp is not switched off",
    severity: Severity::Medium,
    description: "With the profile `Unconfined`, the container may make every system call of the kernel, among them \
                  the rarely used ones in which the ways out of a container are found.",
    remediation: "Set `seccompProfile.type` to `RuntimeDefault`, or to `Localhost` with a profile of the node.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead, Method::RuntimeRecheck],
    reads: &[Relation::Namespace, Relation::ServerVersion],
    judge: Judge::PodUnder(judge),
    running: Some(Running::Process(super::seccomp_unset::filtered)),
    fix: Some(Fix::FirstOf(&[
        Fix::Set { field: "seccompProfile.type", to: r#""RuntimeDefault""# },
        Fix::Remove("metadata.annotations[]"),
    ])),
};

fn judge(pod: &PodSpec, policy: Version, fails: &mut Vec<Location>) {
    const FIELD: &str = "securityContext.seccompProfile.type";
    let profile = pod.security_context.as_ref().and_then(|context| context.seccomp_profile.as_ref());
    if let Some(profile) = profile.filter(|profile| !profile.confines()) {
        fails.push(Location::field(FIELD, short(&profile.kind)));
    }
    for placed in pod.all_containers() {
        let profile = placed.security_context().and_then(|context| context.seccomp_profile.as_ref());
        if let Some(profile) = profile.filter(|profile| !profile.confines()) {
            fails.push(placed.at(FIELD, &profile.kind));
        }
    }
    if !policy.reaches(19) {
        let annotations = pod.profile_annotations.iter().filter(|annotation| is_about(pod, &annotation.key));
        fails.extend(annotations.map(ProfileAnnotation::location));
    }
}

/// Whether this is the pod's seccomp annotation, or that of a container that it has.
fn is_about(pod: &PodSpec, key: &str) -> bool {
    key == POD_SECCOMP_ANNOTATION
        || key
            .strip_prefix(SECCOMP_ANNOTATION)
            .is_some_and(|name| pod.all_containers().any(|placed| placed.container.name == name))
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
    securityContext: {seccompProfile: {type: Unconfined}}
    containers: [{name: a, securityContext: {seccompProfile: {type: Unconfined}}}, {name: b}]",
            expect![[r#"
                securityContext.seccompProfile.type = Unconfined
                containers[0].securityContext.seccompProfile.type = Unconfined in a"#]],
        );
    }

    #[test]
    fn an_unset_profile_is_another_finding() {
        silent(
            &CONTROL,
            "{securityContext: {}, containers: [{name: a, securityContext: {seccompProfile: {type: Localhost}}}]}",
        );
        silent(
            &CONTROL,
            "{metadata: {annotations: {seccomp.security.alpha.kubernetes.io/pod: unconfined}}, spec: {containers: [{name: a}]}}",
        );
    }

    #[test]
    fn annotations_count_before_1_19_for_containers_that_exist() {
        let pod = crate::catalog::check::pod(
            "
    metadata:
      annotations:
        seccomp.security.alpha.kubernetes.io/pod: unconfined
        container.seccomp.security.alpha.kubernetes.io/a: unconfined
        container.seccomp.security.alpha.kubernetes.io/gone: unconfined
    spec: {containers: [{name: a}]}",
        );
        let mut fails = Vec::new();
        judge(&pod, Version::minor(18), &mut fails);
        assert_eq!(fails.len(), 2, "{fails:?}");
    }
}
