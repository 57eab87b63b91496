//! Whom a binding gives its role to, and what that role is: what the controls about bindings share.

use holdfast_model::Location;

use super::{defaults, right};
use crate::catalog::View;
use crate::facts::RoleBinding;
use crate::facts::role_binding::Subject;

/// Pushes every subject of a binding that is wanted, `subjects[1]`. A subject of a binding's default form is never wanted.
pub(super) fn find(binding: &View<RoleBinding>, wanted: impl Fn(&Subject) -> bool, fails: &mut Vec<Location>) {
    for (i, subject) in binding.facts.subjects.iter().enumerate() {
        if wanted(subject) && !defaults::binds(binding, subject) {
            let role = &binding.facts.role_ref;
            fails.push(Location::field(
                format!("subjects[{i}]"),
                format!("{} {} gets {} {}", subject.kind, subject.name, role.kind, role.name),
            ));
        }
    }
}

/// Whether the bound role allows everything. A role that does not exist allows nothing, until someone makes it.
pub(super) fn is_all_powerful(binding: &View<RoleBinding>) -> bool {
    binding.role().is_some_and(right::is_all_powerful)
}

pub(super) fn is_user(subject: &Subject, name: &str) -> bool {
    *subject.kind == *"User" && *subject.name == *name
}

pub(super) fn is_group(subject: &Subject, name: &str) -> bool {
    *subject.kind == *"Group" && *subject.name == *name
}

/// The service account `default`, which every pod gets that names none.
pub(super) fn is_default_account(subject: &Subject) -> bool {
    let user_of_default = || {
        let account = subject.name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
        *subject.kind == *"User" && account.is_some_and(|(_, name)| name == "default")
    };
    (*subject.kind == *"ServiceAccount" && *subject.name == *"default") || user_of_default()
}

/// A group that holds every service account, of the cluster or of a namespace.
pub(super) fn is_account_group(subject: &Subject) -> bool {
    *subject.kind == *"Group"
        && (*subject.name == *"system:serviceaccounts" || subject.name.starts_with("system:serviceaccounts:"))
}
