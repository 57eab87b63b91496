//! One right, written out: what the controls about single rights look for in a role.

use holdfast_model::Location;

use super::defaults;
use crate::catalog::View;
use crate::facts::Role;
use crate::facts::role::Rule;

/// Any of these verbs on any of these resources of one API group.
pub(super) struct Right {
    /// API group.
    pub group: &'static str,
    /// Resources, subresources included: `pods/exec`.
    pub resources: &'static [&'static str],
    /// Verbs.
    pub verbs: &'static [&'static str],
}

impl Right {
    /// Pushes every place of a role that grants this right by name: the resource, with the verbs that are granted on it.
    /// A rule for named objects only is no such place, and neither is a wildcard.
    pub(super) fn find(&self, control: &str, role: &View<Role>, fails: &mut Vec<Location>) {
        for (i, rule) in judged(control, role).filter(|(_, rule)| rule.matches_group(self.group)) {
            let verbs: Vec<&str> =
                rule.verbs.iter().map(|verb| &**verb).filter(|verb| self.verbs.contains(verb)).collect();
            if verbs.is_empty() {
                continue;
            }
            for (j, resource) in rule.resources.iter().enumerate().filter(|(_, own)| self.resources.contains(&&***own))
            {
                fails.push(Location::field(
                    format!("rules[{i}].resources[{j}]"),
                    format!("{resource}: {}", verbs.join(", ")),
                ));
            }
        }
    }
}

/// The rules of a role that a control looks at: those for all names, of a role that is written by hand.
pub(super) fn judged<'a>(control: &str, role: &View<'a, Role>) -> impl Iterator<Item = (usize, &'a Rule)> {
    let rules = if role.facts.aggregated || defaults::has(control, role) { &[][..] } else { &role.facts.rules };
    rules.iter().enumerate().filter(|(_, rule)| rule.resource_names.is_empty())
}

/// Whether a role allows everything that there is: `*` on `*` of `*`, as cluster-admin does.
pub(super) fn is_all_powerful(role: &Role) -> bool {
    let has_star = |words: &[Box<str>]| words.iter().any(|word| **word == *"*");
    role.rules.iter().any(|rule| {
        rule.resource_names.is_empty()
            && has_star(&rule.verbs)
            && has_star(&rule.api_groups)
            && has_star(&rule.resources)
    })
}
