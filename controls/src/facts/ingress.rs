//! An Ingress: which of its hosts are served without TLS, and which Services answer for which paths. Annotations are not read.

use serde::{Deserialize, Deserializer, Serialize};

use super::labels::Interned;
use super::metadata::{Meta, MetadataShape};
use super::port::PortRef;
use super::{Family, Kind, null_as_default};

/// `Ingress`.
pub const INGRESS: Kind = Kind {
    group: "networking.k8s.io",
    version: "v1",
    kind: "Ingress",
    plural: "ingresses",
    namespaced: true,
    family: Family::Ingress,
    reason: "what is reachable from outside",
};

/// The kind of the family.
pub(super) const KINDS: &[&Kind] = &[&INGRESS];

/// What is kept of an Ingress.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Ingress {
    /// `rules[].host`, in order; empty for every host.
    pub hosts: Box<[Box<str>]>,
    /// The hosts of `tls[]`, in order.
    pub tls_hosts: Box<[Box<str>]>,
    /// Whether an entry of `tls` lists no hosts: it serves whatever its controller makes of it.
    pub tls_for_all: bool,
    /// The Services behind it, in order of the rules; the default one last. A backend that is another resource is not kept.
    pub backends: Box<[Backend]>,
}

/// A Service that answers for a path.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Backend {
    /// The rule's host; empty for every host, as for the default backend.
    pub host: Box<str>,
    /// The path; empty for every path.
    pub path: Box<str>,
    /// `pathType`: `Exact`, `Prefix`, or what the controller makes of it.
    pub path_type: Box<str>,
    /// Name of the Service, in the Ingress' own namespace.
    pub service: Box<str>,
    /// Its port.
    pub port: Option<PortRef>,
}

impl Interned for Ingress {}

#[derive(Default, Deserialize)]
#[serde(default)]
struct IngressShape {
    #[serde(deserialize_with = "null_as_default")]
    metadata: MetadataShape,
    #[serde(deserialize_with = "null_as_default")]
    spec: IngressSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct IngressSpec {
    #[serde(deserialize_with = "null_as_default", rename = "defaultBackend")]
    default_backend: BackendShape,
    #[serde(deserialize_with = "null_as_default")]
    rules: Vec<IngressRule>,
    #[serde(deserialize_with = "null_as_default")]
    tls: Vec<IngressTls>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct IngressRule {
    #[serde(deserialize_with = "null_as_default")]
    host: Box<str>,
    #[serde(deserialize_with = "null_as_default")]
    http: Http,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Http {
    #[serde(deserialize_with = "null_as_default")]
    paths: Vec<HttpPath>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct HttpPath {
    #[serde(deserialize_with = "null_as_default")]
    path: Box<str>,
    #[serde(deserialize_with = "null_as_default")]
    path_type: Box<str>,
    #[serde(deserialize_with = "null_as_default")]
    backend: BackendShape,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BackendShape {
    service: Option<ServiceBackend>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ServiceBackend {
    #[serde(deserialize_with = "null_as_default")]
    name: Box<str>,
    #[serde(deserialize_with = "null_as_default")]
    port: BackendPort,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BackendPort {
    #[serde(deserialize_with = "null_as_default")]
    name: Box<str>,
    #[serde(deserialize_with = "null_as_default")]
    number: i32,
}

impl BackendPort {
    fn into_port(self) -> Option<PortRef> {
        match self {
            Self { number: 0, name } if name.is_empty() => None,
            Self { number: 0, name } => Some(PortRef::Name(name)),
            Self { number, .. } => Some(PortRef::Number(number)),
        }
    }
}

impl BackendShape {
    fn into_backend(self, host: &str, path: Box<str>, path_type: Box<str>) -> Option<Backend> {
        let ServiceBackend { name, port } = self.service?;
        Some(Backend { host: host.into(), path, path_type, service: name, port: port.into_port() })
    }
}

/// The Services behind the rules, and then the default one.
fn backends(rules: &mut [IngressRule], default: BackendShape) -> Box<[Backend]> {
    let of_rules = rules.iter_mut().flat_map(|IngressRule { host, http }| {
        let paths = std::mem::take(&mut http.paths).into_iter();
        paths.filter_map(|HttpPath { path, path_type, backend }| backend.into_backend(host, path, path_type))
    });
    let mut all: Vec<Backend> = of_rules.collect();
    all.extend(default.into_backend("", Box::default(), Box::default()));
    all.into()
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct IngressTls {
    #[serde(deserialize_with = "null_as_default")]
    hosts: Vec<Box<str>>,
}

pub(super) fn project<'de, D: Deserializer<'de>>(_: &Kind, from: D) -> Result<(Meta, Ingress), D::Error> {
    let IngressShape { metadata, mut spec } = IngressShape::deserialize(from)?;
    let facts = Ingress {
        backends: backends(&mut spec.rules, spec.default_backend),
        hosts: spec.rules.into_iter().map(|rule| rule.host).collect(),
        tls_for_all: spec.tls.iter().any(|entry| entry.hosts.is_empty()),
        tls_hosts: spec.tls.into_iter().flat_map(|entry| entry.hosts).collect(),
    };
    Ok((metadata.into_meta(), facts))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_path_leads_to_its_service_and_the_rest_to_the_default_one() {
        let service = |name: &str, port: serde_json::Value| json!({"service": {"name": name, "port": port}});
        let spec = json!({
            "defaultBackend": service("rest", json!({"name": "web"})),
            "rules": [
                {"host": "a.example", "http": {"paths": [
                    {"path": "/api", "pathType": "Prefix", "backend": service("api", json!({"number": 8080}))},
                    {"backend": {"resource": {"apiGroup": "example.com", "kind": "Bucket", "name": "files"}}},
                ]}},
                {"http": null},
                {"http": {"paths": [{"path": null, "pathType": "Exact", "backend": service("any", json!(null))}]}},
            ],
        });
        let facts = project(&INGRESS, json!({"metadata": {"name": "i"}, "spec": spec})).unwrap().1;
        let lines = facts.backends.iter().map(|backend| {
            let Backend { host, path, path_type, service, port } = backend;
            format!("{host}|{path}|{path_type}|{service}|{port:?}")
        });
        assert_eq!(
            lines.collect::<Vec<_>>(),
            ["a.example|/api|Prefix|api|Some(Number(8080))", "||Exact|any|None", "|||rest|Some(Name(\"web\"))",]
        );
        let none =
            project(&INGRESS, json!({"metadata": {"name": "i"}, "spec": {"defaultBackend": null, "rules": null}}));
        assert!(none.unwrap().1.backends.is_empty());
    }
}
