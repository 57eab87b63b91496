//! Flags roles that may approve certificate requests for any signer. RBAC good practices, "CSRs and certificate issuing": two
//! rights are needed, writing `certificatesigningrequests/approval` and `approve` on the signer; the second decides.
//! A rule for named signers is how a delegation should look.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use super::right::Right;
use crate::catalog::{Control, Judge, Of, View};
use crate::facts::Role;

const ID: &str = "rbac.csr-approval";

const RIGHTS: &[Right] =
    &[Right { group: "certificates.k8s.io", resources: &["signers"], verbs: &["approve", "sign"] }];

pub(super) const CONTROL: Control = Control {
    id: ID,
    version: 1,
    title: "Roles do not approve certificates for every signer",
    severity: Severity::High,
    description: "Whoever may approve for every signer can have a client certificate issued with any name that the \
                  cluster trusts.",
    remediation: "Name the signers in `resourceNames`, or remove the rule.",
    on_deletion: OnDeletion::Fixes,
    methods: &[Method::LiveRead],
    reads: &[],
    judge: Judge::Object(&Of(judge)),
    running: None,
    fix: None,
};

fn judge(role: &View<Role>, fails: &mut Vec<Location>) {
    RIGHTS.iter().for_each(|right| right.find(ID, role, fails));
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::fixture::{fires, silent};

    #[test]
    fn approving_for_every_signer_is_found() {
        fires(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, rules: [
               {verbs: [approve], apiGroups: [certificates.k8s.io], resources: [signers]}]}",
            expect![[r#"
                ClusterRole r: rules[0].resources[0] = signers: approve
            "#]],
        );
    }

    #[test]
    fn one_named_signer_is_not_its_business() {
        silent(
            &CONTROL,
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, rules: [
               {verbs: [approve], apiGroups: [certificates.k8s.io], resources: [signers], resourceNames: [example.com/mine]},
               {verbs: [get, list], apiGroups: [certificates.k8s.io], resources: [certificatesigningrequests]}]}",
        );
    }
}
