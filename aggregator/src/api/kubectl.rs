//! The line that repeats a check by hand: the same object, the same fields, read with `kubectl` and the user's own rights.
//!
//! Names and paths come from a cluster and may hold anything: whatever is not plainly harmless is quoted for a POSIX shell,
//! and no word can be taken for a flag.

use holdfast_model::{Location, Resource};

/// More fields than this are read as the whole object.
const MAX_FIELDS: usize = 4;

/// The line for these places of this resource.
pub fn get_line(resource: &Resource, places: &[Location]) -> String {
    let group = if resource.group.is_empty() { String::new() } else { format!(".{}", resource.group) };
    let mut words = vec!["kubectl".to_owned(), "get".to_owned()];
    words.extend(resource.namespace.iter().map(|namespace| quoted(&format!("--namespace={namespace}"))));
    words.push(quoted(
        &fields(places).map_or("--output=yaml".to_owned(), |fields| format!("--output=jsonpath={fields}")),
    ));
    let kind = format!("{}{group}", resource.kind.to_lowercase());
    words.extend(["--".to_owned(), quoted(&kind), quoted(&resource.name)]);
    words.join(" ")
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

/// A word for a POSIX shell. Control characters are shown as `?`: no valid name has any.
fn quoted(word: &str) -> String {
    let word: String = word.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@+".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

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
