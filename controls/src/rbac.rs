//! What RBAC allows: the API server's own authorizer, as a pure function over the facts of an inventory.
//!
//! Follows `plugin/pkg/auth/authorizer/rbac` and `pkg/apis/rbac/v1/evaluation_helpers.go` of Kubernetes word by word, RBAC
//! alone: no other authorizer, no `system:masters` shortcut (that group is bound to cluster-admin like any other), no groups
//! that the caller did not name. A question costs as much as the asking user and groups have bindings, not as the cluster has.

use crate::facts::role::Rule;
use crate::facts::{Facts, Object, RoleBinding};
use crate::inventory::{Inventory, Principal, Relation};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User name.
    pub name: String,
    /// Groups.
    pub groups: Vec<String>,
}

impl User {
    /// A service account, with the groups that the API server gives to each.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
            ],
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// An API resource.
    Resource(ResourceRequest<'a>),
    /// A path that is none, `/healthz`.
    NonResource {
        /// The verb, `get`.
        verb: &'a str,
        /// The path.
        path: &'a str,
    },
}

/// A request for an API resource. Empty strings mean what they mean in a SubjectAccessReview.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResourceRequest<'a> {
    /// The verb, `list`.
    pub verb: &'a str,
    /// API group; empty for the core group.
    pub group: &'a str,
    /// Resource in the plural, `pods`.
    pub resource: &'a str,
    /// Subresource, `log`; empty for none.
    pub subresource: &'a str,
    /// Namespace; empty for a cluster-scoped resource, or for all namespaces.
    pub namespace: &'a str,
    /// Name; empty for none: a list, a create.
    pub name: &'a str,
}

/// What allows a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grant<'a> {
    /// The RoleBinding or ClusterRoleBinding.
    pub binding: &'a Object,
    /// The Role or ClusterRole that it references.
    pub role: &'a Object,
    /// The index of the rule in the role.
    pub rule: usize,
}

/// The first grant that allows a request, or `None`: RBAC has no opinion, so the request is refused.
pub fn authorize<'a>(inventory: &'a Inventory, user: &User, request: &Request) -> Option<Grant<'a>> {
    let principals = || {
        let groups = user.groups.iter().map(|group| Principal::Group(group.as_str().into()));
        std::iter::once(Principal::User(user.name.as_str().into())).chain(groups)
    };
    let namespace = match request {
        Request::Resource(request) => Some(request.namespace).filter(|namespace| !namespace.is_empty()),
        Request::NonResource { .. } => None,
    };
    let cluster_wide = principals().find_map(|principal| {
        inventory.bindings_of(&principal, None).find_map(|found| grant(inventory, found, request))
    });
    cluster_wide.or_else(|| {
        let namespace = namespace?;
        principals().find_map(|principal| {
            inventory.bindings_of(&principal, Some(namespace)).find_map(|found| grant(inventory, found, request))
        })
    })
}

/// A binding whose role is missing grants nothing.
fn grant<'a>(
    inventory: &'a Inventory,
    (binding, _): (&'a Object, &'a RoleBinding),
    request: &Request,
) -> Option<Grant<'a>> {
    let role = inventory.get(&Relation::Role.anchor(binding)?)?;
    let Facts::Role(facts) = &role.facts else { return None };
    let rule = facts.rules.iter().position(|rule| rule.allows(request))?;
    Some(Grant { binding, role, rule })
}

impl Rule {
    /// Whether this rule allows a request.
    pub fn allows(&self, request: &Request) -> bool {
        match request {
            Request::Resource(request) => {
                self.matches_verb(request.verb)
                    && self.matches_group(request.group)
                    && self.matches_resource(request.resource, request.subresource)
                    && self.matches_name(request.name)
            }
            Request::NonResource { verb, path } => self.matches_verb(verb) && self.matches_path(path),
        }
    }

    /// Whether `verbs` has this verb, or `*`.
    pub fn matches_verb(&self, verb: &str) -> bool {
        self.verbs.iter().any(|own| **own == *"*" || **own == *verb)
    }

    /// Whether `apiGroups` has this group, or `*`.
    pub fn matches_group(&self, group: &str) -> bool {
        self.api_groups.iter().any(|own| **own == *"*" || **own == *group)
    }

