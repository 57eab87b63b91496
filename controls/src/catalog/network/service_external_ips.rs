//! Flags Services that claim external addresses by `externalIPs`. CVE-2020-8554: nothing checks that an address is theirs to
//! claim, so traffic of the whole cluster to any address can be drawn to the Service's pods.
//! Addresses that a load balancer assigns are in the status and are not looked at.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Judge, Of, View};
use crate::facts::Service;

pub(super) const CONTROL: Control = Control {
    id: "network.service-external-ips",
    version: 1,
    title: "Services claim no external addresses",
    severity: Severity::Medium,
    description: "Every node sends traffic for these addresses to the Service, whoever owns them: a Service can take \
                  over connections of other workloads to any outside address.",
    remediation: "Use a Service of type LoadBalancer, or have the platform deny `externalIPs` by admission and \
                  assign addresses itself.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead],
    reads: &[],
    judge: Judge::Object(&Of(judge)),
    running: None,
    fix: None,
};

fn judge(service: &View<Service>, fails: &mut Vec<Location>) {
    for (i, address) in service.facts.external_ips.iter().enumerate() {
        fails.push(Location::field(format!("spec.externalIPs[{i}]"), &**address));
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::fixture::{fires, silent};

    #[test]
    fn every_address_is_named() {
        fires(
            &CONTROL,
            "{apiVersion: v1, kind: Service, metadata: {name: s, namespace: shop}, spec: {externalIPs: [192.0.2.7, 192.0.2.8]}}",
            expect![[r#"
                Service shop/s: spec.externalIPs[0] = 192.0.2.7
                Service shop/s: spec.externalIPs[1] = 192.0.2.8
            "#]],
        );
    }

    #[test]
    fn a_load_balancers_address_is_not_its_business() {
        silent(
            &CONTROL,
            "{apiVersion: v1, kind: Service, metadata: {name: s, namespace: shop}, spec: {type: LoadBalancer, externalIPs: null}, status: {loadBalancer: {ingress: [{ip: 192.0.2.7}]}}}",
        );
    }
}
