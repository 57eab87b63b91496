//! Flags sysctls outside the safe set. Pod Security Standards, baseline, "Sysctls": the safe set grew in 1.27, 1.29 and
//! 1.32. A sysctl is safe when it behaviors on the pod alone; its value is not read.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Fix, Judge, Relation};
use crate::facts::pod::{PodSpec, short};
use crate::facts::pod_security::Version;

pub(crate) const CONTROL: Control = Control {
    id: "workload.sysctls",
    version: 1,
    title: "Pods set safe sysctls only",
    severity: Severity::Medium,
    description: "A sysctl outside the safe set can switch off a protection of the kernel or change what other pods \
                  of the node get.",
    remediation: "Remove the sysctl, or set it on the nodes that need it.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead],
    reads: &[Relation::Namespace, Relation::ServerVersion],
    judge: Judge::PodUnder(judge),
    running: None,
    fix: Some(Fix::Remove("sysctls[]")),
};

fn judge(pod: &PodSpec, policy: Version, fails: &mut Vec<Location>) {
    let sysctls = pod.security_context.iter().flat_map(|context| &context.sysctls).enumerate();
    for (i, sysctl) in sysctls.filter(|(_, sysctl)| !is_safe(&sysctl.name, policy)) {
        fails.push(Location::field(format!("securityContext.sysctls[{i}]"), short(&sysctl.name)));
    }
}

fn is_safe(name: &str, policy: Version) -> bool {
    match name {
        "kernel.shm_rmid_forced"
        | "net.ipv4.ip_local_port_range"
        | "net.ipv4.ip_unprivileged_port_start"
        | "net.ipv4.ping_group_range"
        | "net.ipv4.tcp_syncookies" => true,
        "net.ipv4.ip_local_reserved_ports" => policy.reaches(27),
        "net.ipv4.tcp_fin_timeout"
        | "net.ipv4.tcp_keepalive_intvl"
        | "net.ipv4.tcp_keepalive_probes"
        | "net.ipv4.tcp_keepalive_time" => policy.reaches(29),
        "net.ipv4.tcp_rmem" | "net.ipv4.tcp_wmem" => policy.reaches(32),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::check::{fires, silent};
    use crate::catalog::fixture;

    #[test]
    fn an_unsafe_sysctl_is_a_place() {
        fires(
            &CONTROL,
            "securityContext: {sysctls: [{name: net.ipv4.tcp_rmem, value: '1'}, {name: kernel.msgmax, value: '1'}]}",
            expect!["securityContext.sysctls[1] = kernel.msgmax"],
        );
    }

    #[test]
    fn safe_sysctls_are_fine() {
        silent(&CONTROL, "securityContext: {sysctls: [{name: kernel.shm_rmid_forced, value: '0'}]}");
        silent(&CONTROL, "securityContext: {sysctls: null}");
    }

    #[test]
    fn the_safe_set_grew() {
        for (name, since) in
            [("net.ipv4.ip_local_reserved_ports", 27), ("net.ipv4.tcp_fin_timeout", 29), ("net.ipv4.tcp_wmem", 32)]
        {
            assert!(is_safe(name, Version::minor(since)) && !is_safe(name, Version::minor(since - 1)), "{name}");
        }
    }

    #[test]
    fn the_namespaces_version_counts() {
        let pod = |version: &str| {
            format!(
                "{{apiVersion: v1, kind: Namespace, metadata: {{name: shop, labels: {{
                    pod-security.kubernetes.io/enforce: baseline, pod-security.kubernetes.io/enforce-version: {version}}}}}}}
---
{{apiVersion: v1, kind: Pod, metadata: {{name: web, namespace: shop}}, spec: {{
                    securityContext: {{sysctls: [{{name: net.ipv4.tcp_rmem}}]}}}}}}"
            )
        };
        fixture::silent(&CONTROL, &pod("latest"));
        fixture::silent(&CONTROL, &pod("v1.99"));
        fixture::fires(
            &CONTROL,
            &pod("v1.31"),
            expect![[r#"
            Pod shop/web: spec.securityContext.sysctls[0] = net.ipv4.tcp_rmem
        "#]],
        );
    }
}
