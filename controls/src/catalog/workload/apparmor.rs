//! Flags AppArmor profiles that do not confine. Pod Security Standards, baseline, "AppArmor": the profile must be the
//! runtime's default, one of the node's, or unset, on the pod, on its containers, and in the annotations that named it
//! before it was a field.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Fix, Judge};
use crate::facts::pod::{APP_ARMOR_ANNOTATION, PodSpec, ProfileAnnotation, short};

pub(crate) const CONTROL: Control = Control {
    id: "workload.apparmor",
    version: 1,
    title: "AppArmor profiles are not switched off",
    severity: Severity::Medium,
    description: "With the profile `Unconfined`, AppArmor no longer keeps the container from mounting, from writing \
                  to sensitive parts of `/proc` and `/sys`, or from tracing other processes.",
    remediation: "Set `appArmorProfile.type` to `RuntimeDefault`, or to `Localhost` with a profile of the node; \
                  remove the old annotation.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead],
    reads: &[],
    judge: Judge::Pod(judge),
    running: None,
    fix: Some(Fix::FirstOf(&[
        Fix::Set { field: "appArmorProfile.type", to: r#""RuntimeDefault""# },
        Fix::Remove("metadata.annotations[]"),
    ])),
};

fn judge(pod: &PodSpec, fails: &mut Vec<Location>) {
    const FIELD: &str = "securityContext.appArmorProfile.type";
    let profile = pod.security_context.as_ref().and_then(|context| context.app_armor_profile.as_ref());
    if let Some(profile) = profile.filter(|profile| !profile.confines()) {
        fails.push(Location::field(FIELD, short(&profile.kind)));
    }
    for placed in pod.all_containers() {
        let profile = placed.security_context().and_then(|context| context.app_armor_profile.as_ref());
        if let Some(profile) = profile.filter(|profile| !profile.confines()) {
            fails.push(placed.at(FIELD, &profile.kind));
        }
    }
    let annotations =
        pod.profile_annotations.iter().filter(|annotation| annotation.key.starts_with(APP_ARMOR_ANNOTATION));
    fails.extend(annotations.map(ProfileAnnotation::location));
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::check::{fires, silent};

    #[test]
    fn fields_and_annotations_are_places() {
        fires(
            &CONTROL,
            "
    metadata:
      annotations: {container.apparmor.security.beta.kubernetes.io/web: unconfined, seccomp.security.alpha.kubernetes.io/pod: x}
    spec:
      securityContext: {appArmorProfile: {type: Unconfined}}
      containers: [{name: web, securityContext: {appArmorProfile: {type: Unconfined}}}]",
            expect![[r#"
                securityContext.appArmorProfile.type = Unconfined
                containers[0].securityContext.appArmorProfile.type = Unconfined in web
                metadata.annotations["container.apparmor.security.beta.kubernetes.io/web"] = unconfined"#]],
        );
    }

    #[test]
    fn the_runtimes_default_and_the_nodes_profiles_confine() {
        silent(
            &CONTROL,
            "
    metadata:
      annotations:
        container.apparmor.security.beta.kubernetes.io/a: runtime/default
        container.apparmor.security.beta.kubernetes.io/b: localhost/strict
        container.apparmor.security.beta.kubernetes.io/c: ''
    spec:
      securityContext: {appArmorProfile: {type: RuntimeDefault}}
      containers: [{name: a, securityContext: {appArmorProfile: {type: Localhost}}}]",
        );
    }
}