    /// Whether `resources` has this resource with its subresource, `*`, or the subresource of every resource: `*/scale`.
    /// `*` includes subresources; `pods` does not.
    pub fn matches_resource(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|own| {
            **own == *"*"
                || match own.split_once('/') {
                    _ if subresource.is_empty() => **own == *resource,
                    Some(("*", every)) if every == subresource => true,
                    _ => own.strip_prefix(resource).and_then(|rest| rest.strip_prefix('/')) == Some(subresource),
                }
        })
    }

    /// Whether `resourceNames` is empty or has this name. A request without a name never matches a rule with names.
    pub fn matches_name(&self, name: &str) -> bool {
        self.resource_names.is_empty() || self.resource_names.iter().any(|own| **own == *name)
    }

    /// Whether `nonResourceURLs` has this path, `*`, or a beginning of it that ends with `*`.
    pub fn matches_path(&self, path: &str) -> bool {
        self.non_resource_urls.iter().any(|own| {
            **own == *"*" || **own == *path || (own.ends_with('*') && path.starts_with(own.trim_end_matches('*')))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::facts::{Kind, project};

    fn cluster(objects: &[Value]) -> Inventory {
        let mut inventory = Inventory::complete();
        for object in objects {
            let text = |field: &str| object[field].as_str().unwrap().to_owned();
            let group = text("apiVersion").split_once('/').map(|(group, _)| group.to_owned()).unwrap_or_default();
            inventory.apply(project(Kind::find(&group, &text("kind")).unwrap(), object.clone()).unwrap());
        }
        inventory
    }

    fn role(kind: &str, namespace: Option<&str>, name: &str, rules: Value) -> Value {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "rules": rules,
               "metadata": {"name": name, "namespace": namespace}})
    }

    fn binding(kind: &str, namespace: Option<&str>, name: &str, role: (&str, &str), subjects: Value) -> Value {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "subjects": subjects,
               "metadata": {"name": name, "namespace": namespace}, "roleRef": {"kind": role.0, "name": role.1}})
    }

    fn user(name: &str) -> User {
        User { name: name.to_owned(), groups: Vec::new() }
    }

    fn get<'a>(resource: &'a str, subresource: &'a str, namespace: &'a str, name: &'a str) -> Request<'a> {
        Request::Resource(ResourceRequest { verb: "get", group: "", resource, subresource, namespace, name })
    }

    #[test]
    fn a_cluster_role_bound_in_a_namespace_counts_there_alone() {
        let cluster = cluster(&[
            role("ClusterRole", None, "reader", json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}])),
            binding(
                "RoleBinding",
                Some("shop"),
                "b",
                ("ClusterRole", "reader"),
                json!([{"kind": "User", "name": "ann"}]),
            ),
        ]);
        let grant = authorize(&cluster, &user("ann"), &get("pods", "", "shop", "x")).unwrap();
        assert_eq!((grant.binding.meta.name.as_str(), grant.role.meta.name.as_str(), grant.rule), ("b", "reader", 0));
        assert_eq!(authorize(&cluster, &user("ann"), &get("pods", "", "bank", "x")), None);
        assert_eq!(authorize(&cluster, &user("ann"), &get("pods", "", "", "")), None);
        assert_eq!(authorize(&cluster, &user("bob"), &get("pods", "", "shop", "x")), None);
    }

    #[test]
    fn a_missing_role_and_a_role_of_another_namespace_grant_nothing() {
        let rules = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
        let ann = json!([{"kind": "User", "name": "ann"}]);
        let cluster = cluster(&[
            role("Role", Some("bank"), "all", rules),
            binding("RoleBinding", Some("shop"), "b", ("Role", "all"), ann.clone()),
            binding("ClusterRoleBinding", None, "c", ("Role", "all"), ann.clone()),
            binding("ClusterRoleBinding", None, "d", ("ClusterRole", "absent"), ann),
        ]);
        assert_eq!(authorize(&cluster, &user("ann"), &get("pods", "", "shop", "x")), None);
        assert_eq!(authorize(&cluster, &user("ann"), &get("pods", "", "bank", "x")), None);
    }

    #[test]
    fn a_service_account_is_its_user_and_its_groups() {
        let rules = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
        let cluster = cluster(&[
            role("ClusterRole", None, "reader", rules),
            binding(
                "RoleBinding",
                Some("shop"),
                "own",
                ("ClusterRole", "reader"),
                json!([{"kind": "ServiceAccount", "name": "web"}]),
            ),
            binding(
                "RoleBinding",
                Some("bank"),
                "group",
                ("ClusterRole", "reader"),
                json!([{"kind": "Group", "name": "system:serviceaccounts:shop"}]),
            ),
            binding(
                "ClusterRoleBinding",
                None,
                "nowhere",
                ("ClusterRole", "reader"),
                json!([{"kind": "ServiceAccount", "name": "web"}]),
            ),
        ]);
        let asks = |namespace, of: &str| {
            authorize(&cluster, &User::service_account(of, "web"), &get("pods", "", namespace, "x"))
                .map(|grant| grant.binding.meta.name.as_str())
        };
        assert_eq!(asks("shop", "shop"), Some("own"));
        assert_eq!(asks("shop", "bank"), None, "an absent namespace is the binding's own");
        assert_eq!(asks("bank", "shop"), Some("group"));
        assert_eq!(asks("yard", "shop"), None, "a cluster-wide binding must name the namespace");
    }

    #[test]
    fn rules_match_as_the_api_server_matches_them() {
        let rule = |resources: &[&str], names: &[&str]| Rule {
            verbs: ["get".into()].into(),
            api_groups: ["".into()].into(),
            resources: resources.iter().map(|&text| text.into()).collect(),
            resource_names: names.iter().map(|&text| text.into()).collect(),
            ..Rule::default()
        };
        type Case<'a> = (&'a [&'a str], &'a [&'a str], &'a str, &'a str, &'a str, bool);
        let cases: &[Case] = &[
            (&["pods"], &[], "pods", "", "x", true),
            (&["pods"], &[], "pods", "log", "x", false),
            (&["pods/log"], &[], "pods", "log", "x", true),
            (&["pods/log"], &[], "pods", "", "x", false),
            (&["*/log"], &[], "pods", "log", "x", true),
            (&["*/log"], &[], "pods", "", "x", false),
            (&["*/log"], &[], "pods", "status", "x", false),
            (&["pods/*"], &[], "pods", "log", "x", false),
            (&["*"], &[], "pods", "log", "x", true),
            (&["*/*"], &[], "pods", "log", "x", false),
            (&["*/*"], &[], "pods", "", "x", false),
            (&["pods"], &["a"], "pods", "", "a", true),
            (&["pods"], &["a"], "pods", "", "b", false),
            (&["pods"], &["a"], "pods", "", "", false),
            (&["pods"], &[""], "pods", "", "", true),
        ];
        for &(resources, names, resource, subresource, name, allowed) in cases {
            let request = get(resource, subresource, "n", name);
            assert_eq!(rule(resources, names).allows(&request), allowed, "{resources:?} {names:?} {request:?}");
        }
    }

    #[test]
    fn paths_match_by_beginning_only_where_the_rule_ends_with_a_star() {
        let cases = [
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/ping", false),
            ("/healthz*", "/healthz/ping", true),
            ("/healthz/*", "/healthz", false),
            ("/api/**", "/api/v1", true),
            ("*", "/anything", true),
        ];
        for (own, path, allowed) in cases {
            let rule = Rule { verbs: ["get".into()].into(), non_resource_urls: [own.into()].into(), ..Rule::default() };
            assert_eq!(rule.allows(&Request::NonResource { verb: "get", path }), allowed, "{own} {path}");
            assert!(!rule.allows(&Request::NonResource { verb: "post", path }), "{own} {path}");
        }
    }

    #[test]
    fn a_binding_that_changes_its_subjects_forgets_the_old_ones() {
        let rules = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
        let with = |name: &str| {
            binding("ClusterRoleBinding", None, "b", ("ClusterRole", "reader"), json!([{"kind": "User", "name": name}]))
        };
        let cluster = cluster(&[role("ClusterRole", None, "reader", rules), with("ann"), with("bob")]);
        assert!(authorize(&cluster, &user("ann"), &get("pods", "", "", "")).is_none());
        assert!(authorize(&cluster, &user("bob"), &get("pods", "", "", "")).is_some());
    }
}
