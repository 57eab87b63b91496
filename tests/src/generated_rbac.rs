//! A cluster's RBAC drawn from a seed, and questions about it, most of them near misses.
//!
//! Names, verbs and resources come from small alphabets, so that rules and requests meet often and miss narrowly. What comes
//! out are manifests and requests; who creates and who asks is the suite's business.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

/// The namespaces that roles and bindings are drawn into.
pub const NAMESPACES: [&str; 6] = ["shop", "bank", "shop-eu", "ci", "web", "lab"];

const VERBS: [&str; 10] =
    ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "bind", "*"];
const GROUPS: [&str; 6] = ["", "apps", "batch", "rbac.authorization.k8s.io", "example.com", "*"];
const RESOURCES: [&str; 14] = [
    "pods",
    "pods/log",
    "pods/exec",
    "deployments",
    "deployments/scale",
    "secrets",
    "configmaps",
    "roles",
    "widgets",
    "widgets/status",
    "*",
    "*/scale",
    "*/status",
    "pods/*",
];
const NAMES: [&str; 5] = ["a", "b", "web", "web-1", "kube-root-ca.crt"];
const PATHS: [&str; 9] =
    ["/healthz", "/healthz/*", "/healthz*", "/api", "/api/*", "/version", "/metrics", "*", "/apis/*"];
const ASKED_PATHS: [&str; 9] =
    ["/healthz", "/healthz/ping", "/healthzz", "/api", "/api/", "/api/v1", "/version", "/metrics", "/apis/apps"];
const USERS: [&str; 8] =
    ["ann", "bob", "cy", "dan", "eve", "ann@example.com", "system:anonymous", "system:serviceaccount:shop:web"];
const TEAMS: [&str; 6] = ["dev", "ops", "dev-eu", "auditors", "system:serviceaccounts:ci", "system:serviceaccounts"];
const ACCOUNTS: [&str; 4] = ["default", "web", "web-1", "deployer"];
const LABELS: [&str; 4] = ["north", "south", "east", "west"];

/// A drawn cluster.
pub struct Cluster {
    /// Everything to create, in an order that the API server takes.
    pub objects: Vec<Value>,
    random: StdRng,
}

/// A question, as a SubjectAccessReview asks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// User name.
    pub user: String,
    /// Groups, written out: the API server adds none.
    pub groups: Vec<String>,
    /// What is asked for.
    pub of: Of,
}

/// What a question asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Of {
    /// A resource.
    Resource {
        /// Verb.
        verb: String,
        /// API group.
        group: String,
        /// Resource.
        resource: String,
        /// Subresource, or empty.
        subresource: String,
        /// Namespace, or empty.
        namespace: String,
        /// Name, or empty.
        name: String,
    },
    /// A path.
    Path {
        /// Verb.
        verb: String,
        /// Path.
        path: String,
    },
}

impl Cluster {
    /// The cluster of a seed.
    pub fn draw(seed: u64) -> Self {
        let mut cluster = Self { objects: Vec::new(), random: StdRng::seed_from_u64(seed) };
        (0..220).for_each(|number| cluster.draw_cluster_role(number));
        (0..220).for_each(|number| cluster.draw_role(number));
        (0..60).for_each(|number| cluster.draw_cluster_binding(number));
        (0..420).for_each(|number| cluster.draw_binding(number));
        cluster
    }

    /// So many questions about it.
    pub fn questions(&mut self, count: usize) -> Vec<Question> {
        (0..count).map(|_| self.question()).collect()
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices.choose(&mut self.random).copied().unwrap_or_default()
    }

    /// One to `most` different words; the last of a list, its wildcard, seldom.
    fn some(&mut self, choices: &[&str], most: usize) -> Vec<String> {
        let count = self.random.random_range(1..=most);
        let plain = if self.random.random_bool(0.08) { choices } else { &choices[..choices.len() - 1] };
        plain.choose_multiple(&mut self.random, count).map(|&choice| choice.to_owned()).collect()
    }

    fn rule(&mut self) -> Value {
        let mut rule = json!({
            "verbs": self.some(&VERBS, 3), "apiGroups": self.some(&GROUPS, 2), "resources": self.some(&RESOURCES, 3),
        });
        if self.random.random_bool(0.35) {
            rule["resourceNames"] = json!(self.some(&NAMES, 2));
        }
        rule
    }

