//! Flags Ingresses with a host that no entry of `tls` covers, a wildcard entry covering one label.
//! An entry without hosts covers what its controller decides, and so all; whether the certificate is any good is not looked at.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Judge, Of, View};
use crate::facts::Ingress;

pub(super) const CONTROL: Control = Control {
    id: "network.ingress-without-tls",
    version: 1,
    title: "Ingresses serve every host over TLS",
    severity: Severity::Medium,
    description: "What travels to this host is readable, and changeable, by everyone on the way: credentials and \
                  cookies included.",
    remediation: "Add the host to an entry of `tls` with a certificate, and let the controller redirect plain HTTP.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead],
    reads: &[],
    judge: Judge::Object(&Of(judge)),
    running: None,
    fix: None,
};

fn judge(ingress: &View<Ingress>, fails: &mut Vec<Location>) {
    let facts = ingress.facts;
    // An entry of `tls` that lists no hosts is the controller's default for all of them.
    if facts.tls_for_all {
        return;
    }
    for (i, host) in facts.hosts.iter().enumerate() {
        if !facts.tls_hosts.iter().any(|covering| covers(covering, host)) {
            fails.push(Location::field(format!("spec.rules[{i}].host"), &**host));
        }
    }
    if facts.hosts.is_empty() && facts.tls_hosts.is_empty() {
        fails.push(Location::field("spec.tls", ""));
    }
}

/// `*.shop.example` covers `www.shop.example`, and itself.
fn covers(covering: &str, host: &str) -> bool {
    covering == host
        || host.split_once('.').is_some_and(|(label, domain)| {
            !label.is_empty() && covering.strip_prefix("*.").is_some_and(|covered| covered == domain)
        })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::fixture::{fires, silent};

    #[test]
    fn the_uncovered_host_is_named() {
        fires(
            &CONTROL,
            "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i, namespace: shop}, spec: {rules: [{host: a.example}, {host: b.example}], tls: [{hosts: [a.example], secretName: s}]}}",
            expect![[r#"
                Ingress shop/i: spec.rules[1].host = b.example
            "#]],
        );
        fires(
            &CONTROL,
            "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i, namespace: shop}, spec: {defaultBackend: {service: {name: s}}}}",
            expect![[r#"
                Ingress shop/i: spec.tls = 
            "#]],
        );
    }

    #[test]
    fn wildcards_and_an_entry_for_all_hosts_cover() {
        silent(
            &CONTROL,
            "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i, namespace: shop}, spec: {rules: [{host: www.a.example}, {host: '*.a.example'}], tls: [{hosts: ['*.a.example']}]}}",
        );
        silent(
            &CONTROL,
            "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i, namespace: shop}, spec: {rules: [{host: a.example}, {}], tls: [{secretName: s}]}}",
        );
    }
}
