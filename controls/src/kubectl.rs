//! The lines that a person pastes into a POSIX shell to look, to patch, to create: with `kubectl` and the person's own rights.
//!
//! Names, paths and values come from a cluster and may hold anything: whatever is not plainly harmless is quoted, and no word
//! can be taken for a flag.

use holdfast_model::{Location, Resource};

use crate::fix::JsonPatch;

/// More fields than this are read as the whole object.
const MAX_FIELDS: usize = 4;

/// The line that repeats a check by hand: the same object, the same fields.
pub fn get_line(resource: &Resource, places: &[Location]) -> String {
    let output = fields(places).map_or("yaml".to_owned(), |fields| format!("jsonpath={fields}"));
    line("get", resource, &[format!("--output={output}")])
}

/// The line that applies a patch to a resource.
pub fn patch_line(resource: &Resource, patch: &JsonPatch) -> String {
    // Keys are strings and values come from JSON: writing them into memory cannot fail.
    let operations = serde_json::to_string(patch).unwrap_or_default();
    line("patch", resource, &["--type=json".to_owned(), format!("--patch={operations}")])
}

/// The line that creates the objects of a [manifest](crate::fix::manifest).
pub fn create_line(manifest: &str) -> String {
    format!("kubectl create -f - <<'EOF'\n{}\nEOF", manifest.trim_end())
}

/// What `kubectl` does to one resource. Behind `--` nothing is a flag.
fn line(verb: &str, resource: &Resource, flags: &[String]) -> String {
    let kind = resource.kind.to_lowercase();
    let kind = if resource.group.is_empty() { kind } else { format!("{kind}.{}", resource.group) };
    let namespace = resource.namespace.as_ref().map(|namespace| format!("--namespace={namespace}"));
    let flags = namespace.iter().chain(flags).map(|flag| quoted(flag));
    let start = ["kubectl".to_owned(), verb.to_owned()].into_iter().chain(flags);
    start.chain(["--".to_owned(), quoted(&kind), quoted(&resource.name)]).collect::<Vec<_>>().join(" ")
}

/// The fields as kubectl's JSONPath; none where a path has more than names and indices, or lies in another object.
fn fields(places: &[Location]) -> Option<String> {
    let plain = |path: &str| {
        !path.is_empty() && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'[' | b']'))
    };
    let usable = (1..=MAX_FIELDS).contains(&places.len())
        && places.iter().all(|place| place.object.is_none() && plain(&place.path));
    usable.then(|| places.iter().map(|place| format!("{{.{}}}{{\"\\n\"}}", place.path)).collect())
}

/// A word for the shell, quoted where it has to be. Control characters could act on a terminal, so they are shown as `?`: no valid name has any.
pub fn quoted(word: &str) -> String {
    let word: String = word.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@+".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fix::Operation;

    #[test]
    fn a_patch_of_a_hostile_name_stays_one_word_each() {
        let resource = Resource::namespaced("apps", "Deployment", "x; rm -rf ~", "--kubeconfig='$(id)'\u{1b}[2J");
        let patch = JsonPatch(vec![Operation::Remove { path: "/spec/it's".into() }]);
        expect_test::expect![[r#"kubectl patch '--namespace=x; rm -rf ~' --type=json '--patch=[{"op":"remove","path":"/spec/it'\''s"}]' -- deployment.apps '--kubeconfig='\''$(id)'\''?[2J'"#]].assert_eq(&patch_line(&resource, &patch));
    }

    #[test]
    fn a_plain_name_needs_no_quotes() {
        let patch = JsonPatch(vec![Operation::Remove { path: "/spec/hostPID".into() }]);
        expect_test::expect![[r#"kubectl patch --namespace=shop --type=json '--patch=[{"op":"remove","path":"/spec/hostPID"}]' -- pod web"#]].assert_eq(&patch_line(&Resource::namespaced("", "Pod", "shop", "web"), &patch));
    }

    #[test]
    fn a_plain_field_is_read_by_its_path() {
        let places = [Location::field("spec.template.spec.containers[0].securityContext.privileged", "true")];
        assert_eq!(
            get_line(&Resource::namespaced("apps", "Deployment", "shop", "web"), &places),
            "kubectl get --namespace=shop \
             '--output=jsonpath={.spec.template.spec.containers[0].securityContext.privileged}{\"\\n\"}' \
             -- deployment.apps web"
        );
    }

    #[test]
    fn a_place_elsewhere_or_an_odd_path_reads_the_whole_object() {
        let role = Resource::cluster_scoped("rbac.authorization.k8s.io", "ClusterRole", "x");
        let expected = "kubectl get --output=yaml -- clusterrole.rbac.authorization.k8s.io x";
        assert_eq!(get_line(&role, &[Location::field("rules", "").in_object("ClusterRole y")]), expected);
        assert_eq!(get_line(&role, &[Location::field("metadata.annotations[\"a/b\"]", "")]), expected);
        assert_eq!(get_line(&role, &[]), expected);
    }

    #[test]
    fn a_hostile_name_stays_one_word() {
        let line = get_line(&Resource::namespaced("", "Pod", "$(id)", "--raw=/ ;'\n"), &[]);
        assert_eq!(line, r"kubectl get '--namespace=$(id)' --output=yaml -- pod '--raw=/ ;'\''?'");
    }
}
