//! A container, as far as the workload controls read it: its image, ports, resources, security context, and the hosts that
//! its probes and lifecycle handlers name. Probes without a host of their own are forgotten at once.

use serde::{Deserialize, Deserializer, Serialize};

use super::null_as_default;
use super::resources::Resources;
use super::security_context::SecurityContext;

/// `Container`, `initContainer` or `EphemeralContainer`: one type, as they differ only in fields that are not read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// `name`.
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
    /// `image`.
    #[serde(deserialize_with = "null_as_default")]
    pub image: Image,
    /// `ports`.
    #[serde(deserialize_with = "null_as_default")]
    pub ports: Vec<Port>,
    /// `securityContext`.
    pub security_context: Option<Box<SecurityContext>>,
    /// `resources`.
    pub resources: Option<Box<Resources>>,
    /// `livenessProbe`, where it names a host.
    #[serde(deserialize_with = "only_with_host")]
    pub liveness_probe: Option<Box<Probe>>,
    /// `readinessProbe`, where it names a host.
    #[serde(deserialize_with = "only_with_host")]
    pub readiness_probe: Option<Box<Probe>>,
    /// `startupProbe`, where it names a host.
    #[serde(deserialize_with = "only_with_host")]
    pub startup_probe: Option<Box<Probe>>,
    /// `lifecycle`.
    #[serde(deserialize_with = "null_as_default")]
    pub lifecycle: Lifecycle,
    /// `volumeMounts`.
    #[serde(deserialize_with = "null_as_default")]
    pub volume_mounts: Box<[VolumeMount]>,
}

/// `VolumeMount`: which volume is where.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeMount {
    /// `name` of the volume.
    #[serde(deserialize_with = "null_as_default")]
    pub name: Box<str>,
    /// `mountPath`.
    #[serde(deserialize_with = "null_as_default")]
    pub mount_path: Box<str>,
}

/// An image reference without credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Image(Box<str>);

/// `ContainerPort`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Port {
    /// `containerPort`.
    #[serde(deserialize_with = "null_as_default")]
    pub container_port: i32,
    /// `hostPort`; 0 where absent.
    #[serde(deserialize_with = "null_as_default")]
    pub host_port: i32,
    /// `protocol`; use [`protocol`](Self::protocol), which knows the default.
    pub protocol: Option<Box<str>>,
}

impl Port {
    /// The protocol: TCP where none is named.
    pub fn protocol(&self) -> &str {
        self.protocol.as_deref().unwrap_or("TCP")
    }
}

/// `Lifecycle`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lifecycle {
    /// `postStart`, where it names a host.
    #[serde(deserialize_with = "only_with_host")]
    pub post_start: Option<Box<Probe>>,
    /// `preStop`, where it names a host.
    #[serde(deserialize_with = "only_with_host")]
    pub pre_stop: Option<Box<Probe>>,
}

/// `Probe` or `LifecycleHandler`: the hosts that it asks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Probe {
    /// `httpGet`.
    #[serde(deserialize_with = "null_as_default")]
    pub http_get: Target,
    /// `tcpSocket`.
    #[serde(deserialize_with = "null_as_default")]
    pub tcp_socket: Target,
}

/// `HTTPGetAction` or `TCPSocketAction`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Target {
    /// `host`; empty means the pod itself.
    #[serde(deserialize_with = "null_as_default")]
    pub host: String,
}

/// A named host, with the field that names it: `livenessProbe.httpGet.host`.
pub type Hosts<'a> = Vec<(&'static str, &'a str)>;

impl Container {
    /// Every host that a probe or lifecycle handler names, with its field below the container.
    pub fn hosts(&self) -> Hosts<'_> {
        let handlers = [
            (&self.liveness_probe, ["livenessProbe.httpGet.host", "livenessProbe.tcpSocket.host"]),
            (&self.readiness_probe, ["readinessProbe.httpGet.host", "readinessProbe.tcpSocket.host"]),
            (&self.startup_probe, ["startupProbe.httpGet.host", "startupProbe.tcpSocket.host"]),
            (&self.lifecycle.post_start, ["lifecycle.postStart.httpGet.host", "lifecycle.postStart.tcpSocket.host"]),
            (&self.lifecycle.pre_stop, ["lifecycle.preStop.httpGet.host", "lifecycle.preStop.tcpSocket.host"]),
        ];
        let named = handlers.into_iter().filter_map(|(handler, fields)| Some((handler.as_deref()?, fields)));
        named
            .flat_map(|(probe, [http, tcp])| [(http, probe.http_get.host.as_str()), (tcp, &probe.tcp_socket.host)])
            .filter(|(_, host)| !host.is_empty())
            .collect()
    }
}

impl Image {
    /// The reference, as it may be shown: `registry.example/team/app:1.2`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a digest fixes the content.
    pub fn has_digest(&self) -> bool {
        self.0.rsplit_once('@').is_some_and(|(_, digest)| is_digest(digest))
    }

    /// The tag, where there is one. A colon before the last slash belongs to the registry's port.
    pub fn tag(&self) -> Option<&str> {
        let name = self.0.split_once('@').map_or(&*self.0, |(name, _)| name);
        let last = name.rsplit_once('/').map_or(name, |(_, last)| last);
        last.split_once(':').map(|(_, tag)| tag)
    }
}

impl From<&str> for Image {
    /// Drops a user and password, a scheme and a query, none of which belongs in a reference, and all of which may hide a
    /// secret that must not leave the cluster.
    fn from(reference: &str) -> Self {
        let reference = reference.split_once("://").map_or(reference, |(_, rest)| rest);
        let reference = reference.split(['?', '#']).next().unwrap_or_default();
        let (name, digest) = match reference.rsplit_once('@') {
            Some((name, digest)) if is_digest(digest) => (name, Some(digest)),
            _ => (reference, None),
        };
        let name = name.rsplit_once('@').map_or(name, |(_, name)| name);
        Self(digest.map_or_else(|| name.into(), |digest| format!("{name}@{digest}").into()))
    }
}

impl<'de> Deserialize<'de> for Image {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Image::from(String::deserialize(from)?.as_str()))
    }
}

/// `algorithm:hex`, with a hash of at least 128 bits.
fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, hex)| {
        !algorithm.is_empty() && hex.len() >= 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn only_with_host<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<Probe>>, D::Error> {
    let probe: Option<Probe> = Option::deserialize(from)?;
    Ok(probe.filter(|probe| !probe.http_get.host.is_empty() || !probe.tcp_socket.host.is_empty()).map(Box::new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_shows_no_credentials() {
        for (given, shown) in [
            ("nginx", "nginx"),
            ("https://user:hunter2@registry.example/app:1?token=hunter2", "registry.example/app:1"),
            ("user:hunter2@app:1", "app:1"),
        ] {
            assert_eq!(Image::from(given).as_str(), shown);
        }
        let pinned = format!("u:hunter2@r.example/app@sha256:{}", "a".repeat(64));
        assert_eq!(Image::from(pinned.as_str()).as_str(), &pinned["u:hunter2@".len()..]);
    }

    #[test]
    fn a_registry_port_is_not_a_tag() {
        assert_eq!(Image::from("localhost:5000/app").tag(), None);
        assert_eq!(Image::from("localhost:5000/app:2").tag(), Some("2"));
        let pinned = format!("app:2@sha256:{}", "0".repeat(64));
        assert_eq!(Image::from(pinned.as_str()).tag(), Some("2"));
        assert!(Image::from(pinned.as_str()).has_digest());
        assert!(!Image::from("app@sha256:beef").has_digest());
    }
}