    fn rules(&mut self) -> Vec<Value> {
        let count = self.random.random_range(0..4);
        (0..count).map(|_| self.rule()).collect()
    }

    /// Every sixth one is aggregated from the others by label, a few of those from aggregated ones.
    fn draw_cluster_role(&mut self, number: usize) {
        let mut role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                              "metadata": {"name": format!("cr-{number}")}});
        if number.is_multiple_of(6) {
            let label = self.pick(&LABELS);
            role["aggregationRule"] = json!({"clusterRoleSelectors": [
                {"matchLabels": {"side": label}},
                {"matchExpressions": [{"key": "extra", "operator": "In", "values": [format!("e{}", number % 9)]}]},
            ]});
            if number.is_multiple_of(18) {
                role["metadata"]["labels"] = json!({"extra": format!("e{}", (number / 2) % 9)});
            }
        } else {
            let mut rules = self.rules();
            if self.random.random_bool(0.3) {
                rules.push(json!({"verbs": self.some(&["get", "post", "head", "*"], 2), "nonResourceURLs": self.some(&PATHS, 2)}));
            }
            role["rules"] = json!(rules);
            if self.random.random_bool(0.15) {
                role["metadata"]["labels"] = json!({"side": self.pick(&LABELS)});
            }
        }
        self.objects.push(role);
    }

    fn draw_role(&mut self, number: usize) {
        // Names repeat across namespaces, so that a role of the wrong namespace is a near miss.
        let (name, namespace) = (format!("r-{}", number / 3), NAMESPACES[number % NAMESPACES.len()]);
        let rules = self.rules();
        self.objects.push(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": rules,
                                 "metadata": {"name": name, "namespace": namespace}}));
    }

    fn draw_cluster_binding(&mut self, number: usize) {
        let role = self.random.random_range(0..230); // the last ones are missing
        let subjects = self.subjects();
        self.objects.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("crb-{number}")}, "subjects": subjects,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("cr-{role}")},
        }));
    }

    fn draw_binding(&mut self, number: usize) {
        let namespace = self.pick(&NAMESPACES);
        let (kind, name) = if self.random.random_bool(0.5) {
            ("ClusterRole", format!("cr-{}", self.random.random_range(0..230)))
        } else {
            ("Role", format!("r-{}", self.random.random_range(0..76)))
        };
        let subjects = self.subjects();
        self.objects.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": format!("rb-{number}"), "namespace": namespace}, "subjects": subjects,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
        }));
    }

    fn subjects(&mut self) -> Vec<Value> {
        let count = self.random.random_range(0..3);
        (0..count)
            .map(|_| match self.random.random_range(0..3) {
                0 => json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": self.pick(&USERS)}),
                1 => json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": self.pick(&TEAMS)}),
                _ => {
                    json!({"kind": "ServiceAccount", "name": self.pick(&ACCOUNTS), "namespace": self.pick(&NAMESPACES)})
                }
            })
            .collect()
    }

    /// Most questions start from a binding, its subject and a rule of its role, so that they would be allowed; then up to
    /// two of their parts are drawn anew.
    fn question(&mut self) -> Question {
        let mut question = self.aimed().unwrap_or_else(|| self.random_question());
        for _ in 0..self.random.random_range(0..3) {
            self.mutate(&mut question);
        }
        question
    }

    fn aimed(&mut self) -> Option<Question> {
        let bindings: Vec<&Value> = self.objects.iter().filter(|object| !object["subjects"].is_null()).collect();
        let binding = (*bindings.choose(&mut self.random)?).clone();
        let subject = binding["subjects"].as_array()?.choose(&mut self.random)?.clone();
        let namespace = text(&binding["metadata"]["namespace"]);
        let (user, groups) = self.asker(&subject);
        let role = self.objects.iter().find(|object| {
            object["kind"] == binding["roleRef"]["kind"]
                && object["metadata"]["name"] == binding["roleRef"]["name"]
                && (object["kind"] == "ClusterRole"
                    || object["metadata"]["namespace"] == binding["metadata"]["namespace"])
        });
        let rule = role?["rules"].as_array()?.choose(&mut self.random)?.clone();
        let of = self.asked(&rule, namespace)?;
        Some(Question { user, groups, of })
    }

    fn asker(&mut self, subject: &Value) -> (String, Vec<String>) {
        let name = text(&subject["name"]);
        match subject["kind"].as_str() {
            Some("ServiceAccount") => account(&text(&subject["namespace"]), &name),
            Some("Group") if name.starts_with("system:serviceaccounts") => {
                let namespace = if name.ends_with(":ci") { "ci" } else { self.pick(&NAMESPACES) };
                let name = self.pick(&ACCOUNTS);
                account(namespace, name)
            }
            Some("Group") => (self.pick(&USERS[..6]).to_owned(), vec![name, "system:authenticated".to_owned()]),
            _ => person(&name),
        }
    }

    /// A request that a rule allows, wildcards filled in.
    fn asked(&mut self, rule: &Value, namespace: String) -> Option<Of> {
        let mut one = |list: &str, instead: &[&str]| -> Option<String> {
            let choice = text(rule[list].as_array()?.choose(&mut self.random)?);
            Some(if choice == "*" { instead.choose(&mut self.random)?.to_string() } else { choice })
        };
        let verb = one("verbs", &VERBS)?;
        if let Some(path) = one("nonResourceURLs", &ASKED_PATHS) {
            let path = path.replace('*', "x");
            return Some(Of::Path { verb, path });
        }
        let group = one("apiGroups", &GROUPS[..5])?;
        let combined = one("resources", &RESOURCES[..10])?;
        let combined = combined.replace("*/", "deployments/");
        let (resource, subresource) = combined.split_once('/').unwrap_or((&combined, ""));
        let name = one("resourceNames", &NAMES).unwrap_or_default();
        let namespace = if namespace.is_empty() && self.random.random_bool(0.5) {
            self.pick(&NAMESPACES).to_owned()
        } else {
            namespace
        };
        Some(Of::Resource {
            verb,
            group,
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            namespace,
            name,
        })
    }

    fn random_question(&mut self) -> Question {
        let (user, groups) = self.anyone();
        let of = Of::Resource {
            verb: self.pick(&VERBS).to_owned(),
            group: self.pick(&GROUPS).to_owned(),
            resource: self.pick(&["pods", "deployments", "secrets", "widgets", "*"]).to_owned(),
            subresource: self.pick(&["", "", "scale", "status", "log", "*"]).to_owned(),
            namespace: self.pick(&NAMESPACES).to_owned(),
            name: String::new(),
        };
        Question { user, groups, of }
    }

    fn anyone(&mut self) -> (String, Vec<String>) {
        if self.random.random_bool(0.4) {
            let (namespace, name) = (self.pick(&NAMESPACES), self.pick(&ACCOUNTS));
            account(namespace, name)
        } else {
            let (user, mut groups) = person(self.pick(&USERS));
            if self.random.random_bool(0.5) {
                groups.push(self.pick(&TEAMS).to_owned());
            }
            (user, groups)
        }
    }

    fn mutate(&mut self, question: &mut Question) {
        match &mut question.of {
            Of::Path { verb, path } => match self.random.random_range(0..3) {
                0 => *verb = self.pick(&["get", "post", "head", "put"]).to_owned(),
                1 => *path = self.pick(&ASKED_PATHS).to_owned(),
                _ => (question.user, question.groups) = self.anyone(),
            },
            Of::Resource { verb, group, resource, subresource, namespace, name } => {
                match self.random.random_range(0..8) {
                    0 => *verb = self.pick(&VERBS).to_owned(),
                    1 => *group = self.pick(&GROUPS).to_owned(),
                    2 => *resource = self.pick(&["pods", "deployments", "secrets", "widgets", "roles", "*"]).to_owned(),
                    3 => *subresource = self.pick(&["", "log", "exec", "scale", "status", "*"]).to_owned(),
                    4 => *namespace = self.pick(&["", "shop", "bank", "shop-eu", "absent"]).to_owned(),
                    5 => *name = self.pick(&["", "a", "b", "web", "web-1", "other"]).to_owned(),
                    6 => _ = question.groups.pop(),
                    _ => (question.user, question.groups) = self.anyone(),
                }
            }
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn person(name: &str) -> (String, Vec<String>) {
    (name.to_owned(), vec!["system:authenticated".to_owned()])
}

/// A service account with the groups that its token would give it.
fn account(namespace: &str, name: &str) -> (String, Vec<String>) {
    let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}"), "system:authenticated"];
    (format!("system:serviceaccount:{namespace}:{name}"), groups.map(str::to_owned).to_vec())
}
