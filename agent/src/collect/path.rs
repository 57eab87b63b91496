//! API paths, made from the table of kinds: the one place that knows how the API server names things.

use std::fmt::Write;

use holdfast_controls::Kind;
use holdfast_controls::inventory::ObjectKey;

/// Objects a page: what client-go asks for too.
pub const PAGE: u32 = 500;

/// `/api/v1/pods`, `/apis/apps/v1/namespaces/shop/deployments`: everything of a kind, in one namespace or in all.
pub fn collection(kind: &Kind, namespace: Option<&str>) -> String {
    let mut path = if kind.group.is_empty() {
        format!("/api/{}", kind.version)
    } else {
        format!("/apis/{}/{}", kind.group, kind.version)
    };
    if let Some(namespace) = namespace.filter(|_| kind.namespaced) {
        path.push_str("/namespaces/");
        path.push_str(&escaped(namespace));
    }
    path.push('/');
    path.push_str(kind.plural);
    path
}

/// The path of one object. A plain GET of it, without a resourceVersion, is a quorum read.
pub fn object(key: &ObjectKey) -> String {
    format!("{}/{}", collection(key.kind, key.namespace.as_deref()), escaped(&key.name))
}

/// One page of everything of a kind.
pub fn page(kind: &Kind, limit: u32, next: Option<&str>) -> String {
    let next = next.map(|next| format!("&continue={}", escaped(next))).unwrap_or_default();
    format!("{}?limit={limit}{next}", collection(kind, None))
}

/// A watch from a version on.
pub fn watch(kind: &Kind, resource_version: &str, seconds: u64) -> String {
    let version = escaped(resource_version);
    let path = collection(kind, None);
    format!("{path}?watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={version}")
}

/// A watch that begins with everything there is (WatchList).
pub fn watch_list(kind: &Kind, seconds: u64) -> String {
    let path = collection(kind, None);
    format!(
        "{path}?watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}\
         &sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    )
}

/// Percent-encodes what is not unreserved (RFC 3986): names come from the cluster and may try to be more than a name.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => out.push(char::from(byte)),
            // A dot is unreserved, but `.` and `..` as a whole segment would climb.
            b'.' if text.len() > 2 => out.push('.'),
            _ => {
                let _infallible = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use holdfast_controls::facts::workload::{DEPLOYMENT, POD};

    use super::*;

    #[test]
    fn paths_follow_group_and_namespace() {
        assert_eq!(collection(&POD, None), "/api/v1/pods");
        assert_eq!(collection(&DEPLOYMENT, Some("shop")), "/apis/apps/v1/namespaces/shop/deployments");
        assert_eq!(page(&POD, 500, Some("a=&b")), "/api/v1/pods?limit=500&continue=a%3D%26b");
    }

    #[test]
    fn a_name_cannot_leave_its_place_in_the_path() {
        let key = |name: &str| ObjectKey { kind: &POD, namespace: Some("../x".into()), name: name.into() };
        assert_eq!(object(&key("web.v1")), "/api/v1/namespaces/..%2Fx/pods/web.v1");
        assert_eq!(object(&key("..")), "/api/v1/namespaces/..%2Fx/pods/%2E%2E");
        assert_eq!(object(&key("a?b#c")), "/api/v1/namespaces/..%2Fx/pods/a%3Fb%23c");
    }
}
